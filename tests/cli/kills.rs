//! A run that is killed: the same command goes on, and ends as if nothing had happened.

use std::ffi::OsString;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use super::workspace::Workspace;

/// Long enough to be killed in every phase: reading, poisoning, training, erasing, measuring.
const MANIFEST: &str = "\
name: tiny
seed: 2
matrix: {defense: [finetune, argd]}
stages:
  images:   {kind: dataset, with: {source: synthetic, train: 256, test: 64, size: 16}}
  poisoned: {kind: poison, needs: {dataset: images}, with: {attack: badnets, target: 0, rate: 0.1}}
  trained:  {kind: train, needs: {dataset: images, poison: poisoned}, with: {model: wrn-10-1, epochs: 3}}
  clean:    {kind: split, needs: {dataset: images}, with: {ratio: 0.5}}
  teacher:  {kind: finetune, needs: {model: trained, dataset: clean}, with: {epochs: 2}}
  erased:   {kind: erase, needs: {student: trained, teacher: teacher, dataset: clean}, with: {method: \"${matrix.defense}\", epochs: 2}}
  before:   {kind: evaluate, needs: {model: trained, dataset: images, trigger: poisoned}}
  after:    {kind: evaluate, needs: {model: erased, dataset: images, trigger: poisoned, baseline: before}}
results: {csv: results/tiny.csv, from: [before, after]}
";

/// Kills per run from nothing to the end.
const KILLS: u32 = 10;

fn workspace() -> Workspace {
    let workspace = Workspace::new();
    workspace.write("tiny.yaml", MANIFEST);
    workspace
}

/// The digests of all artifacts.
fn digests(workspace: &Workspace) -> Vec<OsString> {
    workspace.kept("objects").iter().map(|path| path.file_name().unwrap().to_owned()).collect()
}

#[test]
fn a_run_that_is_killed_at_any_moment_goes_on() {
    let undisturbed = workspace();
    let start = Instant::now();
    undisturbed.run("run tiny.yaml").with(0, &[]);
    let whole = start.elapsed();

    let killed = workspace();
    for kill in 1..=KILLS {
        let mut program = killed.program();
        let mut running =
            program.args(["run", "tiny.yaml"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        // Moments spread like those of a low-discrepancy sequence over the first fifth of a whole run: later ones
        // would leave nothing to kill in the runs after them.
        let moment = f64::from(kill) * 0.618_034 % 1.0 / 5.0;
        thread::sleep(Duration::from_secs_f64(whole.as_secs_f64() * moment));
        running.kill().unwrap();
        running.wait().unwrap();
    }
    killed.run("run tiny.yaml").with(0, &[]);
    assert_eq!(killed.csv(), undisturbed.csv());
    assert_eq!(digests(&killed), digests(&undisturbed));
    killed.run("run tiny.yaml").with(0, &["10 cached"]);
}
