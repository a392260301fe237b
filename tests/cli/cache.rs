//! `cache`: what is kept, whether it is sound, and what may go.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::workspace::{Ended, MANIFEST, Workspace};

/// A workspace after a run.
fn after_a_run() -> Workspace {
    let workspace = Workspace::new();
    workspace.run("run tiny.yaml").with(0, &["6 ran"]);
    workspace
}

fn list(workspace: &Workspace) -> Vec<Value> {
    serde_json::from_str(&workspace.run("cache ls --json").with(0, &[]).stdout).unwrap()
}

fn tasks(workspace: &Workspace) -> Vec<String> {
    let mut tasks: Vec<String> =
        list(workspace).iter().map(|entry| entry["task"].as_str().unwrap().to_owned()).collect();
    tasks.sort();
    tasks
}

fn flip_a_bit(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let at = bytes.len() / 2;
    bytes[at] ^= 16;
    fs::remove_file(path).unwrap();
    fs::write(path, bytes).unwrap();
}

fn files_below(folder: &Path) -> u64 {
    let below = |entry: std::io::Result<fs::DirEntry>| {
        let path = entry.unwrap().path();
        if path.is_dir() { files_below(&path) } else { 1 }
    };
    fs::read_dir(folder).unwrap().map(below).sum()
}

#[test]
fn what_is_kept_is_listed_and_measured() {
    let workspace = Workspace::new();
    workspace.run("cache ls").with(0, &["there is no cache in cache"]);
    assert!(!workspace.path("cache").exists(), "looking makes nothing");

    let workspace = after_a_run();
    let told = workspace.run("cache ls").with(0, &["6 results"]);
    for word in ["tiny/trained@epochs=2", "evaluate", "now", "KB"] {
        assert!(told.stdout.contains(word), "`{word}` is not in\n{}", told.stdout);
    }
    let entries = list(&workspace);
    assert_eq!(entries.len(), 6);
    assert!(entries.iter().all(|entry| entry["pipeline"] == "tiny" && entry["readable"] == true));

    let sizes: Value = serde_json::from_str(&workspace.run("cache size --json").with(0, &[]).stdout).unwrap();
    assert_eq!(sizes["records"]["files"], 6);
    assert_eq!((&sizes["unused"]["files"], &sizes["corrupt"]["files"]), (&Value::from(0), &Value::from(0)));
    let on_disk: u64 = workspace.kept("objects").iter().map(|path| fs::metadata(path).unwrap().len()).sum();
    assert_eq!(sizes["artifacts"]["bytes"], on_disk);
    let told = workspace.run("cache size").with(0, &[]);
    assert!(told.stdout.contains("unused artifacts"), "{}", told.stdout);
    let counted: u64 = sizes.as_object().unwrap().values().map(|part| part["files"].as_u64().unwrap()).sum();
    assert_eq!(counted, files_below(&workspace.path("cache/v1")), "{sizes}");
}

#[test]
fn a_flipped_bit_is_found_named_and_healed() {
    let workspace = after_a_run();
    workspace.run("cache verify").with(0, &["checked 6 records"]);
    let csv = workspace.csv();
    flip_a_bit(&workspace.artifact("dataset"));
    let words = ["corrupt: ", "to compute again: tiny/images", "1 file was corrupt in the cache"];
    workspace.run("cache verify").with(6, &words);
    workspace.run("cache verify").with(0, &["checked 5 records"]);
    workspace.run("run tiny.yaml").with(0, &["1 ran, 5 cached"]);
    assert_eq!(workspace.csv(), csv);
    workspace.run("cache gc").with(0, &["1 corrupt file"]);
}

#[test]
fn a_truncated_record_is_found_and_computed_again() {
    let workspace = after_a_run();
    let csv = workspace.csv();
    let record = workspace.kept("records")[0].clone();
    let key = record.file_stem().unwrap().to_str().unwrap();
    let entry = list(&workspace).into_iter().find(|entry| entry["key"] == key).unwrap();
    let again = format!("to compute again: tiny/{}  {}", entry["task"].as_str().unwrap(), &key[..12]);
    let text = fs::read_to_string(&record).unwrap();
    fs::write(&record, &text[..text.len() - 7]).unwrap();
    workspace.run("cache verify").with(6, &["is a damaged record", "1 file was corrupt", &again]);
    workspace.run("run tiny.yaml").with(0, &["1 ran, 5 cached"]);
    assert_eq!(workspace.csv(), csv);
}

#[test]
fn a_result_can_be_computed_again_and_compared() {
    let workspace = after_a_run();
    workspace.run("cache verify --recompute nothing").with(2, &["`nothing`", "argd-pipe cache ls"]);
    workspace.run("cache verify --recompute images").with(0, &["same outputs: tiny/images"]);
    workspace
        .run("cache verify --recompute tiny/trained*1")
        .with(0, &["same outputs: tiny/trained@epochs=1"]);

    // A record of something else under its key: what a stage that is not deterministic leaves.
    let entries = list(&workspace);
    let entry = entries.iter().find(|entry| entry["task"] == "after@epochs=1").unwrap();
    let key = entry["key"].as_str().unwrap();
    let path = workspace.path("cache/v1/records").join(&key[..2]).join(format!("{key}.json"));
    let text = fs::read_to_string(&path).unwrap();
    let (_, checked) = text.split_at(75);
    let changed = checked.replacen("\"asr\": ", "\"asr\": 1", 1);
    assert_ne!(changed, checked);
    let check = blake3::hash(changed.as_bytes()).to_hex();
    fs::write(&path, format!("{{\"check\":\"{check}\"{changed}")).unwrap();

    let words = [
        "NON-DETERMINISTIC: tiny/after@epochs=1",
        "asr: ",
        "non-deterministic: computing tiny/after@epochs=1 again gave different outputs",
    ];
    workspace.run(&format!("cache verify --recompute {}", &key[..10])).with(6, &words);
    assert!(workspace.run("cache ls").stdout.contains("non-deterministic"));
}

#[test]
fn without_limits_only_clutter_goes() {
    let workspace = after_a_run();
    workspace.write("cache/v1/corrupt/x", "abc");
    let words = ["would remove 0 results", "1 corrupt file (3 B)"];
    workspace.run("cache gc --dry-run").with(0, &words);
    assert!(workspace.path("cache/v1/corrupt/x").exists());
    workspace.run("cache gc").with(0, &["removed 0 results, 1 corrupt file (3 B)"]);
    assert_eq!(tasks(&workspace).len(), 6);
    workspace.run("run tiny.yaml").with(0, &["6 cached"]);
}

#[test]
fn what_is_told_of_runs_goes_with_their_results() {
    let workspace = after_a_run();
    let count = |what: &str| fs::read_dir(workspace.path("cache/v1").join(what)).unwrap().count();
    assert_eq!((count("runs"), count("journals")), (1, 1));
    workspace.run("cache gc").with(0, &["6 lock files"]);
    workspace.run("cache gc --keep-days 1").with(0, &["removed 0 results\n"]);
    assert_eq!((count("runs"), count("journals")), (1, 1));
    workspace.run("cache gc --keep-days 0").with(0, &["removed 6 results", ", 1 run (", ", 1 journal ("]);
    assert_eq!((count("runs"), count("journals")), (0, 0));
    workspace.run("run tiny.yaml").with(0, &["6 ran"]);
}

#[test]
fn a_kept_manifest_keeps_all_it_needs() {
    let workspace = after_a_run();
    workspace.write("kept.yaml", &MANIFEST.replace("[1, 2]", "[1]"));
    workspace
        .run("cache gc --max-size 0 --keep kept.yaml --dry-run")
        .with(0, &["would remove", "would remain"]);
    assert_eq!(tasks(&workspace).len(), 6);
    let words = ["removed tiny/trained@epochs=2", "removed 2 results", "kept 4 results"];
    workspace.run("cache gc --max-size 0 --keep kept.yaml").with(0, &words);
    assert_eq!(tasks(&workspace), ["after@epochs=1", "images", "poisoned", "trained@epochs=1"]);
    workspace.run("run kept.yaml").with(0, &["4 cached"]);
    workspace.run("cache verify").with(0, &[]);

    workspace.run("cache gc --max-size 0").with(0, &["removed 4 results"]);
    assert_eq!(workspace.kept("objects"), [] as [PathBuf; 0]);
    workspace.run("cache gc --max-size 3X").with(2, &["not a unit of size"]);
    workspace.run("cache gc --keep gone.yaml").with(66, &["gone.yaml"]);
}

#[test]
fn a_kept_run_keeps_a_sweep_that_no_manifest_describes() {
    let workspace = Workspace::cheap();
    let sweep = "run cheap.yaml --matrix seed=1..3 --set matrix.ratio=[0.5]";
    workspace.run(sweep).with(0, &["12 ran"]);
    let runs = || fs::read_dir(workspace.path("cache/v1/runs")).unwrap();
    let run = runs().next().unwrap().unwrap().file_name().into_string().unwrap();
    workspace.run("run cheap.yaml --set seed=9").with(0, &["6 ran"]);
    let words = ["removed 6 results", "kept 12 results", "1 run ("];
    workspace.run(&format!("cache gc --keep-days 0 --keep {run}")).with(0, &words);
    workspace.run(sweep).with(0, &["12 cached"]);
    assert!(workspace.path("cache/v1/runs").join(&run).exists(), "it can be kept again");
    let file = format!("cache/v1/runs/{run}/run.json");
    workspace.run(&format!("cache gc --max-size 0 --keep {file}")).with(0, &["removed 0 results"]);

    let text = fs::read_to_string(workspace.path(&file)).unwrap();
    workspace.write(&file, &text.replace("\"key\":", "\"was\":"));
    workspace
        .run(&format!("cache gc --keep-days 0 --keep {run}"))
        .with(2, &["cannot keep", "it has no results"]);
    assert_eq!(tasks(&workspace).len(), 12);
}

#[test]
fn a_collector_beside_runs_breaks_none_of_them() {
    use std::process::Stdio;
    let workspace = Workspace::new();
    let spawn = |arguments: &str| {
        let mut program = workspace.program();
        program.args(arguments.split(' ')).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let mut run = spawn("run tiny.yaml");
    let mut collections = 0;
    while run.try_wait().unwrap().is_none() {
        assert!(spawn("cache gc --max-size 0 --keep-days 0").wait().unwrap().success());
        collections += 1;
    }
    let run = Ended::from(run.wait_with_output().unwrap()).with(0, &[]);
    assert!(collections > 1, "{collections}");
    assert!(!run.stderr.contains("cannot write"), "{}", run.stderr);
    let alone = after_a_run();
    assert_eq!(workspace.csv(), alone.csv());
    workspace.run("cache verify").with(0, &[]);
}
