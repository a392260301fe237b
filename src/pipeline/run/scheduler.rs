//! The scheduler: one dispatcher owns the state of a run and orders all events, and an executor computes the jobs.
//!
//! A task is ready when all tasks that it needs have records. Ready tasks start in the order of the plan: at most
//! `jobs` at once, within the memory budget, each with its own threads. If another process computes a task's key, the
//! task is put back, and the run waits for it only when nothing else is ready. If a task fails, only the tasks that
//! depend on it are skipped, unless the run fails fast. All this affects the order and the time of a run, never its
//! results.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Sender};
use std::thread;
use std::time::{Duration, Instant};

use super::budget::MemoryBudget;
use super::event::Event;
use super::executor::{Ended, Executor, Report};
use super::outcome::{Ending, Run};
use crate::pipeline::error::{RunError, TaskError};
use crate::pipeline::job::{JobSpec, Resources};
use crate::pipeline::plan::{Plan, Task, TaskId, TaskRef};
use crate::pipeline::state::{State, key, survey};
use crate::store::{Journal, Key, Record, Store, StoreError};

/// The limits of a run. They do not change its results.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The number of tasks that may run at once. 0 counts as 1.
    pub jobs: usize,
    /// The threads that running tasks share. Each task gets at least 1.
    pub threads: usize,
    /// The memory budget in bytes: the estimated total of the running tasks. A task that needs more runs alone.
    pub memory: Option<u64>,
    /// Whether a failure keeps all other tasks from starting.
    pub fail_fast: bool,
}

/// The longest time between two checks whether to stop the run.
const TICK: Duration = Duration::from_millis(100);

/// A message to the dispatcher. One loop on one thread handles all messages.
enum Message {
    /// An executor reports about a task.
    Report(TaskId, Report),
    /// A job has ended; the last message about it.
    Ended(TaskId, Result<Ended, TaskError>),
    /// The run must stop.
    Stop,
    /// No message arrived for a while.
    Tick,
}

/// Runs the tasks of a plan that are not cached, and passes events to `on_event` on this thread.
///
/// Once `stop` is set, no task starts. `executor` checks the same flag: running stages write checkpoints, and then the
/// run ends. The watch of `store` must stop it by the same flag. A task's failure is an [`Ending`], not an error of the run; see [`Run::complete`].
pub fn run(
    plan: &Plan,
    store: &Store,
    settings: &Settings,
    executor: &dyn Executor,
    stop: &AtomicBool,
    on_event: &mut dyn FnMut(Event),
) -> Result<Run, RunError> {
    let started = Instant::now();
    let &Settings { jobs, threads, .. } = settings;
    on_event(Event::RunStarted { pipeline: plan.name().to_owned(), tasks: plan.len(), jobs, threads });
    let surveyed = survey(plan, store, &mut |task, damage| on_event(Event::damaged(task, damage)));
    let states = match surveyed {
        // No task starts, because the same flag stops the run.
        Err(StoreError::Stopped) => plan.tasks().map(|_| State::Pending).collect(),
        surveyed => surveyed?.into_states(),
    };
    let journal = store.journal(plan.name());
    let budget = settings.memory.map(|bytes| MemoryBudget::new(bytes, plan, store)).transpose()?;
    let mut dispatcher = Dispatcher::new(plan, settings, budget, journal, on_event);
    dispatcher.begin(states);
    dispatcher.work_off(executor, stop);
    Ok(dispatcher.finish(started))
}

/// Computes a job on this thread and sends its reports, and how it ended as the last message.
fn do_job(executor: &dyn Executor, job: &JobSpec, sender: &Sender<Message>) {
    let id = job.label.id;
    // The receiver is gone only if the dispatcher has failed. Then the message has no use.
    let send = |message| drop(sender.send(message));
    let ended = executor.execute(job, &|report| send(Message::Report(id, report)));
    send(Message::Ended(id, ended));
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
    /// Whether the run was stopped.
    stopping: bool,
    /// By task. `None` until it has ended.
    endings: Vec<Option<Ending>>,
    /// By task: the number of needed tasks without a record.
    missing: Vec<usize>,
    /// Ready tasks, with their keys if the survey found them.
    ready: BTreeMap<TaskId, Option<Key>>,
    /// Ready tasks whose keys another process computes.
    put_back: BTreeSet<TaskId>,
    running: BTreeMap<TaskId, Running>,
}

/// A running task.
struct Running {
    /// Threads that it may use.
    threads: usize,
    /// The estimated bytes of memory that it needs. 0 without a budget.
    memory: u64,
    /// Its key, once it is known.
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
            stopping: false,
            endings: (0..plan.len()).map(|_| None).collect(),
            missing: vec![],
            ready: BTreeMap::new(),
            put_back: BTreeSet::new(),
            running: BTreeMap::new(),
        }
    }

    /// Applies the states that the survey found.
    fn begin(&mut self, states: Vec<State>) {
        for (index, state) in states.into_iter().enumerate() {
            let id = TaskId(index);
            match state {
                State::Cached(record) => self.succeeded(id, Ending::Cached(record)),
                State::ToRun(keyed) => drop(self.ready.insert(id, Some(keyed.key))),
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

    /// Starts jobs and handles messages until no task runs and none can start.
    fn work_off(&mut self, executor: &dyn Executor, stop: &AtomicBool) {
        let (sender, messages) = mpsc::channel();
        thread::scope(|scope| {
            loop {
                if stop.load(Ordering::Relaxed) && !self.stopping {
                    self.take(Message::Stop);
                }
                while let Some(job) = self.next_job() {
                    let (id, sender) = (job.label.id, sender.clone());
                    let worker = thread::Builder::new().name(format!("task {}", id.0));
                    let spawned = worker.spawn_scoped(scope, move || do_job(executor, &job, &sender));
                    if let Err(error) = spawned {
                        self.ended(id, Err(TaskError::Threads(error.to_string())));
                    }
                }
                if self.running.is_empty() {
                    return;
                }
                self.take(messages.recv_timeout(TICK).unwrap_or(Message::Tick));
            }
        });
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Report(_, Report::Event(event)) => self.report(event),
            Message::Report(id, Report::Started { started: key }) => self.started(id, key),
            Message::Ended(id, result) => self.ended(id, result),
            Message::Stop => self.stopping = true,
            // The loop checks the flag again.
            Message::Tick => {}
        }
    }

    fn next_job(&mut self) -> Option<JobSpec> {
        if self.stopping || (self.fail_fast && self.any_failed) {
            return None;
        }
        let could_start = self.could_start();
        let id = *could_start.first()?;
        if self.put_back.contains(&id) && !self.ready.is_empty() {
            return None;
        }
        let task = self.plan.task(id);
        let inputs = key::inputs(task, |need| self.record(need))?;
        let (threads, memory) = (self.share_of_threads(could_start.len()), self.memory(id));
        let patient = self.put_back.remove(&id);
        let key = self.ready.remove(&id).flatten();
        self.running.insert(id, Running { threads, memory, key: None });
        let resources = Resources { memory: (memory > 0).then_some(memory) };
        Some(JobSpec { key, patient, threads, resources, ..JobSpec::new(self.plan, task, inputs) })
    }

    /// The tasks that could start together now. Tasks that another process computes come last.
    fn could_start(&self) -> Vec<TaskId> {
        let budget = self.budget.as_ref().map_or(u64::MAX, MemoryBudget::bytes);
        let mut needed: u64 = self.running.values().map(|running| running.memory).sum();
        let fits = |id: &TaskId| {
            let with_it = needed.saturating_add(self.memory(*id));
            // No other task runs, so a task that is larger than the budget may run alone.
            let fits = needed == 0 || with_it <= budget;
            if fits {
                needed = with_it;
            }
            fits
        };
        let waiting = self.ready.keys().chain(&self.put_back).copied();
        waiting.filter(fits).take(self.jobs - self.running.len()).collect()
    }

    /// The estimated memory of a task. 0 without a budget, so that every task fits.
    fn memory(&self, id: TaskId) -> u64 {
        let need = |budget: &MemoryBudget| budget.need(self.plan.task(id), |need| self.record(need));
        self.budget.as_ref().map_or(0, need)
    }

    /// Divides the free threads among the tasks that could start now. A single task gets all of them.
    fn share_of_threads(&self, could_start: usize) -> usize {
        let free = self.threads.saturating_sub(self.running.values().map(|running| running.threads).sum());
        (free / could_start.max(1)).max(1)
    }

    fn started(&mut self, id: TaskId, key: Key) {
        let Some(running) = self.running.get_mut(&id) else { return };
        running.key = Some(key);
        let threads = running.threads;
        self.report(Event::TaskStarted { task: self.label(id), key: key.to_string(), threads });
    }

    fn ended(&mut self, id: TaskId, result: Result<Ended, TaskError>) {
        let key = self.running.remove(&id).and_then(|running| running.key);
        match result {
            Ok(Ended::Cached(record)) => {
                self.succeeded(id, Ending::Cached(record));
                self.release_dependents(id);
            }
            Ok(Ended::Finished(record)) => {
                self.succeeded(id, Ending::Finished(record));
                self.release_dependents(id);
            }
            Ok(Ended::Busy) => drop(self.put_back.insert(id)),
            Ok(Ended::Stopped) => {
                self.endings[id.0] = Some(Ending::Unfinished);
                self.report(Event::Stopped { task: self.label(id) });
            }
            Err(TaskError::Withheld) => self.withheld(id),
            Err(error) => self.failed(id, key, error),
        }
        self.journal.save();
    }

    /// Ends a task that has a record.
    fn succeeded(&mut self, id: TaskId, ending: Ending) {
        if let Some(record) = ending.record() {
            let (task, key) = (self.label(id), record.key.to_string());
            let (metrics, seconds) = (record.metrics.clone(), record.exec.seconds);
            let warnings = record.exec.warnings.clone();
            self.journal.done(&task.to_string(), record.key);
            (self.on_event)(match ending {
                Ending::Finished(_) => Event::Finished { task, key, metrics, seconds },
                _ => Event::Cached { task, key, metrics, seconds, warnings },
            });
            self.report_if_nondeterministic(id, record);
        }
        self.endings[id.0] = Some(ending);
    }

    /// Reports a non-deterministic record.
    fn report_if_nondeterministic(&mut self, id: TaskId, record: &Record) {
        if record.nondeterministic {
            self.report(Event::Nondeterministic { task: self.label(id), key: record.key.to_string() });
        }
    }

    /// Counts down the missing inputs of each dependent task. At 0 the task is ready.
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
        self.report(Event::Failed {
            task: self.label(id),
            class: error.class(),
            message: message.clone(),
            hint,
        });
        self.endings[id.0] = Some(Ending::Failed(error));
        self.skip_dependents(id, &message);
    }

    fn withheld(&mut self, id: TaskId) {
        self.report(Event::Withheld { task: self.label(id) });
        self.endings[id.0] = Some(Ending::Withheld);
        self.skip_dependents(id, &TaskError::Withheld.to_string());
    }

    /// Skips all tasks that depend on a task.
    fn skip_dependents(&mut self, id: TaskId, message: &str) {
        for skipped in self.plan.with_downstream(&BTreeSet::from([id])) {
            if self.endings[skipped.0].is_none() {
                self.endings[skipped.0] = Some(Ending::Skipped { ancestor: id });
                let (task, ancestor) = (self.label(skipped), self.label(id));
                self.report(Event::Skipped { task, ancestor, message: message.to_owned() });
            }
        }
    }

    fn finish(self, started: Instant) -> Run {
        let endings = self.endings.into_iter().map(|ending| ending.unwrap_or(Ending::Unfinished));
        let labels = self.plan.tasks().map(|task| task.label.clone());
        let run = Run::new(labels.zip(endings).collect(), self.stopping);
        let count = |of: fn(&Ending) -> bool| run.endings().filter(|ending| of(ending)).count();
        (self.on_event)(Event::RunFinished {
            ran: count(|ending| matches!(ending, Ending::Finished(_))),
            cached: count(|ending| matches!(ending, Ending::Cached(_))),
            failed: count(|ending| matches!(ending, Ending::Failed(_))),
            skipped: count(|ending| matches!(ending, Ending::Skipped { .. } | Ending::Withheld)),
            unfinished: count(|ending| matches!(ending, Ending::Unfinished)),
            warnings: run.endings().filter_map(Ending::record).map(|record| record.exec.warnings.len()).sum(),
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

    fn report(&mut self, event: Event) {
        (self.on_event)(event);
    }
}
