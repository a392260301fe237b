//! Estimates how long tasks and runs take: for `plan` before a run, and during a run from its events.
//!
//! What is known about a task comes from [`History`], the records of tasks like it, and from its own progress while it
//! runs. The [`schedule`] then plays the rest of the run. Estimates never decide anything.

mod history;
mod running;
mod schedule;

use std::collections::BTreeMap;
use std::time::Instant;

use serde_json::{Map, Value};

use super::plan::{Plan, TaskId};
use super::run::Event;
use super::state::{State, Survey};
use crate::store::Store;
use history::{History, Likeness, images};
use running::Running;
use schedule::{Load, finish};

/// The port of the images that a stage works on.
const DATASET: &str = "dataset";

/// Estimates the time of a plan's tasks.
pub struct Forecast<'a> {
    /// `None` for one task alone.
    plan: Option<&'a Plan>,
    jobs: usize,
    threads: usize,
    /// Read when the first task starts: a run of cached tasks needs no estimate.
    store: Option<&'a Store>,
    history: History,
    tasks: Vec<Known>,
    /// How many tasks have a result. Each may change what is known about others.
    results: usize,
}

/// What is known about a task.
#[derive(Default)]
struct Known {
    standing: Standing,
    /// The training images of its data set, or those that it used.
    images: Option<f64>,
    /// What its time depends on. Set when it is first needed.
    likeness: Option<Likeness>,
    /// The estimate of its work in thread-seconds, and how many tasks had a result then.
    work: Option<(Option<f64>, usize)>,
}

/// How far a task is.
#[derive(Default)]
enum Standing {
    /// It has not started.
    #[default]
    Waiting,
    Running(Running),
    /// It has a result, or it will not run.
    Ended,
}

/// How long the rest of a plan takes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Estimate {
    /// Seconds of the tasks with an estimate.
    pub seconds: f64,
    /// By stage: the number of tasks without an estimate.
    pub unknown: BTreeMap<String, usize>,
}

impl Estimate {
    /// Whether anything is known.
    pub fn says_something(&self) -> bool {
        self.seconds > 0.0
    }

    /// Whether every task has an estimate. Otherwise the rest takes longer.
    pub fn is_whole(&self) -> bool {
        self.unknown.is_empty()
    }
}

impl<'a> Forecast<'a> {
    /// Knows nothing yet about a run of `plan`, with at most `jobs` tasks at once on `threads` threads.
    pub fn new(plan: &'a Plan, store: &'a Store, jobs: usize, threads: usize) -> Self {
        Self { store: Some(store), ..Self::without_history(plan, jobs, threads) }
    }

    /// Same as [`Self::new`], without the records of earlier runs.
    pub(super) fn without_history(plan: &'a Plan, jobs: usize, threads: usize) -> Self {
        let tasks = (0..plan.len()).map(|_| Known::default()).collect();
        let (jobs, threads) = (jobs.max(1), threads.max(1));
        let plan = Some(plan);
        Self { plan, jobs, threads, store: None, history: History::default(), tasks, results: 0 }
    }

    /// Knows one task, which is in no plan. It has the id 0, and takes `work` thread-seconds if that is known.
    pub fn alone(work: Option<f64>) -> Self {
        let task = Known { work: Some((work, 0)), ..Known::default() };
        let (jobs, threads, history) = (1, 1, History::default());
        Self { plan: None, jobs, threads, store: None, history, tasks: vec![task], results: 0 }
    }

    /// How long a run takes from the states that a survey found.
    pub fn of(mut self, survey: &Survey) -> Estimate {
        let plan = self.plan;
        for task in plan.into_iter().flat_map(Plan::tasks) {
            match survey.state(task.id()) {
                State::Cached(record) => self.has_result(task.id(), &record.metrics),
                State::Failed(_) => self.ends_with_dependents(task.id()),
                State::ToRun(_) | State::Pending => {}
            }
        }
        let all_ended = self.tasks.iter().all(|task| matches!(task.standing, Standing::Ended));
        if all_ended {
            return Estimate::default();
        }
        self.read_history();
        self.left(Instant::now())
    }

    /// Learns from an event of the run.
    pub fn observe(&mut self, event: &Event, now: Instant) {
        match event {
            Event::TaskStarted { task, threads, .. } => {
                self.read_history();
                self.set(task.id, Standing::Running(Running::new(*threads, now)));
            }
            Event::Progress { task, progress } => {
                if let Some(Known { standing: Standing::Running(running), .. }) =
                    self.tasks.get_mut(task.id.0)
                {
                    running.observe(progress, now);
                }
            }
            Event::Cached { task, metrics, .. } => self.has_result(task.id, metrics),
            Event::Finished { task, metrics, seconds, .. } => self.finished(task.id, metrics, *seconds),
            Event::Failed { task, .. }
            | Event::Withheld { task }
            | Event::Skipped { task, .. }
            | Event::Stopped { task } => self.set(task.id, Standing::Ended),
            Event::RunStarted { .. }
            | Event::RunFinished { .. }
            | Event::Note { .. }
            | Event::Warning { .. }
            | Event::WaitingForLock { .. }
            | Event::Damaged { .. }
            | Event::Nondeterministic { .. } => {}
        }
    }

    /// The fraction of its work that a running task has done.
    pub fn fraction(&self, id: TaskId) -> f64 {
        match self.tasks.get(id.0) {
            Some(Known { standing: Standing::Running(running), .. }) => running.fraction(),
            _ => 0.0,
        }
    }

    /// How long a running task still takes.
    pub fn seconds_left(&mut self, id: TaskId, now: Instant) -> Option<f64> {
        let work = self.work(id);
        match &self.tasks.get(id.0)?.standing {
            Standing::Running(running) => running.left(work, now).map(|left| left.seconds),
            Standing::Waiting | Standing::Ended => None,
        }
    }

    /// How long the rest of the run takes.
    pub fn left(&mut self, now: Instant) -> Estimate {
        let Some(plan) = self.plan else { return Estimate::default() };
        let mut unknown = BTreeMap::new();
        let mut count = |id: TaskId| {
            *unknown.entry(plan.task(id).label.stage.clone()).or_insert(0) += 1;
        };
        let mut loads = Vec::with_capacity(self.tasks.len());
        for id in (0..self.tasks.len()).map(TaskId) {
            let work = match self.tasks[id.0].standing {
                Standing::Ended => None,
                Standing::Waiting | Standing::Running(_) => self.work(id),
            };
            loads.push(match &self.tasks[id.0].standing {
                Standing::Ended => Load::None,
                Standing::Waiting => {
                    if work.is_none() {
                        count(id);
                    }
                    Load::Waiting { work: work.unwrap_or(0.0) }
                }
                Standing::Running(running) => {
                    let left = running.left(work, now);
                    if left.is_none_or(|left| left.at_least) {
                        count(id);
                    }
                    Load::Running { seconds: left.map_or(0.0, |left| left.seconds), threads: running.threads }
                }
            });
        }
        Estimate { seconds: finish(plan, self.jobs, self.threads, &loads), unknown }
    }

    /// Reads the records, once.
    fn read_history(&mut self) {
        let Some(store) = self.store.take() else { return };
        match History::of(store) {
            Ok(history) => self.history = history,
            // An estimate is not worth an error.
            Err(error) => tracing::debug!("no estimates from records: {error}"),
        }
    }

    fn set(&mut self, id: TaskId, standing: Standing) {
        if let Some(task) = self.tasks.get_mut(id.0) {
            task.standing = standing;
        }
    }

    fn has_result(&mut self, id: TaskId, metrics: &Map<String, Value>) {
        self.set(id, Standing::Ended);
        self.results += 1;
        if let Some(task) = self.tasks.get_mut(id.0) {
            task.images = images(metrics);
        }
    }

    fn finished(&mut self, id: TaskId, metrics: &Map<String, Value>, seconds: f64) {
        if let Some(Known { standing: Standing::Running(running), .. }) = self.tasks.get(id.0)
            && let work = seconds * running.threads as f64
            && let Some(likeness) = self.likeness(id)
        {
            self.history.add(likeness, work);
        }
        self.has_result(id, metrics);
    }

    /// A task that cannot run, and those that need it.
    fn ends_with_dependents(&mut self, id: TaskId) {
        let ended = self.plan.map(|plan| plan.with_downstream(&[id].into()));
        ended.into_iter().flatten().for_each(|id| self.set(id, Standing::Ended));
    }

    /// The estimated work of a task in thread-seconds.
    fn work(&mut self, id: TaskId) -> Option<f64> {
        match self.tasks.get(id.0)?.work {
            Some((work, results)) if results == self.results => work,
            _ => {
                let likeness = self.likeness(id)?;
                let work = self.history.work(&likeness);
                self.tasks[id.0].work = Some((work, self.results));
                work
            }
        }
    }

    /// What the time of a task depends on. The number of images may become known later.
    fn likeness(&mut self, id: TaskId) -> Option<Likeness> {
        let plan = self.plan?;
        let task = plan.task(id);
        let known = self.tasks[id.0].likeness.take();
        let mut likeness = known.unwrap_or_else(|| Likeness::of_task(plan, task));
        if likeness.images.is_none() {
            let producer = task.inputs.iter().find(|connection| connection.port == DATASET);
            likeness.images = producer.and_then(|producer| self.images(producer.producer));
        }
        self.tasks[id.0].likeness = Some(likeness.clone());
        Some(likeness)
    }

    /// The training images of the data set that a task makes: as it has found, or as a task like it found.
    fn images(&mut self, id: TaskId) -> Option<f64> {
        match self.tasks[id.0].images {
            Some(images) => Some(images),
            None => self.likeness(id).and_then(|likeness| self.history.images(&likeness)),
        }
    }
}
