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
    names.retain(|name| !(name == "cache" || name.ends_with(".yaml")));
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
    run_on_a_full_disk(&workspace, 0, "init new/first.yaml").with(4, &["manifest.schema.json"]);
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

#[test]
fn class_names_are_not_paths() {
    let workspace = Workspace::new();
    fs::create_dir(workspace.path("cifar")).unwrap();
    let evil =
        ["../../../evil", "/tmp/argd-pipe-evil", "..", "a/b", "\u{1b}[2J", "x\u{85}y", "h", "i", "j", "k"];
    workspace.write("cifar/batches.meta.txt", &evil.join("\n"));
    let record = |label: u8| [vec![label], vec![9; 3072]].concat();
    let batch: Vec<u8> = (0..10).flat_map(record).collect();
    for file in (1..=5).map(|number| format!("data_batch_{number}.bin")).chain(["test_batch.bin".to_owned()])
    {
        fs::write(workspace.path("cifar").join(file), &batch).unwrap();
    }
    workspace.write(
        "one.yaml",
        "name: one\nstages: {images: {kind: dataset, with: {source: cifar10, path: cifar}}}\n",
    );
    workspace.run("run one.yaml").with(0, &[]);
    workspace.run("export one.yaml images dataset a/b/c/out").with(0, &["60 images"]);
    assert_eq!(entries(workspace.root()), ["a", "cifar"]);
    assert_eq!(entries(&workspace.path("a/b/c")), ["out"]);
    assert!(!Path::new("/tmp/argd-pipe-evil").exists());
    for (at, folder) in entries(&workspace.path("a/b/c/out/train")).iter().enumerate() {
        assert!(folder.starts_with(&format!("0{at}_")), "{folder}");
        assert_eq!(entries(&workspace.path("a/b/c/out/train").join(folder)).len(), 5);
    }
    let again =
        "name: again\nstages: {images: {kind: dataset, with: {source: image-folder, path: a/b/c/out}}}\n";
    workspace.write("again.yaml", again);
    workspace.run("run again.yaml").with(0, &[]);
}

#[test]
fn a_lock_stays_in_the_workspace() {
    let outside = tempfile::tempdir().unwrap();
    let workspace = Workspace::cheap();
    std::os::unix::fs::symlink(outside.path(), workspace.path("results")).unwrap();
    workspace.run("run cheap.yaml --lock").with(4, &["results/cheap.lock", "outside the workspace"]);
    assert!(!workspace.path("cache/v1/records").exists() || workspace.kept("records").is_empty());
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
}

#[test]
fn results_that_cannot_be_written_are_found_before_anything_runs() {
    for (in_the_way, command) in [
        ("results/tiny.csv", "run tiny.yaml"),
        ("results/tiny.seeds.csv", "run tiny.yaml --matrix seed=1..2"),
        ("results/tiny.lock", "run tiny.yaml --lock"),
        ("events", "run tiny.yaml --events events"),
    ] {
        let workspace = Workspace::new();
        fs::create_dir_all(workspace.path(in_the_way)).unwrap();
        let refused = workspace.run(command);
        assert_ne!(refused.code, Some(0), "{command}");
        assert!(refused.stderr.contains(in_the_way), "{}", refused.stderr);
        assert!(!refused.stderr.contains(workspace.root().to_str().unwrap()), "{}", refused.stderr);
        assert!(!workspace.path("cache/v1/runs").exists(), "nothing has run");
    }
    let workspace = Workspace::new();
    workspace.write("results", "a file");
    let refused = workspace.run("run tiny.yaml").with(4, &["results/tiny.csv", "Not a directory"]);
    assert!(!refused.stderr.contains(".new."), "{}", refused.stderr);
    fs::remove_file(workspace.path("results")).unwrap();
    let long = "x".repeat(300);
    let set = format!("results.csv=results/{long}.csv");
    workspace.run_with("run tiny.yaml --set", &[&set]).with(4, &["File name too long"]);
}

#[test]
fn a_complete_run_writes_its_files_though_nobody_can_read_its_table() {
    let workspace = Workspace::new();
    let full = || fs::File::options().write(true).open("/dev/full").unwrap();
    let run = workspace.program().args(["run", "tiny.yaml", "--lock"]).stdout(full()).output().unwrap();
    let ended = Ended::from(run).with(4, &["cannot write to standard output", "wrote 2 rows"]);
    assert!(ended.stderr.contains("results/tiny.lock"));
    let csv = workspace.csv();
    fs::remove_file(workspace.path("results/tiny.csv")).unwrap();
    let results = workspace.program().args(["results", "tiny.yaml"]).stdout(full()).output().unwrap();
    Ended::from(results).with(4, &["cannot write to standard output"]);
    assert_eq!(workspace.csv(), csv);
}

#[test]
fn results_of_another_pipeline_or_of_other_axes_stay() {
    let workspace = Workspace::new();
    let tiny = fs::read_to_string(workspace.path("tiny.yaml")).unwrap().replace("[1, 2]", "[1]");
    workspace.write("tiny.yaml", &tiny);
    workspace.write("other.yaml", &tiny.replace("name: tiny", "name: other"));
    workspace.write(
        "renamed.yaml",
        &tiny.replace("{epochs:", "{length:").replace("matrix.epochs", "matrix.length"),
    );
    workspace.run("run tiny.yaml").with(0, &["wrote 1 row"]);
    let csv = workspace.csv();
    let runs = || fs::read_dir(workspace.path("cache/v1/runs")).unwrap().count();
    let before = runs();
    for (command, why) in [
        ("run other.yaml", "results of the pipeline `tiny`"),
        ("results other.yaml", "results of the pipeline `tiny`"),
        ("run tiny.yaml --matrix seed=1..2", "results of one seed; this run has several"),
        ("run renamed.yaml", "results of other axes: `epochs`; this run has `length`"),
    ] {
        workspace
            .run(command)
            .with(2, &["`results/tiny.csv` holds", why, "--overwrite", "--set results.csv="]);
    }
    assert_eq!((workspace.csv(), runs()), (csv, before), "nothing has run");

    workspace.run("results tiny.yaml").with(0, &["wrote 1 row"]);
    let elsewhere = "run renamed.yaml --set results.csv=results/renamed.csv";
    workspace.run(elsewhere).with(0, &["wrote 1 row to results/renamed.csv"]);
    workspace.write("results/tiny.csv", "my notes");
    workspace.run("run tiny.yaml").with(2, &["no table of results"]);
    workspace.run("run tiny.yaml --overwrite").with(0, &["wrote 1 row"]);
    workspace.run("run other.yaml --overwrite").with(0, &["wrote 1 row"]);
    // Other values on the same axes are an edit of the experiment.
    workspace.run("run other.yaml --matrix epochs=1,2").with(0, &["wrote 2 rows"]);
}

#[test]
fn long_names_are_refused_with_their_place() {
    let workspace = Workspace::cheap();
    let cheap = fs::read_to_string(workspace.path("cheap.yaml")).unwrap();
    let long = "x".repeat(300);
    let named = cheap.replace("name: cheap", &format!("name: {long}")).replace("rest:", &format!("{long}:"));
    workspace.write("long.yaml", &named);
    workspace.run("validate long.yaml").with(
        3,
        &[
            "long.yaml:1:7",
            "the name of a manifest has 300 characters",
            "the name of a stage has 300 characters",
            "use at most 100",
        ],
    );
}

#[test]
fn a_long_axis_value_reaches_every_file() {
    let workspace = Workspace::new();
    let long = "v".repeat(300);
    let axis = format!("epochs: [{{name: \"{long}/../..\", n: 1}}]");
    let manifest = fs::read_to_string(workspace.path("tiny.yaml")).unwrap();
    let manifest =
        manifest.replace("epochs: [1, 2]", &axis).replace("${matrix.epochs}", "${matrix.epochs.n}");
    workspace.write("tiny.yaml", &manifest);
    workspace.run("run tiny.yaml --lock --tensorboard board --events events.jsonl").with(0, &["wrote 1 row"]);
    let folders = entries(&workspace.path("board"));
    assert!(
        folders.iter().any(|name| name.starts_with("trained@epochs=vvv") && name.len() < 200),
        "{folders:?}"
    );
    assert!(workspace.csv().contains(&long));
}

#[test]
fn the_file_of_a_large_run_is_small() {
    let workspace = Workspace::cheap();
    let ratios: Vec<String> =
        (1..=20_000).map(|number| format!("{}", f64::from(number) / 20_001.0)).collect();
    let cheap = fs::read_to_string(workspace.path("cheap.yaml")).unwrap();
    let large = cheap.replace("ratio: [0.25, 0.5]", &format!("ratio: [{}]", ratios.join(", ")));
    workspace.write("large.yaml", large.split("  rest:").next().unwrap());
    // All of them need a result that must not be computed.
    workspace.run("run large.yaml part --only").with(5, &[]);
    let run = fs::read_dir(workspace.path("cache/v1/runs")).unwrap().next().unwrap().unwrap().path();
    assert_eq!(entries(&run), ["run.json.gz"]);
    let size = fs::metadata(run.join("run.json.gz")).unwrap().len();
    assert!(size < 500_000, "{size}");
}
