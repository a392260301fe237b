//! Which tasks run, which are cached, and the order of events.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::thread;

use super::kinds::Act;
use super::*;
use crate::store::KeyLock;

#[test]
fn a_sweep_runs_each_task_once_and_then_never_again() {
    let bench = Bench::new();
    let first = bench.run(SWEEP);
    assert_eq!(first.counts(), [SWEEP_TASKS, 0, 0, 0, 0]);
    first.run.complete().unwrap();
    assert_eq!(
        bench.lab.ran(),
        [
            ("dataset", 1),
            ("erase", 12),
            ("evaluate", 13),
            ("finetune", 4),
            ("poison", 1),
            ("split", 4),
            ("train", 1)
        ]
    );
    let second = bench.run(SWEEP);
    assert_eq!(second.counts(), [0, SWEEP_TASKS, 0, 0, 0]);
    assert_eq!(bench.lab.ran(), []);
    for (a, b) in first.run.endings().zip(second.run.endings()) {
        assert_eq!(a.record(), b.record());
    }
}

#[test]
fn a_survey_finds_what_a_run_would_do_and_runs_nothing() {
    let bench = Bench::new();
    let plan = bench.plan(SWEEP);
    let survey = |plan: &Plan| {
        survey(plan, &bench.store(), &mut |task, damage| panic!("{task}: {damage}")).unwrap().counts()
    };
    assert_eq!(survey(&plan), Counts { to_run: 1, pending: SWEEP_TASKS - 1, ..Counts::default() });
    bench.run(SWEEP);
    bench.lab.ran();
    assert_eq!(survey(&plan), Counts { cached: SWEEP_TASKS, ..Counts::default() });
    let wider = bench.plan(&SWEEP.replace("argd]", "argd, mcr]"));
    assert_eq!(survey(&wider), Counts { cached: SWEEP_TASKS, to_run: 4, pending: 4, failed: 0 });
    assert_eq!(bench.lab.ran(), []);
}

#[test]
fn a_wider_sweep_runs_only_new_tasks() {
    let bench = Bench::new();
    bench.run(SWEEP);
    bench.lab.ran();
    assert_eq!(bench.run(&SWEEP.replace("argd]", "argd, mcr]")).counts(), [8, SWEEP_TASKS, 0, 0, 0]);
    assert_eq!(bench.lab.ran(), [("erase", 4), ("evaluate", 4)]);
}

#[test]
fn tasks_that_run_at_once_have_the_same_results() {
    let [one, two] = [1, 2].map(|jobs| {
        let bench = Bench {
            settings: Settings { jobs, threads: jobs, memory: None, fail_fast: false },
            ..Bench::new()
        };
        let seen = bench.run(SWEEP);
        let records = seen.run.endings().map(|ending| ending.record().unwrap());
        records.map(|record| (record.key, record.outputs.clone(), record.metrics.clone())).collect::<Vec<_>>()
    });
    assert_eq!(one, two);
}

#[test]
fn no_more_tasks_run_at_once_than_allowed() {
    for jobs in [1, 3] {
        let bench =
            Bench { settings: Settings { jobs, threads: 2, memory: None, fail_fast: false }, ..Bench::new() };
        bench.lab.set("erase", Act::Slow(3));
        let (mut running, mut most) = (0, 0);
        let plan = bench.plan(SWEEP);
        bench
            .watch(&plan, &mut |event| match event {
                Event::TaskStarted { threads, .. } => {
                    assert!((1..=2).contains(&threads));
                    running += 1;
                    most = most.max(running);
                }
                Event::Finished { .. } => running -= 1,
                _ => {}
            })
            .unwrap();
        assert_eq!(most, jobs);
    }
}

#[test]
fn a_task_that_is_alone_has_all_threads() {
    let bench =
        Bench { settings: Settings { jobs: 2, threads: 8, memory: None, fail_fast: false }, ..Bench::new() };
    let seen = bench.run(SWEEP);
    let threads: BTreeMap<String, usize> = seen
        .events
        .iter()
        .filter_map(|event| match event {
            Event::TaskStarted { task, threads, .. } => Some((task.to_string(), *threads)),
            _ => None,
        })
        .collect();
    assert_eq!(threads["images"], 8);
    assert_eq!(threads["poisoned"], 4);
}

#[test]
fn events_are_a_history() {
    let bench =
        Bench { settings: Settings { jobs: 2, threads: 2, memory: None, fail_fast: false }, ..Bench::new() };
    let plan = bench.plan(SWEEP);
    let seen = bench.run_plan(&plan);
    let expected = Event::RunStarted { pipeline: "badnets".into(), tasks: SWEEP_TASKS, jobs: 2, threads: 2 };
    assert_eq!(seen.events[0], expected);
    let position = |pick: &dyn Fn(&Event) -> bool| seen.events.iter().position(pick).unwrap();
    for task in plan.tasks() {
        let is_it = |event: &Event| event.task() == Some(&task.label);
        let started = position(&|event| is_it(event) && matches!(event, Event::TaskStarted { .. }));
        let finished = position(&|event| is_it(event) && matches!(event, Event::Finished { .. }));
        assert!(started < finished);
        for need in task.needs() {
            let label = &plan.task(need).label;
            let made = |event: &Event| event.task() == Some(label) && matches!(event, Event::Finished { .. });
            assert!(position(&made) < started);
        }
    }
}

#[test]
fn the_same_bytes_upstream_are_a_hit_downstream() {
    let bench = Bench::new();
    let yaml = |text: &str| {
        format!(
            "
name: cutoff
stages:
  a: {{kind: node, with: {{constant: true, text: {text}}}}}
  b: {{kind: node, needs: {{a: a}}}}
"
        )
    };
    bench.run(&yaml("one"));
    let seen = bench.run(&yaml("two"));
    assert_eq!(seen.tasks(|event| matches!(event, Event::Finished { .. })), ["a"]);
    assert_eq!(seen.tasks(|event| matches!(event, Event::Cached { .. })), ["b"]);
    seen.run.complete().unwrap();
}

#[test]
fn equal_tasks_of_one_plan_are_computed_once() {
    let bench =
        Bench { settings: Settings { jobs: 2, threads: 2, memory: None, fail_fast: false }, ..Bench::new() };
    bench.lab.set("node", Act::Slow(30));
    let seen = bench.run("name: equal\nstages: {a: {kind: node}, b: {kind: node}, c: {kind: node}}");
    assert_eq!(seen.counts(), [1, 2, 0, 0, 0]);
    assert_eq!(bench.lab.ran(), [("node", 1)]);
}

#[test]
fn two_runs_on_one_cache_share_the_work() {
    let bench = Bench::new();
    bench.lab.set("train", Act::Slow(50));
    let seen = thread::scope(|scope| {
        let other = scope.spawn(|| bench_run_other(&bench));
        [bench.run(SWEEP), other.join().unwrap()]
    });
    let ran: usize = seen.iter().map(|seen| seen.counts()[0]).sum();
    assert_eq!(ran, SWEEP_TASKS);
    assert_eq!(bench.lab.ran().iter().map(|(_, times)| times).sum::<usize>(), SWEEP_TASKS);
    seen.iter().for_each(|seen| seen.run.complete().unwrap());
}

/// Same as [`Bench::run`], with a manifest of another name.
fn bench_run_other(bench: &Bench) -> Seen {
    let path = bench.folder.path().join("other.yaml");
    fs::write(&path, SWEEP).unwrap();
    let draft = Draft::load(&path, &[]).unwrap();
    bench.run_plan(&plan(draft, &registry(bench.kinds.clone()), &bench.backend).unwrap())
}

/// A plan with a task whose key is locked, and the lock.
fn held(bench: &Bench) -> (Plan, Option<KeyLock>) {
    let plan = bench.plan("name: held\nstages: {a: {kind: node}, b: {kind: twins}}");
    let survey = survey(&plan, &bench.store(), &mut |_, _| {}).unwrap();
    let State::ToRun(keyed) = survey.state(named(&plan, "a")) else { panic!() };
    let lock = bench.store().try_lock(&keyed.key).unwrap();
    assert!(lock.is_some());
    (plan, lock)
}

#[test]
fn a_task_that_another_process_computes_is_waited_for_last() {
    let bench = Bench::new();
    let (plan, mut lock) = held(&bench);
    let mut seen = vec![];
    let run = bench.watch(&plan, &mut |event| {
        if let Event::WaitingForLock { task, holder } = &event {
            assert_eq!(task.stage, "a");
            assert!(holder.starts_with(&format!("process {} on ", std::process::id())), "{holder}");
            lock = None;
        }
        seen.extend(event.task().map(|task| task.stage.clone()));
    });
    run.unwrap().complete().unwrap();
    assert_eq!(seen, ["b", "b", "a", "a", "a"], "b starts and finishes; a waits, starts and finishes");
}

#[test]
fn a_run_that_waits_for_another_process_can_be_stopped() {
    let bench = Bench::new();
    let (plan, _lock) = held(&bench);
    let run = bench.watch(&plan, &mut |event| {
        let waits = matches!(event, Event::WaitingForLock { .. });
        bench.stop.fetch_or(waits, Ordering::Relaxed);
    });
    assert!(matches!(run.unwrap().ending(named(&plan, "a")), Ending::Unfinished));
}

#[test]
fn a_stopped_run_writes_a_checkpoint_and_resumes_later() {
    let bench = Bench::new();
    bench.lab.set("train", Act::UntilStopped);
    let plan = bench.plan(SWEEP);
    let mut events = vec![];
    let stopped = bench
        .watch(&plan, &mut |event| {
            if matches!(event, Event::Progress { .. }) {
                bench.stop.store(true, Ordering::Relaxed);
            }
            events.push(event);
        })
        .unwrap();
    let seen = Seen { run: stopped, events };
    assert_eq!(seen.tasks(|event| matches!(event, Event::Stopped { .. })), ["backdoored"]);
    let [ran, cached, failed, skipped, unfinished] = seen.counts();
    assert_eq!([cached, failed, skipped], [0, 0, 0]);
    assert_eq!(ran + unfinished, SWEEP_TASKS);
    let error = seen.run.complete().unwrap_err();
    assert_eq!(error.class(), Class::Stopped);
    assert_eq!(error.to_string(), format!("stopped; {unfinished} of {SWEEP_TASKS} tasks are left"));

    let key = seen.events.iter().find_map(|event| match event {
        Event::TaskStarted { task, key, .. } if task.stage == "backdoored" => Some(key.parse().unwrap()),
        _ => None,
    });
    assert!(bench.store().partial(&key.unwrap()).unwrap().path().join("checkpoint").exists());

    bench.lab.heal();
    bench.stop.store(false, Ordering::Relaxed);
    let resumed = bench.run_plan(&plan);
    resumed.run.complete().unwrap();
    assert_eq!(resumed.counts(), [SWEEP_TASKS - ran, ran, 0, 0, 0]);
}

#[test]
fn no_task_starts_in_a_stopped_run() {
    let bench = Bench::new();
    bench.stop.store(true, Ordering::Relaxed);
    assert_eq!(bench.run(SWEEP).counts(), [0, 0, 0, 0, SWEEP_TASKS]);
    assert_eq!(bench.lab.ran(), []);
}
