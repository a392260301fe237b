//! A run that is told to stop: the same command goes on, and ends as if nothing had happened.
//!
//! What SIGKILL does is in tests/hostile/harness.

use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::workspace::Workspace;

/// Long enough to be killed in every phase: reading, poisoning, training, erasing, measuring.
pub const MANIFEST: &str = "\
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

/// Interruptions per run from nothing to the end.
const TIMES: u32 = 10;

fn workspace() -> Workspace {
    let workspace = Workspace::new();
    workspace.write("tiny.yaml", MANIFEST);
    workspace
}

/// Interrupts a run again and again; whatever is left to do is done at the end, as if nothing had happened.
fn interrupt(signal: Signal) {
    let undisturbed = workspace();
    let start = Instant::now();
    undisturbed.run("run tiny.yaml").with(0, &[]);
    let whole = start.elapsed();

    let interrupted = workspace();
    for time in 1..=TIMES {
        let mut program = interrupted.program();
        let mut running =
            program.args(["run", "tiny.yaml"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        // Moments spread like those of a low-discrepancy sequence over the first fifth of a whole run: later ones
        // would leave nothing to interrupt in the runs after them.
        let moment = f64::from(time) * 0.618_034 % 1.0 / 5.0;
        thread::sleep(Duration::from_secs_f64(whole.as_secs_f64() * moment));
        kill_process(Pid::from_child(&running), signal).unwrap();
        let status = running.wait().unwrap();
        assert!(has_stopped(status), "{status}");
    }
    interrupted.run("run tiny.yaml").with(0, &[]);
    assert_eq!(interrupted.csv(), undisturbed.csv());
    assert_eq!(interrupted.digests(), undisturbed.digests());
    interrupted.run("run tiny.yaml").with(0, &["10 cached"]);
}

/// Before the program listens to signals, they end it as they end any program.
fn has_stopped(status: ExitStatus) -> bool {
    matches!(status.code(), Some(0 | 75)) || matches!(status.signal(), Some(2 | 15))
}

#[test]
fn a_run_that_is_told_to_stop_goes_on() {
    interrupt(Signal::INT);
    interrupt(Signal::TERM);
}
