//! Computing recorded tasks again.

use super::kinds::Act;
use super::*;
use crate::stages::{Observer, Progress};
use crate::store::Record;

struct Nobody;

impl Observer for Nobody {
    fn progress(&self, _: &Progress) {}
    fn note(&self, _: &str) {}
}

/// The differences when a record's task is computed again.
fn again(bench: &Bench, record: &Record) -> Vec<String> {
    let kinds = registry(bench.kinds.clone());
    let again =
        Again { kinds: &kinds, backend: &bench.backend, threads: 1, observer: &Nobody, stop: &bench.stop };
    again.compute(record, &bench.store()).unwrap()
}

#[test]
fn a_result_of_another_backend_is_not_computed_again() {
    let bench = Bench { backend: Backend::candle(), ..Bench::new() };
    let run = bench.run("name: m\nstages: {a: {kind: connect, with: {text: single}}}").run;
    let (kinds, backend) = (registry(bench.kinds.clone()), Backend::default());
    let again = Again { kinds: &kinds, backend: &backend, threads: 1, observer: &Nobody, stop: &bench.stop };
    let error = again.compute(run.record(TaskId(0)).unwrap(), &bench.store()).unwrap_err().to_string();
    assert!(error.contains("cpu/f32/candle") && error.contains("cpu/f32/kernels-3"), "{error}");
}

#[test]
fn outputs_that_a_task_does_not_make_are_not_compared() {
    let bench = Bench::new();
    let run = bench.run("name: m\nstages: {a: {kind: connect, with: {text: single}}}").run;
    let record = run.record(TaskId(0)).unwrap();
    assert_eq!(record.outputs.len(), 1);
    assert_eq!(again(&bench, record), [] as [String; 0]);
    bench.lab.set("connect", Act::Waver);
    let differences = again(&bench, record);
    assert!(matches!(&differences[..], [one] if one.starts_with("model: ")), "{differences:?}");
}

#[test]
fn inputs_that_are_passed_on_and_metrics_are_compared() {
    let bench = Bench::new();
    let plan = bench.plan(SWEEP);
    let run = bench.run_plan(&plan).run;
    let record = |name: &str| run.record(named(&plan, name)).unwrap();
    assert_eq!(again(&bench, record("clean@clean_ratio=0.01")), [] as [String; 0]);

    let before = record("before");
    assert_eq!(again(&bench, before), [] as [String; 0]);
    let mut other = before.clone();
    let acc = other.metrics.remove("acc").unwrap();
    other.metrics.insert("asr".to_owned(), 3.into());
    assert_eq!(again(&bench, &other), ["asr: 3 before, null now", &format!("acc: null before, {acc} now")]);
}
