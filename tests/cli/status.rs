//! `status` and `dag`: how tasks stand, and why.

use std::fs;

use serde_json::Value;

use super::workspace::{CHEAP, Workspace, assert_tells};

#[test]
fn status_says_what_is_cached_and_why_the_rest_is_not() {
    let workspace = Workspace::cheap();
    assert_tells!("status_of_nothing", workspace.run("status cheap.yaml --why"));
    workspace.run("run cheap.yaml").with(0, &["6 ran"]);
    workspace.run("status cheap.yaml --exit-code").with(0, &["cheap: 6 tasks: 6 cached"]);
    assert_tells!(
        "status_of_a_new_ratio",
        workspace.run("status cheap.yaml --why --set matrix.ratio=[0.5,0.75]")
    );
    let changed = "--why --set stages.part.with.stratified=true --set stages.images.with.train=128";
    assert_tells!("status_of_changes", workspace.run(&format!("status cheap.yaml {changed}")));
    workspace.run(&format!("status cheap.yaml {changed} --exit-code")).with(5, &["not cached: 6 tasks"]);
    let told = workspace.run("status cheap.yaml rest@ratio=0.5").with(0, &["cheap: 1 task: 1 cached"]);
    assert!(!told.stdout.contains("images"), "{}", told.stdout);
}

#[test]
fn status_tells_what_failed_and_what_cannot_run() {
    let workspace = Workspace::cheap();
    let wrong = CHEAP.replace("rate: 0.1", "rate: 0.001");
    workspace.write("wrong.yaml", &wrong);
    let skipped = ["skipped 4 tasks: they need poisoned", "1 ran, 1 failed, 4 skipped"];
    workspace.run("run wrong.yaml").with(4, &skipped);
    assert_tells!("status_of_a_failure", workspace.run("status wrong.yaml --why"));
    let missing = ["--set", "stages.images.with={source: cifar10, path: gone}"];
    let told = workspace.run_with("status cheap.yaml --why", &missing).with(0, &["1 cannot run"]).stdout;
    assert!(told.contains("cannot run") && told.contains("gone: not found"), "{told}");
}

#[test]
fn plan_and_status_are_json_on_request() {
    let workspace = Workspace::cheap();
    workspace.run("run cheap.yaml").with(0, &[]);
    let json = |arguments: &str| -> Value {
        serde_json::from_str(&workspace.run(arguments).with(0, &[]).stdout).unwrap()
    };
    let status = json("status cheap.yaml --json --set stages.rest.with.ratio=0.25");
    assert_eq!(status["format_version"], 1);
    assert_eq!(status["counts"]["cached"], 4);
    let rest =
        status["tasks"].as_array().unwrap().iter().find(|task| task["task"]["stage"] == "rest").unwrap();
    assert_eq!(rest["state"], "stale");
    assert_eq!(rest["task"]["axes"]["ratio"], "0.25");
    let reason = serde_json::json!({"reason": "param", "path": "ratio", "old": 0.5, "new": 0.25});
    assert_eq!(rest["reasons"], serde_json::json!([reason]));

    let plan = json("plan cheap.yaml part --json");
    assert_eq!((&plan["format_version"], &plan["counts"]["cached"]), (&1.into(), &4.into()));
    let part = &plan["tasks"][2];
    assert_eq!((&part["kind"], &part["needs"]["poison"]), (&"split".into(), &"poisoned".into()));
    assert_eq!(part["key"].as_str().unwrap().len(), 64);
}

#[test]
fn a_graph_is_drawn_in_three_ways() {
    let workspace = Workspace::cheap();
    workspace.run("run cheap.yaml part").with(0, &["4 ran"]);
    insta::assert_snapshot!("dag", workspace.run("dag cheap.yaml").all());
    insta::assert_snapshot!("dag_expanded", workspace.run("dag cheap.yaml --expand").all());
    insta::assert_snapshot!("dag_dot", workspace.run("dag cheap.yaml rest --format dot").all());
    insta::assert_snapshot!(
        "dag_mermaid",
        workspace.run("dag cheap.yaml part@ratio=0.5 --expand --format mermaid").all()
    );
    let colored = workspace.run("dag cheap.yaml --color always").stdout;
    assert!(
        ["\u{1b}[32mcached", "\u{1b}[2m2 tasks, missing"].iter().all(|word| colored.contains(word)),
        "{colored}"
    );
}

#[test]
fn a_journal_that_is_lost_costs_only_an_explanation() {
    let workspace = Workspace::cheap();
    workspace.run("run cheap.yaml").with(0, &[]);
    fs::write(workspace.path("cache/v1/journals/cheap.jsonl"), b"\xff nonsense").unwrap();
    workspace.run("run cheap.yaml").with(0, &["6 cached"]);
    let told =
        workspace.run("status cheap.yaml --why --set stages.rest.with.ratio=0.25").with(0, &["2 stale"]);
    assert!(told.stdout.contains("parameter `ratio`: 0.5 -> 0.25"), "{}", told.stdout);
}
