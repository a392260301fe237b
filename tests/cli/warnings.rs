//! Results that mean little: warnings during the run, kept with the result, and shown again.

use super::workspace::{MANIFEST, Workspace};

#[test]
fn a_warning_is_printed_kept_and_counted_again() {
    let workspace = Workspace::cheap();
    let set = "--set matrix.ratio=[0.02]";
    let line = "warning: part@ratio=0.02: 1 image: 9 of 10 classes have none; raise `ratio`";
    let first = workspace.run(&format!("run cheap.yaml {set}"));
    first.with(0, &[line, "warning: rest@ratio=0.02: 1 image", "4 ran, 2 warnings"]);

    let again = workspace.run(&format!("run cheap.yaml {set}")).with(0, &["4 cached, 2 warnings"]);
    assert!(!again.stderr.contains("1 image"), "{}", again.stderr);
    workspace.run(&format!("run cheap.yaml {set} -v")).with(0, &[line]);
    let shown = workspace.run(&format!("show cheap.yaml part {set}")).with(0, &[]).stdout;
    assert!(shown.contains("  warning   1 image: 9 of 10 classes have none"), "{shown}");
    let log = workspace.run(&format!("log cheap.yaml part {set}")).with(0, &[]).stdout;
    assert!(log.contains("] warning: 1 image: 9 of 10"), "{log}");
    // Where a job is computed does not matter.
    let workspace = Workspace::cheap();
    let events = "--executor process --events events.jsonl";
    workspace.run(&format!("run cheap.yaml {set} {events}")).with(0, &[line, "2 warnings"]);
    let events = std::fs::read_to_string(workspace.path("events.jsonl")).unwrap();
    assert_eq!(events.matches(r#""event":"warning""#).count(), 2, "{events}");
}

#[test]
fn a_result_that_is_not_valid_says_why() {
    let workspace = Workspace::new();
    let require = "trigger: poisoned}, with: {require: {acc: \">= 99.5\"}}}";
    workspace.write("tiny.yaml", &MANIFEST.replace("trigger: poisoned}}", require));
    let told = workspace.run("run tiny.yaml").with(0, &["warning: after@epochs=1: not valid: acc "]);
    assert!(told.stdout.contains("no (acc ") && told.stdout.contains(" < 99.5)"), "{}", told.stdout);
    assert!(workspace.csv().contains(",false,"), "{}", workspace.csv());
    let shown = workspace.run("show tiny.yaml after@epochs=1").with(0, &[]).stdout;
    assert!(shown.contains("valid: no (acc ") && shown.contains("warning   not valid: acc "), "{shown}");
    let log = workspace.run("log tiny.yaml after@epochs=1").with(0, &[]).stdout;
    assert!(log.contains("warning: not valid: acc "), "{log}");
}
