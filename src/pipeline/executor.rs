//! What a worker thread does with one task: key, look up, lock, look up again, run, commit.
//!
//! An executor owns nothing that outlives its task. It tells the dispatcher everything by message and never
//! touches the state of the run.

use std::any::Any;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::error::TaskError;
use super::events::Event;
use super::key::{self, Inputs, Keyed};
use super::memory::PeakMemory;
use super::plan::Plan;
use super::survey;
use super::task::{Policy, Task, TaskId, TaskRef};
use super::task_log::TaskLog;
use crate::stages::{Context, Observer, Outcome, Progress, StageError};
use crate::store::{self, Digest, DraftOutput, Execution, Key, KeyLock, Record, RecordDraft, Store};

/// The least time between two [`Event::Progress`] of a task within an epoch.
const PROGRESS_PERIOD: Duration = Duration::from_millis(100);

/// A task that is to be done now.
#[derive(Debug)]
pub(super) struct Job {
    pub id: TaskId,
    /// What its inputs hold.
    pub inputs: Inputs,
    /// Its key, if that is known already and the store does not have it.
    pub keyed: Option<Keyed>,
    /// Threads that it may use.
    pub threads: usize,
    /// Whether to wait when another process computes the same key.
    pub patient: bool,
}

/// What an executor tells the dispatcher.
#[derive(Debug)]
pub(super) enum Message {
    Event(Event),
    /// It runs now, under this key.
    Started(TaskId, Key),
    Ended(TaskId, Result<Ended, TaskError>),
}

/// How a job ended, unless it failed.
#[derive(Debug)]
pub(super) enum Ended {
    /// The store had it after all.
    Cached(Arc<Record>),
    /// It ran and was committed.
    Finished(Arc<Record>),
    /// Another process computes it, and the job did not wait, or not any longer.
    Busy,
    /// It ran and was asked to stop.
    Stopped,
}

/// Does jobs; one is shared by all worker threads.
pub(super) struct Executor<'a> {
    pub plan: &'a Plan,
    pub store: &'a Store,
    pub stop: &'a AtomicBool,
    pub memory: PeakMemory,
}

impl Executor<'_> {
    /// Does a job, and sends how it ended as the last message about it, whatever happens.
    pub fn perform(&self, job: Job, sender: &Sender<Message>) {
        let (id, task) = (job.id, self.plan.task(job.id));
        let attempt = Attempt { executor: self, task, job, sender };
        let result = catch_unwind(AssertUnwindSafe(|| attempt.run()))
            .unwrap_or_else(|panic| Err(panicked(task, &*panic)));
        // The dispatcher is gone only if it has itself failed; nobody is left to tell.
        let _ = sender.send(Message::Ended(id, result));
    }
}

/// One job on its way.
struct Attempt<'a> {
    executor: &'a Executor<'a>,
    task: &'a Task,
    job: Job,
    sender: &'a Sender<Message>,
}

impl Attempt<'_> {
    fn run(&self) -> Result<Ended, TaskError> {
        let keyed = match &self.job.keyed {
            Some(keyed) => keyed.clone(),
            None => {
                let keyed = key::keyed(self.executor.plan, self.task, &self.job.inputs, self.executor.store)?;
                if let Some(record) = self.find(&keyed.key)? {
                    return Ok(Ended::Cached(record));
                }
                if self.task.policy == Policy::Never {
                    return Err(TaskError::Withheld);
                }
                keyed
            }
        };
        let Some(lock) = self.lock(&keyed.key)? else { return Ok(Ended::Busy) };
        // Whoever held the lock before may have committed.
        if let Some(record) = self.find(&keyed.key)? {
            return Ok(Ended::Cached(record));
        }
        self.compute(keyed, &lock)
    }

    /// Looks up what the task makes; finds nothing if it is to run in any case.
    fn find(&self, key: &Key) -> Result<Option<Arc<Record>>, TaskError> {
        if self.task.policy == Policy::Always {
            return Ok(None);
        }
        let mut damaged = |what| self.tell(Event::Damaged { task: self.task.label.clone(), what });
        Ok(survey::find(self.executor.store, self.task, key, &mut damaged)?)
    }

    fn lock(&self, key: &Key) -> Result<Option<KeyLock>, TaskError> {
        let mut told = false;
        let lock = self.executor.store.lock(key, &mut |holder| {
            if !self.job.patient || self.executor.stop.load(Ordering::Relaxed) {
                return ControlFlow::Break(());
            }
            if !told {
                self.tell(Event::WaitingForLock {
                    task: self.task.label.clone(),
                    holder: holder.to_string(),
                });
                told = true;
            }
            ControlFlow::Continue(())
        })?;
        Ok(lock)
    }

    /// Runs the stage and commits what it made. The log tells how it ended, whatever that is.
    fn compute(&self, keyed: Keyed, lock: &KeyLock) -> Result<Ended, TaskError> {
        let (task, threads) = (self.task, self.job.threads);
        self.send(Message::Started(task.id(), keyed.key));
        let log = TaskLog::open(&self.executor.store.log(&keyed.key), &task.label, threads);
        self.executor.memory.start(task.id());
        let ended = catch_unwind(AssertUnwindSafe(|| self.run_stage(keyed, lock, &log)))
            .unwrap_or_else(|panic| Err(panicked(task, &*panic)));
        self.executor.memory.stop(task.id());
        match &ended {
            Ok(Ended::Stopped) => log.line("stopped; the next attempt goes on from the checkpoint"),
            Ok(_) => log.line("finished"),
            Err(error) => log.line(&format!("failed: {error}")),
        }
        ended
    }

    fn run_stage(&self, keyed: Keyed, lock: &KeyLock, log: &TaskLog) -> Result<Ended, TaskError> {
        let (task, store, threads) = (self.task, self.executor.store, self.job.threads);
        let clock = Clock::start();
        let work = store.work(lock)?;
        let partial = store.partial(&keyed.key)?;
        let observer = Reporter::new(task.label.clone(), self.sender.clone(), log);
        let input = |(name, digest): (&String, &Digest)| (name.clone(), store.object(digest));
        let mut context = Context {
            seed: task.seed.unwrap_or_default(),
            inputs: self.job.inputs.iter().map(input).collect(),
            work: work.path(),
            partial: &partial,
            backend: self.executor.plan.backend(),
            observer: &observer,
            stop: self.executor.stop,
        };
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        let pool = pool.map_err(|error| TaskError::Threads(error.to_string()))?;
        let outcome = match pool.install(|| task.bound.run(&mut context)) {
            Err(StageError::Stopped) => return Ok(Ended::Stopped),
            Err(StageError::InputMissing { path, hint }) => return Err(task.lacks(path, hint)),
            other => other?,
        };
        let draft = RecordDraft {
            components: keyed.components,
            outputs: outputs(task, &self.job.inputs, &outcome)?,
            metrics: outcome.metrics,
            exec: Execution {
                pipeline: self.executor.plan.name().to_owned(),
                task: task.label.to_string(),
                peak_bytes: self.executor.memory.stop(task.id()),
                ..clock.stop(threads)
            },
        };
        Ok(Ended::Finished(Arc::new(store.commit(lock, work, draft)?)))
    }

    fn tell(&self, event: Event) {
        self.send(Message::Event(event));
    }

    fn send(&self, message: Message) {
        // See `perform`.
        let _ = self.sender.send(message);
    }
}

/// Where each output of a kind comes from: the work folder, unless the stage says that it is one of its inputs.
fn outputs(task: &Task, inputs: &Inputs, outcome: &Outcome) -> Result<Vec<DraftOutput>, TaskError> {
    let bug = |what| TaskError::Bug { kind: task.kind, what };
    for (name, _) in &outcome.passed_on {
        if !task.outputs.iter().any(|output| output.name == *name) {
            return Err(bug(format!("it passed on an output `{name}` that it does not declare")));
        }
    }
    let outputs = task.outputs.iter().map(|output| {
        let port = output.name.to_owned();
        match outcome.passed_on.iter().find(|(name, _)| *name == output.name) {
            None => Ok(DraftOutput::Written(port)),
            Some((_, input)) => {
                let digest = inputs.get(*input).copied();
                let digest =
                    digest.ok_or_else(|| bug(format!("it passed on `{input}`, which is no input of it")))?;
                Ok(DraftOutput::PassedOn { port, digest })
            }
        }
    });
    outputs.collect()
}

fn panicked(task: &Task, panic: &(dyn Any + Send)) -> TaskError {
    TaskError::Bug { kind: task.kind, what: format!("it panicked: {}", panic_message(panic)) }
}

/// What a panic said.
fn panic_message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}

/// Times an execution, for its record.
struct Clock {
    started: SystemTime,
    running: Instant,
}

impl Clock {
    fn start() -> Self {
        Self { started: SystemTime::now(), running: Instant::now() }
    }

    fn stop(self, threads: usize) -> Execution {
        Execution {
            host: store::host(),
            started: self.started.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs(),
            seconds: self.running.elapsed().as_secs_f64(),
            threads,
            argd_version: env!("CARGO_PKG_VERSION").to_owned(),
            ..Execution::default()
        }
    }
}

/// Turns what a stage reports into events and lines of its log, no more often than anyone can read them.
struct Reporter<'a> {
    task: TaskRef,
    sender: Sender<Message>,
    log: &'a TaskLog,
    /// When progress was last told, and of which epoch.
    last: Mutex<Option<(Instant, usize)>>,
}

impl<'a> Reporter<'a> {
    fn new(task: TaskRef, sender: Sender<Message>, log: &'a TaskLog) -> Self {
        Self { task, sender, log, last: Mutex::new(None) }
    }

    /// Whether progress in `epoch` is worth telling at `now`; if so, that is remembered.
    fn is_due(&self, epoch: usize, now: Instant) -> bool {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let due = last.is_none_or(|(told, of)| of != epoch || now.duration_since(told) >= PROGRESS_PERIOD);
        if due {
            *last = Some((now, epoch));
        }
        due
    }
}

impl Observer for Reporter<'_> {
    fn progress(&self, progress: &Progress) {
        self.log.progress(progress);
        if self.is_due(progress.epoch, Instant::now()) {
            let event = Event::Progress { task: self.task.clone(), progress: progress.clone() };
            let _ = self.sender.send(Message::Event(event));
        }
    }

    fn note(&self, line: &str) {
        self.log.line(line);
        let _ =
            self.sender.send(Message::Event(Event::Note { task: self.task.clone(), line: line.to_owned() }));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::pipeline::Label;

    #[test]
    fn progress_is_told_ten_times_a_second_and_at_every_epoch() {
        let task = TaskRef::from(Label { id: TaskId(0), stage: "trained".into(), axes: vec![] });
        let folder = tempfile::tempdir().unwrap();
        let log = TaskLog::open(&folder.path().join("log"), &task, 1);
        let reporter = Reporter::new(task, mpsc::channel().0, &log);
        let start = Instant::now();
        let at = |epoch, milliseconds| reporter.is_due(epoch, start + Duration::from_millis(milliseconds));
        assert!(at(0, 0));
        assert!(!at(0, 99));
        assert!(at(0, 100));
        assert!(at(1, 101));
        assert!(!at(1, 150));
        assert!(at(1, 201));
    }

    #[test]
    fn a_panic_keeps_its_message() {
        for (panic, message) in [
            (catch_unwind(|| panic!("plain")), "plain"),
            (catch_unwind(|| panic!("with {}", 1)), "with 1"),
            (catch_unwind(|| std::panic::panic_any(1)), "no message"),
        ] {
            assert_eq!(panic_message(&*panic.unwrap_err()), message);
        }
    }
}
