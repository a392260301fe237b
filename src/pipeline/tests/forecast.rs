//! Estimates of the time of runs whose tasks take made-up times.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

use super::*;
use crate::pipeline::forecast::{Estimate, Forecast};
use crate::stages::{self, Progress, Unit};
use crate::store::{Execution, Key, RecordDraft};

/// Short tasks first, long ones last, as in most experiments.
const LONG_LAST: &str = r#"
name: long-last
seed: 2
matrix: {ratio: [0.05, 0.1], method: [finetune, nad, argd]}
stages:
  images:   {kind: dataset, with: {source: synthetic, train: 2000}}
  poisoned: {kind: poison, needs: {dataset: images}, with: {attack: badnets}}
  clean:    {kind: split, needs: {dataset: images}, with: {ratio: "${matrix.ratio}"}}
  trained:  {kind: train, needs: {dataset: images, poison: poisoned}, with: {epochs: 4}}
  teacher:  {kind: finetune, needs: {model: trained, dataset: clean}, with: {epochs: 10}}
  erased:   {kind: erase, needs: {student: trained, teacher: teacher, dataset: clean}, with: {method: "${matrix.method}"}}
  after:    {kind: evaluate, needs: {model: erased, dataset: images, trigger: poisoned}}
  search:   {kind: detect, needs: {model: erased, dataset: clean}, with: {method: neural-cleanse}}
"#;

/// The thread-seconds of a task.
fn work(task: &Task) -> f64 {
    let ratio = if task.label.axis("ratio") == Some("0.1") { 2.0 } else { 1.0 };
    match (task.kind, task.label.axis("method")) {
        ("train", _) => 30.0,
        ("finetune", _) => 5.0 * ratio,
        ("erase", Some("finetune")) => 6.0 * ratio,
        ("erase", Some("nad")) => 12.0 * ratio,
        ("erase", _) => 20.0 * ratio,
        ("detect", _) => 45.0 * ratio,
        ("evaluate", _) => 3.0,
        _ => 1.0,
    }
}

/// The metrics that estimates use.
fn metrics(task: &Task) -> Map<String, Value> {
    let chosen = if task.label.axis("ratio") == Some("0.1") { 200 } else { 100 };
    let metrics = match task.kind {
        "dataset" => json!({"train_images": 2000}),
        "train" => json!({"images": 2000}),
        "split" | "finetune" | "erase" => json!({"images": chosen}),
        _ => json!({}),
    };
    metrics.as_object().unwrap().clone()
}

/// The progress of a task that has done a fraction of its work, if it reports any.
fn progress(task: &Task, fraction: f64) -> Option<Progress> {
    let (unit, epochs) = match task.kind {
        "train" | "finetune" | "erase" => (Unit::Epoch, 10),
        "detect" => (Unit::Class, 10),
        _ => return None,
    };
    let done = fraction * epochs as f64;
    let step = (done.fract() * 20.0) as usize;
    Some(Progress { unit, epoch: done as usize, epochs, step, steps: 20, ..Progress::default() })
}

/// An estimate during a run.
struct Seen {
    at: f64,
    estimate: Estimate,
    /// The longest rest of a running task.
    longest: f64,
}

/// Plays a run, and asks for an estimate every second. Returns them, and how long the run took.
fn play(plan: &Plan, mut forecast: Forecast<'_>, jobs: usize, threads: usize) -> (Vec<Seen>, f64) {
    let (start, step) = (Instant::now(), 0.05);
    let (mut seen, mut now) = (vec![], 0.0);
    let mut done: Vec<bool> = vec![false; plan.len()];
    // By task: its start and its threads.
    let mut running: BTreeMap<TaskId, (f64, usize)> = BTreeMap::new();
    forecast.observe(
        &Event::RunStarted { pipeline: plan.name().into(), tasks: plan.len(), jobs, threads },
        start,
    );
    while done.contains(&false) {
        let at = start + Duration::from_secs_f64(now);
        let length = |id: TaskId, threads: usize| work(plan.task(id)) / threads as f64;
        let ended = running.iter().filter(|(id, (began, threads))| now >= began + length(**id, *threads));
        let ended: Vec<(TaskId, f64)> =
            ended.map(|(id, (_, threads))| (*id, length(*id, *threads))).collect();
        for (id, seconds) in ended {
            running.remove(&id);
            done[id.0] = true;
            let task = plan.task(id);
            let (label, key, metrics) = (task.label.clone(), String::new(), metrics(task));
            forecast.observe(&Event::Finished { task: label, key, metrics, seconds }, at);
        }
        let is_ready = |id: &TaskId| {
            !done[id.0] && !running.contains_key(id) && plan.needs(*id).all(|need| done[need.0])
        };
        let ready: Vec<TaskId> = (0..plan.len()).map(TaskId).filter(is_ready).collect();
        for (n, id) in ready.iter().enumerate().take(jobs - running.len()) {
            let could_start = (ready.len() - n).min(jobs - running.len());
            let free = threads - running.values().map(|(_, threads)| threads).sum::<usize>();
            let threads = (free / could_start).max(1);
            running.insert(*id, (now, threads));
            let task = plan.task(*id).label.clone();
            forecast.observe(&Event::TaskStarted { task, key: String::new(), threads }, at);
        }
        let mut longest: f64 = 0.0;
        for (&id, &(began, threads)) in &running {
            let (task, length) = (plan.task(id), length(id, threads));
            longest = longest.max(began + length - now);
            if let Some(progress) = progress(task, (now - began) / length) {
                forecast.observe(&Event::Progress { task: task.label.clone(), progress }, at);
            }
        }
        if seen.len() as f64 <= now {
            seen.push(Seen { at: now, estimate: forecast.left(at), longest });
        }
        now += step;
    }
    (seen, now)
}

/// Keeps records of all tasks with another seed. Their times differ by up to a quarter.
fn keep_records(plan: &Plan, store: &Store) {
    for task in plan.tasks() {
        let components = Components {
            encoding: 1,
            kind: task.kind.into(),
            version: task.version,
            params: task.bound.params(),
            inputs: Inputs::new(),
            numerics: "test".into(),
            seed: Some(100 + task.id().0 as u64),
        }
        .to_value();
        let lock = store.try_lock(&Key::of(&components)).unwrap().unwrap();
        let off = [0.8, 1.0, 1.25][task.id().0 % 3];
        let exec = Execution {
            pipeline: plan.name().into(),
            task: task.label.to_string(),
            seconds: work(task) * off,
            threads: 1,
            ..Execution::default()
        };
        let draft = RecordDraft { components, exec, metrics: metrics(task), ..RecordDraft::default() };
        store.commit(&lock, store.work(&lock).unwrap(), draft).unwrap();
    }
}

fn long_last(bench: &Bench) -> Plan {
    let path = bench.folder.path().join("m.yaml");
    fs::write(&path, LONG_LAST).unwrap();
    plan(Draft::load(&path, &[]).unwrap(), &stages::all(), &bench.backend).unwrap()
}

#[test]
fn with_records_the_estimate_is_right_from_the_start_and_never_rises() {
    let bench = Bench::new();
    let (plan, store) = (long_last(&bench), bench.store());
    keep_records(&plan, &store);
    for (jobs, threads) in [(1, 1), (1, 2), (2, 2), (3, 8)] {
        let (seen, total) = play(&plan, Forecast::new(&plan, &store, jobs, threads), jobs, threads);
        let mut lowest = f64::MAX;
        for Seen { at, estimate, longest } in &seen {
            let what = format!("-j {jobs}, {threads} threads, {at:.0} of {total:.0} s: {estimate:?}");
            let left = total - at;
            assert!(estimate.is_whole(), "{what}");
            assert!(estimate.seconds < 1.3 * left + 1.0 && estimate.seconds > left / 1.3 - 1.0, "{what}");
            assert!(estimate.seconds >= longest / 1.3 - 1.0, "{what}: a task takes {longest}");
            let end = at + estimate.seconds;
            assert!(end < 1.2 * lowest, "the end moved from {lowest} to {end}: {what}");
            lowest = lowest.min(end);
        }
    }
}

#[test]
fn without_records_the_estimate_says_at_least_until_it_knows() {
    let bench = Bench::new();
    let plan = long_last(&bench);
    for (jobs, threads) in [(1, 1), (2, 2)] {
        let (seen, total) = play(&plan, Forecast::without_history(&plan, jobs, threads), jobs, threads);
        assert!(
            !seen[2].estimate.is_whole() && seen[2].estimate.unknown["search"] == 6,
            "{:?}",
            seen[2].estimate
        );
        for Seen { at, estimate, longest } in &seen {
            let (what, left) = (format!("-j {jobs}, {at:.0} of {total:.0} s: {estimate:?}"), total - at);
            assert!(estimate.seconds < 2.0 * left + 1.0, "{what}");
            if estimate.is_whole() {
                assert!(estimate.seconds > left / 2.0 - 1.0, "{what}");
                assert!(estimate.seconds >= longest / 1.5 - 1.0, "{what}: a task takes {longest}");
            }
        }
        let whole = seen.iter().position(|seen| seen.estimate.is_whole()).unwrap();
        assert!(seen[whole..].iter().all(|seen| seen.estimate.is_whole()));
    }
}

#[test]
fn the_time_of_a_plan_is_known_from_records_of_other_parameters() {
    let bench = Bench::new();
    let (plan, store) = (long_last(&bench), bench.store());
    let nothing = || survey(&plan, &store, &mut |_, _| {}).unwrap();
    assert!(!Forecast::new(&plan, &store, 1, 1).of(&nothing()).says_something());
    keep_records(&plan, &store);
    let all = Forecast::new(&plan, &store, 1, 1).of(&nothing());
    let works: f64 = plan.tasks().map(work).sum();
    assert!(all.is_whole() && (all.seconds / works - 1.0).abs() < 0.3, "{all:?} of {works}");

    // Ten times the epochs of the training are ten times its work.
    let more = LONG_LAST.replace("{epochs: 4}", "{epochs: 40}");
    fs::write(bench.folder.path().join("m.yaml"), more).unwrap();
    let draft = Draft::load(&bench.folder.path().join("m.yaml"), &[]).unwrap();
    let more = crate::pipeline::plan(draft, &stages::all(), &bench.backend).unwrap();
    let survey = survey(&more, &store, &mut |_, _| {}).unwrap();
    let estimate = Forecast::new(&more, &store, 1, 1).of(&survey);
    let added = estimate.seconds - all.seconds;
    assert!(added > 9.0 * 30.0 * 0.7 && added < 9.0 * 30.0 * 1.3, "{added}");
}
