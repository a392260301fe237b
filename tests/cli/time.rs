//! How long runs take: what `plan` says before them.

use serde_json::Value;

use super::workspace::{MANIFEST, Workspace, assert_tells};

#[test]
fn a_plan_says_how_long_it_takes() {
    let workspace = Workspace::new();
    workspace.run("run tiny.yaml").with(0, &[]);
    assert!(!workspace.run("plan tiny.yaml").with(0, &[]).stderr.contains("of work"), "everything is cached");
    assert_tells!("plan_with_time", workspace.run("plan tiny.yaml --set seed=3 -j 2"));

    let more = MANIFEST.replace("results:", "  part: {kind: split, needs: {dataset: images}}\nresults:");
    workspace.write("more.yaml", &more);
    assert_tells!("plan_with_unknown_time", workspace.run("plan more.yaml --set seed=3"));
    let json = workspace.run("plan more.yaml --set seed=3 --json -j 2 --threads 3").with(0, &[]).stdout;
    let estimate = serde_json::from_str::<Value>(&json).unwrap()["estimate"].take();
    assert!(estimate["seconds"].as_f64().unwrap() > 0.0, "{estimate}");
    assert_eq!((&estimate["jobs"], &estimate["threads"]), (&2.into(), &3.into()));
    assert_eq!(estimate["unknown"], serde_json::json!({"part": 1}));
    let dry = workspace.run("run tiny.yaml --set seed=3 --dry-run -j 3").with(0, &["of work with -j 3"]);
    assert!(dry.stderr.contains("about "), "{}", dry.stderr);
}
