//! What a new user writes first, and what the program answers.

use std::fs;

use crate::workspace::{CHEAP, MANIFEST, Workspace};

/// The manifest [`MANIFEST`] with other parameters of `trained`.
fn trained(with: &str) -> String {
    MANIFEST.replace("model: wrn-10-1, ", &format!("model: wrn-10-1, {with}, "))
}

#[test]
fn a_number_is_a_constant_schedule_with_the_same_key() {
    let workspace = Workspace::new();
    let keys = |schedule: &str| {
        workspace.write("m.yaml", &trained(&format!("schedule: {schedule}")));
        let told = workspace.run("show m.yaml trained@epochs=1 --set matrix.epochs=[1] --json").with(0, &[]);
        let document: serde_json::Value = serde_json::from_str(&told.stdout).unwrap();
        document["params"].clone()
    };
    assert_eq!(keys("0.1"), keys("[{epoch: 0, lr: 0.1}]"));
    assert_eq!(keys("1"), keys("[{epoch: 0, lr: 1.0}]"));
    for (wrong, says) in [
        ("schedule: -0.1", "a number that is at least 0"),
        ("schedule: []", "expected at least 1 items"),
        ("schedule: [0.1]", "expected a mapping, found the number `0.1`"),
        ("schedule: high", "expected a number or a list"),
        ("schedule: [{epoch: 0, lr: 0.1, x: 1}]", "unknown field `x`"),
    ] {
        workspace.write("m.yaml", &trained(wrong));
        let told = workspace.run("validate m.yaml").with(3, &[says]);
        assert!(!told.stderr.contains("write `["), "{}", told.stderr);
    }
}

#[test]
fn names_of_other_programs_lead_to_ours() {
    let workspace = Workspace::new();
    workspace.write("m.yaml", &trained("lr: 0.1, batch-size: 32"));
    workspace.run("validate m.yaml").with(
        3,
        &[
            "unknown field `lr`",
            "the learning rate is `schedule`: write `schedule: 0.1`",
            "the number of images in one step is `batch`: write `batch: 32`",
            "fields here: ",
        ],
    );
    workspace.write("m.yaml", &MANIFEST.replace("after:", "erased: {kind: erase, needs: {student: trained, dataset: images}, with: {method: anp, lr: 0.2}}\n  after:"));
    workspace.run("validate m.yaml").with(0, &[]);
}

#[test]
fn a_path_of_the_home_folder_is_refused_where_it_is_written() {
    let workspace = Workspace::cheap();
    for (stage, place) in [
        ("{kind: dataset, with: {source: cifar10, path: ~/data/cifar10}}", "stages.a.with.path"),
        ("{kind: checkpoint, with: {path: ~/model.pth, model: wrn-16-1, classes: 10}}", "stages.a.with.path"),
    ] {
        workspace.write("m.yaml", &format!("name: m\nstages:\n  a: {stage}\n"));
        let words = [place, "begins with `~`, which only a shell replaces", "m.yaml:3:", "write `./~/"];
        workspace.run("validate m.yaml").with(3, &words);
        workspace.write("m.yaml", &format!("name: m\nstages:\n  a: {}\n", stage.replace('~', "./~")));
        workspace.run("validate m.yaml").with(0, &[]);
    }
}

#[test]
fn an_unclosed_reference_has_one_error_that_says_how_to_write_it() {
    let workspace = Workspace::cheap();
    for written in ["${vars.s", "\"${vars.s\"", "\"a ${vars.s and more\""] {
        let text = format!(
            "name: m\nvars: {{s: synthetic}}\nstages:\n  a:\n    kind: dataset\n    with:\n      source: {written}\n"
        );
        workspace.write("m.yaml", &text);
        let told = workspace
            .run("validate m.yaml")
            .with(3, &["`${` has no closing `}`", "m.yaml:7:15", "write `${vars.s}`"]);
        assert!(told.stderr.contains("1 error in the manifest"), "{}", told.stderr);
    }
}

#[test]
fn one_manifest_is_not_one_of_many() {
    let workspace = Workspace::cheap();
    workspace.write("m.yaml", "name: m\nstages: {a: {kind: nothing}}\n");
    workspace.run("validate m.yaml").with(3, &["× the manifest cannot be used"]);
    workspace.run("validate m.yaml cheap.yaml").with(3, &["1 of 2 manifests cannot be used"]);
    workspace.run("validate gone.yaml").with(66, &["the manifest cannot be read"]);
}

#[test]
fn a_failure_has_one_line_for_all_tasks_that_it_skips() {
    let workspace = Workspace::cheap();
    let wrong =
        CHEAP.replace("source: synthetic, train: 64, test: 32, size: 16", "source: cifar10, path: gone");
    workspace.write("wrong.yaml", &wrong);
    fs::create_dir(workspace.path("gone")).unwrap();
    let told = workspace.run("run wrong.yaml").with(66, &["skipped 5 tasks: they need images"]);
    assert_eq!(told.stderr.matches("skipped ").count(), 1, "{}", told.stderr);
    let told = workspace.run("run wrong.yaml -v").with(66, &["skipped rest@ratio=0.5: it needs images"]);
    assert_eq!(told.stderr.matches(" it needs images").count(), 5, "{}", told.stderr);
}

#[test]
fn a_class_that_the_data_set_lacks_is_found_before_the_run() {
    let workspace = Workspace::cheap();
    for (source, target, says) in [
        ("source: synthetic", "target: 10", Some("class 10, but the data set has 10 classes, 0 to 9")),
        (
            "source: synthetic, classes: 4",
            "target: 4",
            Some("class 4, but the data set has 4 classes, 0 to 3"),
        ),
        ("source: cifar10, path: gone", "target: 10", Some("has 10 classes")),
        ("source: cifar100, path: gone", "target: 99", None),
        ("source: cifar100, path: gone, labels: coarse", "target: 20", Some("has 20 classes")),
        ("source: gtsrb, path: gone", "target: 43", Some("has 43 classes")),
        ("source: image-folder, path: gone", "target: 1000", None),
        ("source: synthetic", "rule: all2all, target: 99", None),
        (
            "source: synthetic",
            "rule: source_specific, rate_of: source_class, source: 12, target: 1",
            Some("class 12"),
        ),
    ] {
        let text = format!(
            "name: m\nstages:\n  a: {{kind: dataset, with: {{{source}}}}}\n  b: {{kind: split, needs: {{dataset: a}}, \
             with: {{ratio: 0.5}}}}\n  c: {{kind: poison, needs: {{dataset: b}}, with: {{attack: badnets, {target}}}}}\n"
        );
        workspace.write("m.yaml", &text);
        let told = workspace.run("validate m.yaml");
        match says {
            Some(says) => drop(told.with(3, &[says, "m.yaml:5:", "stages.c.with."])),
            None => drop(told.with(0, &[])),
        }
    }
    let swept = CHEAP
        .replace("target: 0", "target: \"${matrix.target}\"")
        .replace("matrix: {", "matrix: {target: [0, 12], ");
    workspace.write("m.yaml", &swept);
    let told = workspace.run("validate m.yaml").with(3, &["class 12", "m.yaml:3:"]);
    assert!(told.stderr.contains("1 error in the manifest"), "{}", told.stderr);
}
