//! Targets, force, failures, and sweeps from the command line.

use super::workspace::{CHEAP, Workspace};

#[test]
fn targets_run_with_what_they_need() {
    let workspace = Workspace::cheap();
    workspace.run("run cheap.yaml part@ratio=0.25").with(0, &["done", "3 ran"]);
    workspace.run("run cheap.yaml rest@ratio=0.25 --only").with(0, &["1 ran, 3 cached"]);
    workspace.run("run cheap.yaml r*@ratio=0.5 --dry-run").with(0, &["2 cached, 1 to run, 1 pending"]);
    workspace.run("run cheap.yaml poisoned --downstream").with(0, &["2 ran, 4 cached"]);
    workspace.run("run cheap.yaml").with(0, &["6 cached"]);
}

#[test]
fn only_does_not_compute_what_is_needed() {
    let workspace = Workspace::cheap();
    let reported = ["images: it has no result yet", "remove `--only`", "skipped 2 tasks: they need images"];
    let each = ["skipped poisoned: it needs images", "skipped part@ratio=0.25: it needs images"];
    workspace.run("run cheap.yaml part@ratio=0.25 --only -v").with(5, &each);
    let ended = workspace.run("run cheap.yaml part@ratio=0.25 --only").with(5, &reported);
    assert!(ended.stderr.contains("3 skipped") && !ended.stderr.contains("failed"), "{}", ended.stderr);
    let status = workspace.run("status cheap.yaml images").with(0, &["1 missing"]);
    assert!(!status.stdout.contains("failed"), "{}", status.stdout);
    workspace.run("run cheap.yaml --only").with(2, &["TARGET"]);
}

#[test]
fn what_is_forced_runs_again() {
    let workspace = Workspace::cheap();
    workspace.run("run cheap.yaml").with(0, &["6 ran"]);
    workspace.run("run cheap.yaml --force").with(0, &["6 ran"]);
    workspace.run("run cheap.yaml part --force").with(0, &["2 ran, 2 cached"]);
    workspace.run("run cheap.yaml --force=poisoned").with(0, &["1 ran, 5 cached"]);
    workspace.run("run cheap.yaml part --force=poisoned").with(0, &["1 ran, 3 cached"]);
    workspace.run("run cheap.yaml --force=poisond").with(2, &["did you mean `poisoned`?"]);
}

#[test]
fn an_unknown_target_is_reported_with_the_nearest_name() {
    let workspace = Workspace::cheap();
    workspace.run("run cheap.yaml prt").with(2, &["unknown stage `prt`", "did you mean `part`?"]);
    workspace
        .run("plan cheap.yaml part@ration=1")
        .with(2, &["has no axis `ration`", "did you mean `ratio`?"]);
    workspace
        .run("status cheap.yaml part@ratio=0.3")
        .with(2, &["no task has the value `0.3`", "`0.25`, `0.5`"]);
    workspace.run("status cheap.yaml part@ratio=0.50").with(0, &["cheap: 1 task: "]);
    workspace.run("status cheap.yaml part@*").with(0, &["cheap: 2 tasks: "]);
    workspace.run("show cheap.yaml part").with(2, &["the name matches 2 tasks", "`part@ratio=0.25`"]);
}

#[test]
fn a_failure_ends_the_run_at_once_only_on_request() {
    let workspace = Workspace::cheap();
    let wrong = CHEAP.replace(
        "stages:",
        "stages:\n  bad: {kind: poison, needs: {dataset: images}, with: {attack: badnets, rate: 0.001}}",
    );
    workspace.write("wrong.yaml", &wrong);
    let fast = workspace.run("run wrong.yaml --fail-fast").with(4, &["1 task failed (bad)", "did not start"]);
    assert!(!fast.stderr.contains("finished part"), "{}", fast.stderr);
    workspace
        .run("run wrong.yaml")
        .with(4, &["1 task failed (bad)", "finished results are kept", "finished part@ratio=0.5"]);
    workspace.run("run wrong.yaml --fail-fast -k --force").with(4, &["6 ran, 1 failed"]);
}

#[test]
fn a_sweep_is_widened_from_the_command_line() {
    let workspace = Workspace::cheap();
    workspace.run("run cheap.yaml --matrix ratio=0.25,0.75").with(0, &["6 ran"]);
    workspace.run("run cheap.yaml --set matrix.ratio=[0.25,0.5,0.75]").with(0, &["2 ran, 6 cached"]);
    let seeds = workspace
        .run("plan cheap.yaml --matrix seed=1..3")
        .with(0, &["cheap: 18 tasks: 6 cached, 2 to run, 10 pending"]);
    assert!(seeds.stdout.contains("seed"), "{}", seeds.stdout);
    workspace
        .run("run cheap.yaml --matrix seed=2,2")
        .with(3, &["duplicate value `2` of the axis `seed`", "--matrix"]);
    workspace.run("run cheap.yaml --matrix rate=0.1,0.2").with(3, &["no stage uses the axis `rate`"]);
    workspace.run("run cheap.yaml --matrix seed=3..1").with(2, &["is not a range"]);
    let added = ["--set", "stages.poisoned.with.rate=${matrix.rate}", "--matrix", "rate=0.1,0.2"];
    workspace
        .run_with("plan cheap.yaml", &added)
        .with(0, &["cheap: 11 tasks: 6 cached, 1 to run, 4 pending"]);
}

#[test]
fn include_and_exclude_are_set_like_anything_else() {
    let workspace = Workspace::cheap();
    let plan = |set: &str| workspace.run_with("plan cheap.yaml --set", &[set]);
    plan("matrix.exclude=[{ratio: 0.25}]").with(0, &["cheap: 4 tasks"]);
    plan("matrix.include=[{ratio: 0.75}]").with(0, &["cheap: 8 tasks"]);
    plan("matrix.exclude=[{ration: 0.25}]").with(3, &["unknown axis `ration`"]);
}

#[test]
fn a_backend_has_results_of_its_own() {
    let workspace = Workspace::new();
    let task = "tiny.yaml after@epochs=1";
    workspace.run(&format!("run {task} --backend candle")).with(0, &["4 ran"]);
    workspace.run(&format!("run {task} --backend candle")).with(0, &["4 cached"]);
    workspace.run(&format!("run {task} --dry-run")).with(0, &["1 to run, 3 pending"]);
    let status = workspace.run(&format!("status {task} --why")).with(0, &[]).stdout;
    assert!(status.contains(r#"numerics: "cpu/f32/candle" -> "cpu/f32/kernels-3""#), "{status}");
    workspace.run(&format!("run {task} --backend torch")).with(2, &["kernels, candle"]);
    let help = workspace.run("run --help").with(0, &[]).stdout;
    assert!(!help.contains("--backend"), "{help}");
}
