//! What a run leaves beside its results: `run.json`, the lock, events.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use argd_pipe::store::FAIL_POINT_VARIABLE;
use serde_json::Value;

use super::workspace::{MANIFEST, Workspace};

/// The `run.json` of every run, in their order.
fn runs(workspace: &Workspace) -> Vec<Value> {
    let folders = fs::read_dir(workspace.path("cache/v1/runs")).unwrap();
    let mut files: Vec<PathBuf> = folders.map(|entry| entry.unwrap().path().join("run.json")).collect();
    files.sort();
    files.iter().map(|file| serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap()).collect()
}

#[test]
fn a_run_says_what_it_was() {
    let workspace = Workspace::new();
    workspace.run("run tiny.yaml --set seed=3 --matrix epochs=1").with(0, &[]);
    let [run] = &runs(&workspace)[..] else { panic!() };
    assert_eq!((&run["format_version"], &run["pipeline"]), (&Value::from(1), &Value::from("tiny")));
    assert_eq!(run["manifest"]["text"], MANIFEST);
    assert_eq!(run["overrides"], serde_json::json!(["seed=3", "matrix.epochs=[1]"]));
    assert_eq!((&run["seed"], &run["outcome"]), (&Value::from(3), &Value::from("done")));
    assert_eq!(run["git"], Value::Null);
    assert!(run["program"]["arguments"].as_array().unwrap().contains(&"tiny.yaml".into()));
    assert!(run["machine"]["processors"].as_u64().unwrap() > 0);
    assert!(run["started"].as_str().unwrap() <= run["finished"].as_str().unwrap());

    let tasks = run["tasks"].as_array().unwrap();
    let after = tasks.iter().find(|task| task["name"] == "after@epochs=1").unwrap();
    assert_eq!((&after["state"], &after["kind"]), (&Value::from("finished"), &Value::from("evaluate")));
    assert_eq!(after["needs"]["trigger"], "poisoned");
    assert!(workspace.csv().contains(after["key"].as_str().unwrap()));
    assert!(after["metrics"]["asr"].is_number() && after["outputs"].as_object().unwrap().len() == 1);
}

#[test]
fn a_run_that_fails_or_is_killed_says_so_and_its_repository_is_named() {
    let workspace = Workspace::new();
    let git = |arguments: &[&str]| {
        let identity = ["-c", "user.name=x", "-c", "user.email=x@example.org"];
        let done = Command::new("git").current_dir(workspace.root()).args(identity).args(arguments).output();
        done.is_ok_and(|done| done.status.success())
    };
    let has_git = git(&["init", "-q"]) && git(&["add", "tiny.yaml"]) && git(&["commit", "-q", "-m", "x"]);
    let killed =
        workspace.program().args(["run", "tiny.yaml"]).env(FAIL_POINT_VARIABLE, "record-renamed").output();
    assert_eq!(killed.unwrap().status.code(), None);
    let killed = runs(&workspace).remove(0);
    assert_eq!((&killed["outcome"], &killed["finished"]), (&Value::Null, &Value::Null));
    if has_git {
        assert_eq!(killed["git"]["commit"].as_str().unwrap().len(), 40);
        assert_eq!(killed["git"]["dirty"], false);
    }

    let broken =
        MANIFEST.replace("stages:", "stages:\n  gone: {kind: dataset, with: {source: idx, path: gone}}");
    workspace.write("broken.yaml", &broken.replace("name: tiny", "name: broken"));
    workspace.run("run broken.yaml").with(66, &[]);
    let all = runs(&workspace);
    let failed = all.iter().find(|run| run["pipeline"] == "broken").unwrap();
    assert_eq!(failed["outcome"], "failed");
    let gone = &failed["tasks"].as_array().unwrap()[0];
    assert_eq!((&gone["name"], &gone["state"]), (&Value::from("gone"), &Value::from("failed")));
    assert!(gone["error"].as_str().unwrap().contains("not found"));
}

#[test]
fn locked_results_are_given_or_none() {
    let workspace = Workspace::new();
    workspace
        .run("run tiny.yaml --locked")
        .with(66, &["results/tiny.lock", "`argd-pipe run tiny.yaml --lock` writes it"]);
    workspace.run("run tiny.yaml --lock").with(0, &["results/tiny.lock"]);
    let lock = fs::read_to_string(workspace.path("results/tiny.lock")).unwrap();
    workspace.run("run tiny.yaml --locked").with(0, &["6 cached", "the results match results/tiny.lock"]);

    // What would differ is known before anything runs, in an empty cache too.
    let changed = "run tiny.yaml --locked --cache-dir other --set stages.poisoned.with.rate=0.2";
    let words = ["does not match the lock file: poisoned: ", "1 task does not match the lock file"];
    let told = workspace.run(changed).with(5, &words);
    assert_eq!(told.stderr.matches("does not match the lock file: ").count(), 1, "the cause alone is named");
    let why = ["\n  parameter `rate`: 0.1 -> 0.2\n", "--set stages.poisoned.with.rate=0.2 --lock` locks"];
    workspace.run(&changed.replace(" --cache-dir other", "")).with(5, &words).with(5, &why);
    workspace.run("run tiny.yaml --locked --set matrix.epochs=[1,3]").with(
        5,
        &["trained@epochs=3: it is not in the lock file", "trained@epochs=2: it is only in the lock file"],
    );
    workspace.run("run tiny.yaml --locked --lock").with(2, &["cannot be used with"]);

    // A lock is of the whole plan, whatever part of it is run.
    workspace.run("run tiny.yaml after@epochs=1 --locked").with(0, &["4 cached", "the results match"]);
    workspace.run("run tiny.yaml images --locked --set stages.poisoned.with.rate=0.2").with(5, &["poisoned"]);
    workspace.run("run tiny.yaml images --lock").with(2, &["cannot be used with"]);

    // From nothing, the same comes out.
    fs::remove_dir_all(workspace.path("cache")).unwrap();
    workspace.run("run tiny.yaml --locked -j 2").with(0, &["6 ran"]);
    workspace.run("run tiny.yaml --lock").with(0, &[]);
    assert_eq!(fs::read_to_string(workspace.path("results/tiny.lock")).unwrap(), lock);

    // A lock of something else that has the same keys: what a stage that is not deterministic leads to.
    let json: Value = serde_json::from_str(&lock).unwrap();
    let digest = json["tasks"]["after@epochs=2"]["outputs"]["report"].as_str().unwrap();
    let swapped = lock.replace(digest, &"0".repeat(64));
    workspace.write("results/tiny.lock", &swapped);
    fs::remove_file(workspace.path("results/tiny.csv")).unwrap();
    workspace
        .run("run tiny.yaml --locked")
        .with(5, &["after@epochs=2: its output `report` differs from the locked one"]);
    assert!(!workspace.path("results/tiny.csv").exists());
    workspace.write("results/tiny.lock", "{");
    workspace.run("run tiny.yaml --locked").with(66, &["cannot read the lock"]);
}

#[test]
fn events_are_a_history_in_json_lines() {
    let workspace = Workspace::new();
    workspace.run("run tiny.yaml --events events.jsonl").with(0, &[]);
    let text = fs::read_to_string(workspace.path("events.jsonl")).unwrap();
    let events: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(events.iter().all(|event| event["version"] == 1 && event["time"].is_f64()));
    let of = |kind: &str| events.iter().filter(|event| event["event"] == kind).count();
    assert_eq!((of("run-started"), of("task-started"), of("finished"), of("run-finished")), (1, 6, 6, 1));
    assert!(of("progress") >= 3, "{text}");
    assert_eq!((&events[0]["event"], &events[0]["tasks"]), (&Value::from("run-started"), &Value::from(6)));
    assert_eq!(events.last().unwrap()["event"], "run-finished");

    workspace.run("run tiny.yaml --events events.jsonl").with(0, &[]);
    assert_eq!(fs::read_to_string(workspace.path("events.jsonl")).unwrap().matches("\"cached\",").count(), 6);
    workspace
        .run("run tiny.yaml --events gone/events.jsonl")
        .with(2, &["cannot write `gone/events.jsonl`", "give --events another"]);
    workspace
        .run("run tiny.yaml --tensorboard tiny.yaml")
        .with(2, &["cannot write `tiny.yaml", "give --tensorboard"]);
    // A file that fills up costs the events, not the run.
    workspace.run("run tiny.yaml --events /dev/full").with(4, &["6 cached", "wrote 2 rows to", "/dev/full"]);
}

#[test]
fn tensorboard_files_are_made_per_task() {
    let workspace = Workspace::new();
    workspace.run("run tiny.yaml --tensorboard logs").with(0, &[]);
    let folders = fs::read_dir(workspace.path("logs")).unwrap();
    let mut names: Vec<String> =
        folders.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert_eq!(
        names,
        ["after@epochs=1", "after@epochs=2", "images", "poisoned", "trained@epochs=1", "trained@epochs=2"]
    );
}
