//! The run: one dispatcher owns its state and puts all events in one order; worker threads do the tasks.
//!
//! A task is ready when everything that it needs has a record. Ready tasks go in the order of the plan, at most
//! `jobs` at once and no more than fit the memory budget, each with its own threads. A task whose key another process
//! is computing is put back, and waited for only when nothing else is ready. A failed task takes those that need it
//! out of the run and nothing else, unless the run is to fail fast. What a run makes depends on none of this: only the
//! order and the time do.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Instant;

use super::budget::MemoryBudget;
use super::ending::{Ending, Run};
use super::error::{RunError, TaskError};
use super::events::Event;
use super::executor::{Ended, Executor, Job, Message};
use super::key::{self, Keyed};
use super::memory::PeakMemory;
use super::plan::Plan;
use super::survey::{State, survey};
use super::task::{Task, TaskId, TaskRef};
use crate::store::{Journal, Key, Record, Store};

/// How much of the machine a run may use. It changes no result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Tasks that may run at once; 0 counts as 1.
    pub jobs: usize,
    /// Threads that running tasks share; each gets at least one.
    pub threads: usize,
    /// Bytes of memory that running tasks may need together, by estimate; a task that needs more runs alone.
    pub memory: Option<u64>,
    /// Whether to start no other task after one has failed.
    pub fail_fast: bool,
}

/// Runs what the store does not have of a plan, and tells what happens through `on_event`, on this thread.
///
/// Once `stop` is set no task starts, running stages are left to checkpoint, and the run ends with them. A task's
/// failure is an [`Ending`], not an error of the run; see [`Run::complete`].
pub fn run(
    plan: &Plan,
    store: &Store,
    settings: &Settings,
    stop: &AtomicBool,
    on_event: &mut dyn FnMut(Event),
) -> Result<Run, RunError> {
    let started = Instant::now();
    let &Settings { jobs, threads, .. } = settings;
    on_event(Event::RunStarted { pipeline: plan.name().to_owned(), tasks: plan.len(), jobs, threads });
    let survey = survey(plan, store, on_event)?;
    let journal = store.journal(plan.name());
    let budget = settings.memory.map(|bytes| MemoryBudget::new(bytes, plan, store)).transpose()?;
    let mut dispatcher = Dispatcher::new(plan, settings, budget, journal, on_event);
    dispatcher.begin(survey.into_states());
    dispatcher.work_off(&Executor { plan, store, stop, memory: PeakMemory::default() });
    let stopped = stop.load(Ordering::Relaxed);
    Ok(dispatcher.finish(started, stopped))
}

/// The state of a run. Only the thread that called [`run`] touches it.
struct Dispatcher<'a> {
    plan: &'a Plan,
    jobs: usize,
    threads: usize,
    budget: Option<MemoryBudget>,
    fail_fast: bool,
    journal: Journal,
    on_event: &'a mut dyn FnMut(Event),
    any_failed: bool,
    /// By task; `None` while it can still end well.
    endings: Vec<Option<Ending>>,
    /// By task: how many of the tasks that it needs have no record yet.
    missing: Vec<usize>,
    /// With their key, where the survey found it.
    ready: BTreeMap<TaskId, Option<Keyed>>,
    /// Ready, but another process was computing the same key.
    put_back: BTreeSet<TaskId>,
    running: BTreeMap<TaskId, Running>,
}

/// A task that a worker has.
struct Running {
    /// Threads that it may use.
    threads: usize,
    /// Bytes of memory that it needs, by estimate; 0 without a budget.
    memory: u64,
    /// Its key, once it has come to that.
    key: Option<Key>,
}

impl<'a> Dispatcher<'a> {
    fn new(
        plan: &'a Plan,
        settings: &Settings,
        budget: Option<MemoryBudget>,
        journal: Journal,
        on_event: &'a mut dyn FnMut(Event),
    ) -> Self {
        Self {
            plan,
            jobs: settings.jobs.max(1),
            threads: settings.threads.max(1),
            budget,
            fail_fast: settings.fail_fast,
            journal,
            on_event,
            any_failed: false,
            endings: (0..plan.len()).map(|_| None).collect(),
            missing: vec![],
            ready: BTreeMap::new(),
            put_back: BTreeSet::new(),
            running: BTreeMap::new(),
        }
    }

    /// Takes over what the survey found.
    fn begin(&mut self, states: Vec<State>) {
        for (index, state) in states.into_iter().enumerate() {
            let id = TaskId(index);
            match state {
                State::Cached(record) => self.cached(id, record),
                State::ToRun(keyed) => drop(self.ready.insert(id, Some(keyed))),
                State::Failed(TaskError::Withheld) => self.withheld(id),
                State::Failed(error) => self.failed(id, None, error),
                State::Pending => {}
            }
        }
        let without_record =
            |task: &Task| self.plan.needs(task.id()).filter(|&need| self.record(need).is_none()).count();
        self.missing = self.plan.tasks().map(without_record).collect();
        self.journal.save();
    }

    /// Hands out jobs and takes in messages until nothing runs and nothing more may start.
    fn work_off(&mut self, executor: &Executor<'_>) {
        let (sender, messages) = mpsc::channel();
        thread::scope(|scope| {
            loop {
                while let Some(job) = self.next_job(executor.stop) {
                    let (id, sender) = (job.id, sender.clone());
                    let worker = thread::Builder::new().name(format!("task {}", id.0));
                    let spawned = worker.spawn_scoped(scope, move || executor.perform(job, &sender));
                    if let Err(error) = spawned {
                        self.ended(id, Err(TaskError::Threads(error.to_string())));
                    }
                }
                if self.running.is_empty() {
                    return;
                }
                match messages.recv() {
                    Ok(Message::Event(event)) => (self.on_event)(event),
                    Ok(Message::Started(id, key)) => self.started(id, key),
                    Ok(Message::Ended(id, result)) => self.ended(id, result),
                    Err(mpsc::RecvError) => return,
                }
            }
        });
    }

    fn next_job(&mut self, stop: &AtomicBool) -> Option<Job> {
        if self.is_to_end(stop) {
            return None;
        }
        let could_start = self.could_start();
        let id = *could_start.first()?;
        if self.put_back.contains(&id) && !self.ready.is_empty() {
            return None;
        }
        let inputs = key::inputs(self.plan.task(id), |need| self.record(need))?;
        let (threads, memory) = (self.share_of_threads(could_start.len()), self.memory(id));
        let patient = self.put_back.remove(&id);
        let keyed = self.ready.remove(&id).flatten();
        self.running.insert(id, Running { threads, memory, key: None });
        Some(Job { id, inputs, keyed, threads, patient })
    }

    /// The tasks that could start now, all of them at once; those last that another process was computing.
    fn could_start(&self) -> Vec<TaskId> {
        let budget = self.budget.as_ref().map_or(u64::MAX, MemoryBudget::bytes);
        let mut needed: u64 = self.running.values().map(|running| running.memory).sum();
        let fits = |id: &TaskId| {
            let with_it = needed.saturating_add(self.memory(*id));
            // Nothing else needs any: what is too large for the budget runs alone.
            let fits = needed == 0 || with_it <= budget;
            if fits {
                needed = with_it;
            }
            fits
        };
        let waiting = self.ready.keys().chain(&self.put_back).copied();
        waiting.filter(fits).take(self.jobs - self.running.len()).collect()
    }

    /// How much memory a task needs, by estimate; 0 without a budget, which makes everything fit.
    fn memory(&self, id: TaskId) -> u64 {
        let need = |budget: &MemoryBudget| budget.need(self.plan.task(id), |need| self.record(need));
        self.budget.as_ref().map_or(0, need)
    }

    /// Whether no task may start any more.
    fn is_to_end(&self, stop: &AtomicBool) -> bool {
        stop.load(Ordering::Relaxed) || (self.fail_fast && self.any_failed)
    }

    /// Divides the threads that no task has among the tasks that could start now: a task that is alone gets all.
    fn share_of_threads(&self, could_start: usize) -> usize {
        let free = self.threads.saturating_sub(self.running.values().map(|running| running.threads).sum());
        (free / could_start.max(1)).max(1)
    }

    fn started(&mut self, id: TaskId, key: Key) {
        let Some(running) = self.running.get_mut(&id) else { return };
        running.key = Some(key);
        let threads = running.threads;
        self.tell(Event::TaskStarted { task: self.label(id), key: key.to_string(), threads });
    }

    fn ended(&mut self, id: TaskId, result: Result<Ended, TaskError>) {
        let key = self.running.remove(&id).and_then(|running| running.key);
        match result {
            Ok(Ended::Cached(record)) => {
                self.cached(id, record);
                self.release_dependents(id);
            }
            Ok(Ended::Finished(record)) => {
                self.finished(id, record);
                self.release_dependents(id);
            }
            Ok(Ended::Busy) => drop(self.put_back.insert(id)),
            Ok(Ended::Stopped) => {
                self.endings[id.0] = Some(Ending::Unfinished);
                self.tell(Event::Stopped { task: self.label(id) });
            }
            Err(TaskError::Withheld) => self.withheld(id),
            Err(error) => self.failed(id, key, error),
        }
        self.journal.save();
    }

    fn cached(&mut self, id: TaskId, record: Arc<Record>) {
        self.tell(Event::Cached {
            task: self.label(id),
            key: record.key.to_string(),
            metrics: record.metrics.clone(),
            seconds: record.exec.seconds,
        });
        self.journal.done(&self.label(id).to_string(), record.key);
        self.warn_of_chance(id, &record);
        self.endings[id.0] = Some(Ending::Cached(record));
    }

    fn finished(&mut self, id: TaskId, record: Arc<Record>) {
        self.tell(Event::Finished {
            task: self.label(id),
            key: record.key.to_string(),
            metrics: record.metrics.clone(),
            seconds: record.exec.seconds,
        });
        self.journal.done(&self.label(id).to_string(), record.key);
        self.warn_of_chance(id, &record);
        self.endings[id.0] = Some(Ending::Finished(record));
    }

    /// Says so if the key of a record does not determine its outputs.
    fn warn_of_chance(&mut self, id: TaskId, record: &Record) {
        if record.nondeterministic {
            self.tell(Event::Nondeterministic { task: self.label(id), key: record.key.to_string() });
        }
    }

    /// Counts down what each dependent waits for; the last one makes it ready.
    fn release_dependents(&mut self, id: TaskId) {
        let plan = self.plan;
        for dependent in plan.dependents(id) {
            let missing = &mut self.missing[dependent.0];
            *missing -= 1;
            if *missing == 0 {
                self.ready.insert(dependent, None);
            }
        }
    }

    fn failed(&mut self, id: TaskId, key: Option<Key>, error: TaskError) {
        let (message, hint) = (error.to_string(), error.hint());
        self.any_failed = true;
        self.journal.failed(&self.label(id).to_string(), key, &error.with_hint());
        self.tell(Event::Failed {
            task: self.label(id),
            class: error.class(),
            message: message.clone(),
            hint,
        });
        self.endings[id.0] = Some(Ending::Failed(error));
        self.skip_dependents(id, &message);
    }

    fn withheld(&mut self, id: TaskId) {
        self.tell(Event::Withheld { task: self.label(id) });
        self.endings[id.0] = Some(Ending::Withheld);
        self.skip_dependents(id, &TaskError::Withheld.to_string());
    }

    /// Takes all that needs a task out of the run.
    fn skip_dependents(&mut self, id: TaskId, message: &str) {
        for skipped in self.plan.with_downstream(&BTreeSet::from([id])) {
            if self.endings[skipped.0].is_none() {
                self.endings[skipped.0] = Some(Ending::Skipped { ancestor: id });
                let (task, ancestor) = (self.label(skipped), self.label(id));
                self.tell(Event::Skipped { task, ancestor, message: message.to_owned() });
            }
        }
    }

    fn finish(self, started: Instant, stopped: bool) -> Run {
        let endings = self.endings.into_iter().map(|ending| ending.unwrap_or(Ending::Unfinished));
        let labels = self.plan.tasks().map(|task| task.label.clone());
        let run = Run::new(labels.zip(endings).collect(), stopped);
        let count = |of: fn(&Ending) -> bool| run.endings().filter(|ending| of(ending)).count();
        (self.on_event)(Event::RunFinished {
            ran: count(|ending| matches!(ending, Ending::Finished(_))),
            cached: count(|ending| matches!(ending, Ending::Cached(_))),
            failed: count(|ending| matches!(ending, Ending::Failed(_))),
            skipped: count(|ending| matches!(ending, Ending::Skipped { .. } | Ending::Withheld)),
            unfinished: count(|ending| matches!(ending, Ending::Unfinished)),
            seconds: started.elapsed().as_secs_f64(),
        });
        run
    }

    fn record(&self, id: TaskId) -> Option<&Record> {
        self.endings[id.0].as_ref().and_then(Ending::record)
    }

    fn label(&self, id: TaskId) -> TaskRef {
        self.plan.task(id).label.clone()
    }

    fn tell(&mut self, event: Event) {
        (self.on_event)(event);
    }
}
