//! `show`, `log` and `export`: what is inside a cache.

use std::fs;
use std::process::Stdio;

use serde_json::Value;

use super::workspace::{Ended, Workspace, assert_tells};

#[test]
fn a_task_is_shown_with_all_that_is_known() {
    let workspace = Workspace::cheap();
    assert_tells!("show_nothing", workspace.run("show cheap.yaml poisoned"));
    workspace.run("run cheap.yaml").with(0, &[]);
    assert_tells!("show", workspace.run("show cheap.yaml poisoned"));
    assert_tells!(
        "show_stale",
        workspace.run("show cheap.yaml rest@ratio=0.5 --set stages.part.with.stratified=true")
    );
    let told = workspace.run("show cheap.yaml part@ratio=0.25 --json").with(0, &[]);
    let json: Value = serde_json::from_str(&told.stdout).unwrap();
    assert_eq!(json["format_version"], 1);
    assert_eq!(json["inputs"][1]["from"], "poisoned");
    assert!(json["outputs"][1]["size"].as_u64().unwrap() > 0);
    assert!(json["record"]["exec"]["peak_bytes"].as_u64().unwrap() > 1 << 20);
    assert_eq!(json["record"]["components"]["params"]["ratio"], 0.25);
}

#[test]
fn a_log_is_kept_for_success_and_failure() {
    let workspace = Workspace::cheap();
    workspace.run("log cheap.yaml images").with(5, &["images has no log"]);
    workspace.run("run cheap.yaml").with(0, &[]);
    let told = workspace.run("log cheap.yaml images -f").with(0, &[]).stdout;
    assert!(told.contains("started images on ") && told.ends_with("finished\n"), "{told}");
    let wrong = "cheap.yaml poisoned --set stages.poisoned.with.rate=0.001";
    workspace.run(&format!("run {wrong}")).with(4, &[]);
    let told = workspace.run(&format!("log {wrong}")).with(0, &[]).stdout;
    assert!(told.contains("failed: ") && told.contains("rate"), "{told}");
    let told = workspace.run("log cheap.yaml images").with(0, &[]);
    assert_eq!(told.stderr, "");
    let other = "images has changed since it last ran; this is the log of its last result, ";
    workspace.run("log cheap.yaml images --set seed=9").with(0, &[other]);
}

#[test]
fn a_log_is_followed_while_the_task_runs() {
    let workspace = Workspace::new();
    let mut program = workspace.program();
    let run = program.args(["run", "tiny.yaml", "--set", "matrix.epochs=[30]"]).stderr(Stdio::null());
    let mut run = run.stdout(Stdio::null()).spawn().unwrap();
    let follow = "log tiny.yaml trained@epochs=30 -f --set matrix.epochs=[30]";
    let mut told = workspace.run(follow);
    while told.code != Some(0) {
        std::thread::sleep(std::time::Duration::from_millis(20));
        told = workspace.run(follow);
    }
    let notes = told.stdout.matches("epoch").count();
    assert!(notes > 0 && told.stdout.ends_with("finished\n"), "{}", told.stdout);
    assert!(run.wait().unwrap().success());
}

#[test]
fn artifacts_are_exported_as_files_that_others_read() {
    let workspace = Workspace::new();
    workspace.run("export tiny.yaml poisoned trigger t.png").with(5, &["poisoned has no result yet"]);
    workspace.run("run tiny.yaml after@epochs=1").with(0, &[]);
    let export = |arguments: &str| -> Ended { workspace.run(&format!("export tiny.yaml {arguments}")) };
    export("poisoned trigger t.png").with(0, &["wrote the trigger of `badnets` to t.png"]);
    export("poisoned trigger t.png").with(2, &["t.png already exists"]);
    export("poisoned trigger t.jpg").with(2, &["t.jpg: a trigger cannot be", "help: name it .png"]);
    export("trained@epochs=1 model m.onnx")
        .with(2, &["m.onnx: a model cannot be", "help: name it .safetensors"]);
    export("poisoned overlay poison --limit 2").with(0, &["wrote 2 poisoned images to poison"]);
    assert_eq!(fs::read_dir(workspace.path("poison/00_disc")).unwrap().count(), 2);
    export("images dataset out/images --limit 10").with(0, &["wrote 20 images to out/images"]);
    assert!(workspace.path("out/images/train").is_dir() && workspace.path("out/images/test").is_dir());
    export("trained@epochs=1 model m.safetensors")
        .with(0, &["wrn-10-1 with ", " parameters to m.safetensors"]);
    assert_eq!(
        fs::read(workspace.path("m.safetensors")).unwrap(),
        fs::read(workspace.artifact("train")).unwrap()
    );
    export("after@epochs=1 report r.json").with(0, &["wrote a report to r.json"]);
    let report: Value = serde_json::from_str(&fs::read_to_string(workspace.path("r.json")).unwrap()).unwrap();
    assert!(report["acc"].is_f64());
    export("trained@epochs=1 modle m2").with(2, &["no output `modle`", "did you mean `model`?"]);
}
