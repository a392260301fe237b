//! Exports and results: whole or not there, and read back as they were.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::workspace::{Ended, Workspace};

/// Exports of every kind of output, and how many blocks of 512 bytes are too few for them.
const EXPORTS: [(&str, &str, u32); 6] = [
    ("images dataset", "images", 1),
    ("poisoned overlay", "poisoned", 1),
    ("poisoned trigger", "trigger.png", 0),
    ("trained model", "model.safetensors", 1),
    ("trained model", "model.pth", 1),
    ("after report", "report.json", 0),
];

const ONE: &str = "\
name: one
seed: 2
stages:
  images:   {kind: dataset, with: {source: synthetic, train: 64, test: 32, size: 16}}
  poisoned: {kind: poison, needs: {dataset: images}, with: {attack: badnets, target: 0, rate: 0.1}}
  trained:  {kind: train, needs: {dataset: images, poison: poisoned}, with: {model: wrn-10-1, epochs: 1}}
  after:    {kind: evaluate, needs: {model: trained, dataset: images, trigger: poisoned}}
";

/// Runs the program where no file may have more than `blocks` of 512 bytes, as on a full disk.
fn run_on_a_full_disk(workspace: &Workspace, blocks: u32, arguments: &str) -> Ended {
    let program = workspace.program();
    let mut shell = Command::new("sh");
    shell.current_dir(workspace.root()).arg("-c").arg(format!("ulimit -f {blocks}; exec \"$0\" \"$@\""));
    shell.arg(program.get_program()).args(arguments.split(' '));
    for (variable, value) in program.get_envs() {
        match value {
            Some(value) => shell.env(variable, value),
            None => shell.env_remove(variable),
        };
    }
    shell.output().unwrap().into()
}

/// Everything in a folder, hidden files too, except the manifest and the cache.
fn entries(folder: &Path) -> Vec<String> {
    let name = |entry: std::io::Result<fs::DirEntry>| entry.unwrap().file_name().into_string().unwrap();
    let mut names: Vec<String> = fs::read_dir(folder).unwrap().map(name).collect();
    names.retain(|name| !["cache", "one.yaml", "tiny.yaml"].contains(&name.as_str()));
    names.sort();
    names
}

#[test]
fn an_export_on_a_full_disk_fails_and_leaves_nothing() {
    let workspace = Workspace::new();
    workspace.write("one.yaml", ONE);
    workspace.run("run one.yaml").with(0, &[]);
    for (what, to, blocks) in EXPORTS {
        let command = format!("export one.yaml {what} new/{to}");
        let failed = run_on_a_full_disk(&workspace, blocks, &command).with(4, &[to, "large"]);
        assert!(!failed.stderr.contains(".new."), "{}", failed.stderr);
        assert_eq!(entries(workspace.root()), [""; 0], "after {what}");
    }
    for (what, to, _) in EXPORTS {
        workspace.run(&format!("export one.yaml {what} {to}")).with(0, &["wrote"]);
        let again = workspace.run(&format!("export one.yaml {what} {to}"));
        again.with(2, &["already exists"]);
    }
    assert_eq!(entries(workspace.root()).len(), EXPORTS.len(), "{:?}", entries(workspace.root()));
}

#[test]
fn other_files_on_a_full_disk_are_whole_or_as_they_were() {
    let workspace = Workspace::new();
    workspace.write("one.yaml", ONE);
    workspace.run("run one.yaml").with(0, &[]);
    let model = workspace.artifact("train");
    let model = model.to_str().unwrap();
    workspace.write("theirs.pth", "old");
    run_on_a_full_disk(&workspace, 1, &format!("model export {model} theirs.pth")).with(4, &["theirs.pth"]);
    assert_eq!(fs::read_to_string(workspace.path("theirs.pth")).unwrap(), "old");
    workspace.run(&format!("model export {model} theirs.pth")).with(0, &[]);
    let import = "model import theirs.pth ours.safetensors --model wrn-10-1 --image 16x16x3";
    run_on_a_full_disk(&workspace, 1, import).with(4, &["ours.safetensors"]);
    run_on_a_full_disk(&workspace, 0, "init new/first.yaml").with(4, &["first.yaml"]);
    assert_eq!(entries(workspace.root()), ["theirs.pth"]);
    workspace.run(import).with(0, &[]);
    workspace.run("init new/first.yaml").with(0, &[]);
}

/// The metrics of the only row of a results table.
fn measured(workspace: &Workspace, manifest: &str) -> Value {
    let ended = workspace.run(&format!("results {manifest} --format json")).with(0, &[]);
    let document: Value = serde_json::from_str(&ended.stdout).unwrap();
    document["rows"][0]["acc"].clone()
}

#[test]
fn a_model_has_the_same_accuracy_on_its_exported_data() {
    let workspace = Workspace::new();
    let results = "results: {csv: results/one.csv, from: [after]}\n";
    workspace.write("one.yaml", &format!("{ONE}{results}"));
    workspace.run("run one.yaml").with(0, &[]);
    workspace.run("export one.yaml images dataset exported --limit 0").with(0, &["96 images"]);
    workspace.run("export one.yaml trained model model.pth").with(0, &[]);
    let again = "\
name: again
seed: 2
stages:
  images: {kind: dataset, with: {source: image-folder, path: exported}}
  model:  {kind: checkpoint, with: {path: model.pth, model: wrn-10-1}, needs: {dataset: images}}
  after:  {kind: evaluate, needs: {model: model, dataset: images}}
results: {csv: results/again.csv, from: [after]}
";
    workspace.write("again.yaml", again);
    workspace.run("run again.yaml").with(0, &[]);
    assert_eq!(measured(&workspace, "again.yaml"), measured(&workspace, "one.yaml"));
    let names = entries(&workspace.path("exported/train"));
    assert!(names[0].starts_with("00_") && names[9].starts_with("09_"), "{names:?}");
}
