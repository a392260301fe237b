//! Tasks that run at once within a memory budget.

use serde_json::{Value, json};

use super::kinds::Act;
use super::*;
use crate::pipeline::run::{AT_LEAST, MemoryBudget};
use crate::store::{Execution, Key, RecordDraft};

/// The largest number of tasks that ran at once, of at most 3.
fn most_at_once(memory: Option<u64>) -> usize {
    let settings = Settings { jobs: 3, threads: 3, memory, fail_fast: false };
    let bench = Bench { settings, ..Bench::new() };
    bench.lab.set("erase", Act::Slow(3));
    let seen = bench.run(SWEEP);
    seen.run.complete().unwrap();
    let (mut running, mut most) = (0, 0);
    for event in seen.events {
        running += usize::from(matches!(event, Event::TaskStarted { .. }));
        running -= usize::from(matches!(event, Event::Finished { .. }));
        most = most.max(running);
    }
    most
}

#[test]
fn tasks_that_do_not_fit_together_never_overlap() {
    assert_eq!(most_at_once(None), 3);
    assert_eq!(most_at_once(Some(AT_LEAST * 5 / 2)), 2);
    assert_eq!(most_at_once(Some(AT_LEAST * 3 / 2)), 1);
    assert_eq!(most_at_once(Some(1)), 1, "each is too large, and still runs");
}

#[test]
fn a_task_that_runs_alone_because_of_its_memory_has_all_threads() {
    let settings = Settings { jobs: 2, threads: 8, memory: Some(1), fail_fast: false };
    let seen = Bench { settings, ..Bench::new() }.run(SWEEP);
    let all =
        seen.events.iter().all(|event| !matches!(event, Event::TaskStarted { threads, .. } if *threads != 8));
    assert!(all);
}

/// Keeps a record of a task with this peak.
fn keep(store: &Store, kind: &str, params: &Value, task: &str, peak: u64) {
    let components = Components {
        encoding: 1,
        kind: kind.into(),
        version: 1,
        params: params.clone(),
        inputs: Inputs::new(),
        numerics: "test".into(),
        seed: Some(peak),
    }
    .to_value();
    let lock = store.try_lock(&Key::of(&components)).unwrap().unwrap();
    let exec = Execution {
        pipeline: "badnets".into(),
        task: task.into(),
        peak_bytes: Some(peak),
        ..Execution::default()
    };
    let draft = RecordDraft { components, exec, ..RecordDraft::default() };
    store.commit(&lock, store.work(&lock).unwrap(), draft).unwrap();
}

#[test]
fn peaks_of_the_stage_come_before_those_of_the_kind_and_before_sizes() {
    let bench = Bench::new();
    let (plan, store) = (bench.plan(SWEEP), bench.store());
    let params = plan.task(named(&plan, "after@clean_ratio=0.05,defense=nad")).bound.params();
    // The same task twice, once beside others; another evaluation; one with other parameters.
    keep(&store, "evaluate", &params, "after@clean_ratio=0.05,defense=nad", 900);
    keep(&store, "evaluate", &params, "after", 700);
    keep(&store, "evaluate", &params, "elsewhere", 100);
    keep(&store, "evaluate", &json!({"text": "other"}), "after", 2000);
    let budget = MemoryBudget::new(1, &plan, &store).unwrap();
    let need = |name: &str| budget.need(plan.task(named(&plan, name)), |_| None);
    assert_eq!(need("after@clean_ratio=0.01,defense=argd"), 700);
    assert_eq!(need("before"), 2000);
    assert_eq!(need("images"), AT_LEAST);

    bench.run(SWEEP);
    let survey = survey(&plan, &store, &mut |_, _| {}).unwrap();
    let size = survey.record(named(&plan, "images")).unwrap().outputs[0].size;
    let split = plan.task(named(&plan, "clean@clean_ratio=0.05"));
    assert_eq!(budget.need(split, |id| survey.record(id)), AT_LEAST + 3 * size);
}
