//! Source data that changes while it is read.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use image::{Rgb, RgbImage};
use serde_json::Value;

use super::workspace::Workspace;

/// Every kind of stage that reads files outside the cache.
const MANIFEST: &str = "\
name: outside
seed: 2
stages:
  images:   {kind: dataset, with: {source: image-folder, path: data}}
  poisoned: {kind: poison, needs: {dataset: images}, with: {attack: refool, pictures: pool, target: 0, rate: 1.0}}
  tiny:     {kind: dataset, with: {source: synthetic, train: 64, test: 32, size: 16}}
  theirs:   {kind: checkpoint, needs: {dataset: tiny}, with: {path: theirs.pth, model: wrn-10-1}}
";

/// Writes a folder of images of one color.
fn images(root: &Path, names: &[&str], color: u8) {
    for name in names {
        let path = root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        RgbImage::from_pixel(16, 16, Rgb([color, 1, 2])).save(path).unwrap();
    }
}

/// A workspace with the sources of [`MANIFEST`], and others of the same form: `data.b`, `pool.b`, `theirs.pth.b`.
fn workspace() -> Workspace {
    let workspace = Workspace::new();
    workspace.write("outside.yaml", MANIFEST);
    for (end, color) in [("", 10), (".b", 200)] {
        let classes = ["train/cat/0.png", "train/dog/0.png", "test/cat/0.png", "test/dog/0.png"];
        images(&workspace.path(&format!("data{end}")), &classes, color);
        images(&workspace.path(&format!("pool{end}")), &["0.png", "1.png"], color);
    }
    workspace
}

/// Exchanges two files or folders, as a person does.
fn exchange(workspace: &Workspace, path: &str) {
    let [ours, theirs, away] = ["", ".b", ".away"].map(|end| workspace.path(&format!("{path}{end}")));
    fs::rename(&ours, &away).unwrap();
    fs::rename(&theirs, &ours).unwrap();
    fs::rename(&away, &theirs).unwrap();
}

/// The lock of the key of a task that is ready to run.
fn lock(workspace: &Workspace, task: &str) -> PathBuf {
    let plan: Value = serde_json::from_str(&workspace.run("plan outside.yaml --json").stdout).unwrap();
    let tasks = plan["tasks"].as_array().unwrap();
    let found = tasks.iter().find(|found| found["task"]["name"] == task).unwrap();
    workspace.path("cache/v1/locks").join(found["key"].as_str().unwrap())
}

/// Runs a task whose source changes between the computation of its key and the read: in between, the run waits for the
/// lock of the key. Then the same command must compute the task, as if nothing had happened.
fn disturb(workspace: &Workspace, task: &str, executor: &str, words: &str, change: impl Fn()) {
    let file = File::create(lock(workspace, task)).unwrap();
    file.lock().unwrap();
    let mut program = workspace.program();
    program.args(["run", "outside.yaml", task, "--executor", executor]);
    let mut run = program.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let mut stderr = BufReader::new(run.stderr.take().unwrap());
    let mut told = String::new();
    while !told.contains("waiting") {
        assert!(stderr.read_line(&mut told).unwrap() > 0, "it did not wait:\n{told}");
    }
    change();
    drop(file);
    stderr.read_to_string(&mut told).unwrap();
    assert_eq!(run.wait().unwrap().code(), Some(4), "{told}");
    assert!(told.contains(words) && told.contains("run the same command again"), "{told}");
}

/// Puts B in the place of A while a run waits, and puts A back after it.
fn swap(workspace: &Workspace, task: &str, source: &str, executor: &str) {
    let words = format!("{source}` changed while it was read");
    disturb(workspace, task, executor, &words, || exchange(workspace, source));
    exchange(workspace, source);
    workspace.run(&format!("run outside.yaml {task}")).with(0, &["1 ran"]);
}

#[test]
fn data_that_changes_between_the_key_and_the_read_is_not_kept() {
    let (undisturbed, disturbed) = (workspace(), workspace());
    undisturbed.run("run outside.yaml images").with(0, &["1 ran"]);
    swap(&disturbed, "images", "data", "local");
    assert_eq!(disturbed.digests(), undisturbed.digests());
    fs::remove_dir_all(disturbed.path("cache")).unwrap();
    swap(&disturbed, "images", "data", "process");
    assert_eq!(disturbed.digests(), undisturbed.digests());

    undisturbed.run("run outside.yaml poisoned").with(0, &["1 ran"]);
    swap(&disturbed, "poisoned", "pool", "local");
    assert_eq!(disturbed.digests(), undisturbed.digests());
}

#[test]
fn data_that_changes_and_changes_back_is_not_kept() {
    let workspace = workspace();
    let twice = || {
        exchange(&workspace, "data");
        exchange(&workspace, "data");
    };
    disturb(&workspace, "images", "local", "changed while it was read; it has the same content now", twice);
    workspace.run("run outside.yaml images").with(0, &["1 ran"]);
}

#[test]
fn a_checkpoint_that_changes_between_the_key_and_the_read_is_not_kept() {
    let workspace = workspace();
    workspace.run("run tiny.yaml").with(0, &[]);
    for (epochs, file) in [(1, "theirs.pth"), (2, "theirs.pth.b")] {
        workspace.run(&format!("export tiny.yaml trained@epochs={epochs} model {epochs}.pth"));
        fs::rename(workspace.path(&format!("{epochs}.pth")), workspace.path(file)).unwrap();
    }
    workspace.run("run outside.yaml tiny").with(0, &["1 cached"]);
    swap(&workspace, "theirs", "theirs.pth", "local");
}
