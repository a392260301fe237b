//! Computes jobs in threads of this process: key, look up, lock, look up again, perform, commit.

use std::any::Any;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::{Ended, Executor, OnReport, Report};
use crate::nn::Backend;
use crate::pipeline::error::TaskError;
use crate::pipeline::job::{BoundJob, JobSpec, Made, Site, perform};
use crate::pipeline::plan::{Policy, TaskRef};
use crate::pipeline::run::clock::Clock;
use crate::pipeline::run::event::Event;
use crate::pipeline::run::memory::PeakMemory;
use crate::pipeline::run::task_log::TaskLog;
use crate::pipeline::state::key::Subject;
use crate::pipeline::state::{Keyed, survey};
use crate::stages::{Observer, Progress, Stage, StageError};
use crate::store::{Damage, Execution, Key, KeyLock, Record, RecordDraft, Source, Store, StoreError};

/// The least time between two [`Event::Progress`] of a task within an epoch.
const PROGRESS_PERIOD: Duration = Duration::from_millis(100);

/// Computes jobs in the calling threads.
pub struct Local<'a> {
    kinds: &'a [Box<dyn Stage>],
    backend: &'a Backend,
    store: &'a Store,
    stop: &'a AtomicBool,
    memory: PeakMemory,
}

impl<'a> Local<'a> {
    /// Makes an executor for these stage kinds. `backend` computes their networks. Once `stop` is set, running stages
    /// write checkpoints and stop.
    pub fn new(
        kinds: &'a [Box<dyn Stage>],
        backend: &'a Backend,
        store: &'a Store,
        stop: &'a AtomicBool,
    ) -> Self {
        Self { kinds, backend, store, stop, memory: PeakMemory::default() }
    }
}

impl Executor for Local<'_> {
    fn execute(&self, job: &JobSpec, report: &OnReport<'_>) -> Result<Ended, TaskError> {
        let attempt = || {
            Attempt { local: self, job, bound: &job.bind(self.kinds, self.backend.numerics())?, report }.run()
        };
        match catch_unwind(AssertUnwindSafe(attempt)).unwrap_or_else(|panic| Err(panicked(job, &*panic))) {
            Err(TaskError::Store(StoreError::Stopped)) => Ok(Ended::Stopped),
            ended => ended,
        }
    }
}

/// One job in progress.
struct Attempt<'a> {
    local: &'a Local<'a>,
    job: &'a JobSpec,
    bound: &'a BoundJob,
    report: &'a OnReport<'a>,
}

impl Attempt<'_> {
    fn run(&self) -> Result<Ended, TaskError> {
        // The survey may be hours old.
        let sources = self.subject().sources(self.local.store)?;
        let keyed = Keyed::from(self.subject().components(&self.job.inputs, &sources));
        if self.job.key != Some(keyed.key) {
            if let Some(record) = self.find(&keyed.key)? {
                return Ok(Ended::Cached(record));
            }
            if self.job.policy == Policy::Never {
                return Err(TaskError::Withheld);
            }
        }
        let Some(lock) = self.lock(&keyed.key)? else { return Ok(Ended::Busy) };
        // The previous holder of the lock may have committed.
        if let Some(record) = self.find(&keyed.key)? {
            return Ok(Ended::Cached(record));
        }
        self.compute(keyed, &sources, &lock)
    }

    fn subject(&self) -> Subject<'_> {
        let JobSpec { label, kind, version, seed, numerics, .. } = self.job;
        let (stage, bound) = (&label.stage, &*self.bound.bound);
        Subject { stage, kind, version: *version, bound, seed: *seed, numerics }
    }

    /// Looks up the task's outputs. Finds nothing if the task is forced to run.
    fn find(&self, key: &Key) -> Result<Option<Arc<Record>>, TaskError> {
        if self.job.policy == Policy::Always {
            return Ok(None);
        }
        let mut damaged = |what: &Damage| {
            self.event(Event::Damaged { task: self.job.label.clone(), what: what.to_string() });
        };
        Ok(survey::find(self.local.store, &self.bound.outputs, key, &mut damaged)?)
    }

    fn lock(&self, key: &Key) -> Result<Option<KeyLock>, TaskError> {
        let mut reported = false;
        let lock = self.local.store.lock(key, &mut |holder| {
            if !self.job.patient || self.local.stop.load(Ordering::Relaxed) {
                return ControlFlow::Break(());
            }
            if !reported {
                let (task, holder) = (self.job.label.clone(), holder.to_string());
                self.event(Event::WaitingForLock { task, holder });
                reported = true;
            }
            ControlFlow::Continue(())
        })?;
        Ok(lock)
    }

    /// Runs the stage and commits its outputs. The log records how it ended.
    fn compute(&self, keyed: Keyed, sources: &[Source], lock: &KeyLock) -> Result<Ended, TaskError> {
        let (task, threads, memory) = (&self.job.label, self.job.threads, &self.local.memory);
        (self.report)(Report::Started { started: keyed.key });
        let file = match self.local.store.append_log(lock) {
            // Somebody planted a link, which no task may write through.
            Err(error) if error.unfit() => return Err(error.into()),
            opened => opened,
        };
        let log = TaskLog::open(file, task, threads);
        memory.start(task.id);
        let ended = catch_unwind(AssertUnwindSafe(|| self.run_stage(keyed, sources, lock, &log)))
            .unwrap_or_else(|panic| Err(panicked(self.job, &*panic)));
        memory.stop(task.id);
        match &ended {
            Ok(Ended::Stopped) | Err(TaskError::Store(StoreError::Stopped)) => {
                log.line("stopped; the next attempt resumes from the checkpoint")
            }
            Ok(_) => log.line("finished"),
            Err(error) => log.line(&format!("failed: {}", error.with_hint())),
        }
        ended
    }

    /// `sources` are the outside files as they were when their digests entered the key.
    fn run_stage(
        &self,
        keyed: Keyed,
        sources: &[Source],
        lock: &KeyLock,
        log: &TaskLog,
    ) -> Result<Ended, TaskError> {
        let (job, store) = (self.job, self.local.store);
        let work = store.work(lock)?;
        let partial = store.partial(&keyed.key)?;
        let clock = Clock::start(&partial);
        let observer = Reporter::new(job.label.clone(), self.report, log, &clock);
        let &Local { backend, stop, .. } = self.local;
        let site = Site { store, work: work.path(), partial: &partial, backend, stop };
        let made = perform(job, self.bound, site, &observer).inspect_err(|_| clock.keep());
        let Made { outputs, metrics } = match made {
            Err(TaskError::Stage(StageError::Stopped)) => return Ok(Ended::Stopped),
            other => other?,
        };
        self.subject().check_unchanged(sources, store)?;
        let exec = Execution {
            pipeline: job.pipeline.clone(),
            task: job.label.to_string(),
            peak_bytes: self.local.memory.stop(job.label.id),
            warnings: observer.into_warnings(),
            ..clock.stop(job.threads)
        };
        let draft = RecordDraft { components: keyed.components.to_value(), outputs, metrics, exec };
        Ok(Ended::Finished(Arc::new(store.commit(lock, work, draft)?)))
    }

    fn event(&self, event: Event) {
        (self.report)(Report::Event(event));
    }
}

fn panicked(job: &JobSpec, panic: &(dyn Any + Send)) -> TaskError {
    TaskError::Bug { kind: job.kind.clone(), what: format!("it panicked: {}", panic_message(panic)) }
}

/// The message of a panic.
fn panic_message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}

/// Turns a stage's reports into events and log lines, at a rate that people can read.
struct Reporter<'a> {
    task: TaskRef,
    report: &'a OnReport<'a>,
    log: &'a TaskLog,
    clock: &'a Clock<'a>,
    /// The time and the epoch of the last reported progress.
    last: Mutex<Option<(Instant, usize)>>,
    warnings: Mutex<Vec<String>>,
}

impl<'a> Reporter<'a> {
    fn new(task: TaskRef, report: &'a OnReport<'a>, log: &'a TaskLog, clock: &'a Clock<'a>) -> Self {
        Self { task, report, log, clock, last: Mutex::new(None), warnings: Mutex::new(vec![]) }
    }

    /// The warnings of the stage, for its record.
    fn into_warnings(self) -> Vec<String> {
        self.warnings.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether to report progress in `epoch` at `now`. If so, remembers it as the last report.
    fn is_due(&self, epoch: usize, now: Instant) -> bool {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let due = last.is_none_or(|(at, of)| of != epoch || now.duration_since(at) >= PROGRESS_PERIOD);
        if due {
            *last = Some((now, epoch));
        }
        due
    }
}

impl Observer for Reporter<'_> {
    fn progress(&self, progress: &Progress) {
        self.log.progress(progress);
        self.clock.tick();
        if self.is_due(progress.epoch, Instant::now()) {
            let (task, progress) = (self.task.clone(), progress.clone());
            (self.report)(Report::Event(Event::Progress { task, progress }));
        }
    }

    fn note(&self, line: &str) {
        self.log.line(line);
        let (task, line) = (self.task.clone(), line.to_owned());
        (self.report)(Report::Event(Event::Note { task, line }));
    }

    fn warn(&self, line: &str) {
        self.log.line(&format!("warning: {line}"));
        let (task, line) = (self.task.clone(), line.to_owned());
        self.warnings.lock().unwrap_or_else(PoisonError::into_inner).push(line.clone());
        (self.report)(Report::Event(Event::Warning { task, line }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::Folder;
    use crate::pipeline::plan::{Label, TaskId};
    use crate::store::StoreError;

    #[test]
    fn progress_is_reported_10_times_per_second_and_at_every_epoch() {
        let task = TaskRef::from(Label { id: TaskId(0), stage: "trained".into(), axes: vec![] });
        let log = TaskLog::open(Err(StoreError::SourceMissing("log".into())), &task, 1);
        let folder = tempfile::tempdir().unwrap();
        let folder = Folder::open(folder.path()).unwrap();
        let clock = Clock::start(&folder);
        let reporter = Reporter::new(task, &|_| (), &log, &clock);
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
