//! Why a task is stale: for each component of a key, a change that is reported, and one that is not.

use std::collections::BTreeSet;

use serde_json::json;

use super::kinds::Act;
use super::*;

const CHAIN: &str = "
name: chain
seed: 1
stages:
  images:  {kind: dataset}
  subject: {kind: split, needs: {dataset: images}, with: {ratio: 0.5}}
  after:   {kind: train, needs: {dataset: subject}}
";

fn state(bench: &Bench, yaml: &str, task: &str) -> TaskStatus {
    let plan = bench.plan(yaml);
    status(&plan, &bench.store(), &mut |_, _| {}).unwrap().of(named(&plan, task)).clone()
}

/// The state of `subject` and its reasons, if `change` is made after a run of [`CHAIN`].
fn found(change: impl Fn(Bench) -> (Bench, String)) -> (Standing, Vec<String>) {
    let bench = Bench::new();
    bench.run(CHAIN);
    let (bench, yaml) = change(bench);
    let status = state(&bench, &yaml, "subject");
    (status.standing, status.reasons.iter().map(ToString::to_string).collect())
}

fn with_text(from: &str, to: &str) -> impl Fn(Bench) -> (Bench, String) {
    assert!(CHAIN.contains(from));
    let yaml = CHAIN.replace(from, to);
    move |bench| (bench, yaml.clone())
}

fn with_version_of(kind: &'static str) -> impl Fn(Bench) -> (Bench, String) {
    move |mut bench| {
        bench.kinds.iter_mut().filter(|fake| fake.kind == kind).for_each(|fake| fake.version += 1);
        (bench, CHAIN.to_owned())
    }
}

fn assert_named(change: impl Fn(Bench) -> (Bench, String), reasons: &[&str]) {
    assert_eq!(found(change), (Standing::Stale, reasons.iter().map(|&reason| reason.to_owned()).collect()));
}

fn assert_cached(change: impl Fn(Bench) -> (Bench, String)) {
    assert_eq!(found(change), (Standing::Cached, vec![]));
}

#[test]
fn nothing_has_changed() {
    assert_cached(|bench| (bench, CHAIN.to_owned()));
    assert_cached(with_text("chain", "chain\ndescription: another"));
}

#[test]
fn a_parameter_is_named_with_both_values() {
    assert_named(with_text("0.5", "0.25"), &["parameter `ratio`: 0.5 -> 0.25"]);
    assert_named(with_text("0.5", "0.5, text: new"), &[r#"parameter `text`: "" -> "new""#]);
    assert_cached(with_text("0.5", "0.5, text: ''"));
}

#[test]
fn the_version_is_named() {
    assert_named(with_version_of("split"), &["version of the implementation: 1 -> 2"]);
    assert_cached(with_version_of("erase"));
}

#[test]
fn the_kind_is_named_alone() {
    let other =
        with_text("split, needs: {dataset: images}, with: {ratio: 0.5}", "dataset, with: {ratio: 0.1}");
    assert_named(other, &[r#"kind: "split" -> "dataset""#]);
}

#[test]
fn the_seed_is_named_if_the_task_depends_on_it() {
    let constant = "dataset, with: {constant: true, seeded: false}}";
    let bench = Bench::new();
    let yaml = CHAIN.replace("dataset}\n", &format!("{constant}\n"));
    assert_ne!(yaml, CHAIN);
    bench.run(&yaml);
    let status = state(&bench, &yaml.replace("seed: 1", "seed: 2"), "subject");
    assert_eq!(status.reasons, [StaleReason::Seed { old: Some(1), new: Some(2) }]);
    let unseeded = state(&bench, &yaml.replace("seed: 1", "seed: 2"), "images");
    assert_eq!(unseeded.standing, Standing::Cached);
}

#[test]
fn the_class_of_numerics_is_named_and_threads_are_not() {
    // The data set also has the other class, so its content is not known yet.
    let reasons =
        [r#"numerics: "cpu/f32/kernels-3" -> "cpu/f32/candle""#, "it waits for `dataset` from images"];
    assert_named(|bench| (Bench { backend: Backend::candle(), ..bench }, CHAIN.to_owned()), &reasons);
    let settings = Settings { jobs: 4, threads: 7, memory: None, fail_fast: true };
    assert_cached(|bench| (Bench { settings, ..bench }, CHAIN.to_owned()));
}

#[test]
fn an_input_is_named_with_its_task_but_not_how_it_was_computed() {
    let changed = |bench: Bench| {
        let yaml = CHAIN.replace("dataset}\n", "dataset, with: {text: other}}\n");
        bench.run("name: other\nseed: 1\nstages: {images: {kind: dataset, with: {text: other}}}");
        (bench, yaml)
    };
    let (standing, reasons) = found(changed);
    assert_eq!((standing, reasons.len()), (Standing::Stale, 1));
    assert!(reasons[0].starts_with("input `dataset` from images: "), "{reasons:?}");
    assert_eq!(reasons[0].len(), "input `dataset` from images: ".len() + 12 + " -> ".len() + 12);

    let bench = Bench::new();
    let constant = |text: &str| {
        CHAIN.replace("dataset}\n", &format!("dataset, with: {{constant: true, text: {text}}}}}\n"))
    };
    bench.run(&constant("one"));
    bench.run(&constant("two"));
    assert_eq!(state(&bench, &constant("one"), "subject").standing, Standing::Cached);
}

#[test]
fn an_added_or_removed_port_is_named_but_not_a_renamed_stage() {
    let ports = |ports: &str, data: &str| {
        format!(
            "
name: ports
stages:
  {data}: {{kind: dataset}}
  m: {{kind: train, needs: {{dataset: {data}}}}}
  subject: {{kind: node, needs: {{{ports}}}}}
"
        )
    };
    let bench = Bench::new();
    bench.run(&ports("a: m", "d"));
    let reasons = |ports: &str| state(&bench, ports, "subject").reasons;
    assert_eq!(reasons(&ports("a: m", "renamed")), []);
    let moved = reasons(&ports("b: m", "d"));
    let change = |reason: &StaleReason| match reason {
        StaleReason::Input { port, old, new, .. } => (port.clone(), old.is_some(), new.is_some()),
        other => panic!("{other:?}"),
    };
    let changes: BTreeSet<_> = moved.iter().map(change).collect();
    assert_eq!(changes, [("a".to_owned(), true, false), ("b".to_owned(), false, true)].into());
}

#[test]
fn an_outside_file_is_named_by_its_path_and_compared_by_its_content() {
    let bench = Bench::new();
    let file = |name: &str, content: &str| {
        let path = bench.folder.path().join(name);
        fs::write(&path, content).unwrap();
        format!("name: file\nstages: {{a: {{kind: node, with: {{file: {}}}}}}}", path.display())
    };
    bench.run(&file("a.bin", "pixels"));
    assert_eq!(state(&bench, &file("moved.bin", "pixels"), "a").standing, Standing::Cached);
    let status = state(&bench, &file("b.bin", "other pixels"), "a");
    let [StaleReason::Source { path: Some(path), .. }] = &status.reasons[..] else { panic!("{status:?}") };
    assert!(path.ends_with("b.bin"));
}

#[test]
fn a_task_below_a_stale_one_waits_for_it() {
    let bench = Bench::new();
    bench.run(CHAIN);
    let status = state(&bench, &CHAIN.replace("0.5", "0.25"), "after");
    assert_eq!(status.standing, Standing::Stale);
    let [StaleReason::InputPending { port: "dataset", task }] = &status.reasons[..] else {
        panic!("{status:?}")
    };
    assert_eq!(task.to_string(), "subject");
    let both = CHAIN.replace("0.5", "0.25").replace("subject}}", "subject}, with: {text: new}}");
    let reasons = state(&bench, &both, "after").reasons;
    assert_eq!(reasons[0].to_string(), r#"parameter `text`: "" -> "new""#);
    assert_eq!(reasons.len(), 2, "known changes are reported before the input is known");
}

#[test]
fn a_task_that_never_ran_is_missing() {
    let bench = Bench::new();
    let first = state(&bench, CHAIN, "images");
    assert_eq!((first.standing, first.reasons), (Standing::Missing, vec![StaleReason::NeverRan]));
    assert_eq!(state(&bench, CHAIN, "subject").reasons.len(), 2);
    bench.run(CHAIN);
    let renamed = CHAIN.replace("subject:", "renamed:").replace("dataset: subject", "dataset: renamed");
    assert_eq!(state(&bench, &renamed, "renamed").standing, Standing::Cached);
}

#[test]
fn a_removed_result_is_missing_again() {
    let bench = Bench::new();
    let plan = bench.plan(CHAIN);
    let run = bench.run_plan(&plan).run;
    fs::remove_file(bench.object(&run, named(&plan, "after"), "model")).unwrap();
    let status = state(&bench, CHAIN, "after");
    assert_eq!((status.standing, status.reasons), (Standing::Missing, vec![StaleReason::Removed]));
}

#[test]
fn a_failure_is_reported_until_something_changes() {
    let bench = Bench::new();
    bench.lab.set("split", Act::Fail);
    bench.run(CHAIN);
    let status = state(&bench, CHAIN, "subject");
    assert_eq!((status.standing, status.note.as_deref()), (Standing::Failed, Some("the test makes it fail")));
    assert_eq!(state(&bench, &CHAIN.replace("0.5", "0.25"), "subject").standing, Standing::Missing);
    bench.lab.heal();
    bench.run(CHAIN);
    assert_eq!(state(&bench, CHAIN, "subject").standing, Standing::Cached);
}

#[test]
fn a_task_that_another_process_computes_is_running() {
    let bench = Bench::new();
    let key = state(&bench, CHAIN, "images").key.unwrap();
    let store = bench.store();
    let lock = store.try_lock(&key).unwrap().unwrap();
    let status = state(&bench, CHAIN, "images");
    assert_eq!(status.standing, Standing::Running);
    assert!(status.note.unwrap().starts_with(&format!("process {} on ", std::process::id())));
    drop(lock);
    assert_eq!(state(&bench, CHAIN, "images").standing, Standing::Missing);
}

#[test]
fn a_reason_in_json_is_a_tagged_object() {
    let reason = StaleReason::Param { path: "augment.flip".into(), old: None, new: Some(json!(true)) };
    let json = json!({"reason": "param", "path": "augment.flip", "old": null, "new": true});
    assert_eq!(serde_json::to_value(reason).unwrap(), json);
}

#[test]
fn the_log_of_a_task_has_every_attempt() {
    let bench = Bench::new();
    bench.lab.set("dataset", Act::Fail);
    bench.run(CHAIN);
    bench.lab.set("dataset", Act::Panic);
    bench.run(CHAIN);
    bench.lab.heal();
    bench.run(CHAIN);
    let key = state(&bench, CHAIN, "images").key.unwrap();
    let log = fs::read_to_string(bench.store().log(&key)).unwrap();
    let lines: Vec<&str> = log.lines().map(|line| line.split_once("] ").unwrap().1).collect();
    let ends = ["failed: the test makes it fail", "hint: report this bug, with the manifest", "finished"];
    assert_eq!(lines.iter().filter(|line| line.starts_with("started images")).count(), 3);
    assert!(ends.iter().all(|end| lines.contains(end)), "{log}");
}

#[test]
fn a_record_has_the_peak_memory() {
    let bench = Bench::new();
    let plan = bench.plan(CHAIN);
    let run = bench.run_plan(&plan).run;
    assert!(run.record(named(&plan, "after")).unwrap().exec.peak_bytes.unwrap() > 1 << 20);
}
