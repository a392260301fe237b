//! `argd-pipe cache verify`: checks the artifacts, or recomputes results and compares them.

use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, PoisonError};
use std::thread::available_parallelism;

use clap::Args;

use crate::cli::error::CliError;
use crate::cli::options::Global;
use crate::cli::signals;
use crate::cli::ui::{Ui, Watcher, format};
use crate::nn::Backend;
use crate::pipeline::{Again, Event, Forecast, Label, RunError, TaskId, TaskRef, fits};
use crate::stages::{self, Observer, Progress};
use crate::store::{Entry, Lost, Record, Store, Verification};

const EXAMPLES: &str = "\
Examples:
  argd-pipe cache verify
  argd-pipe cache verify --recompute backdoored
  argd-pipe cache verify --recompute 5f0c2a91";

/// Check that all artifacts are intact.
///
/// This reads and hashes every artifact. Corrupt files are moved to `v1/corrupt`, and the tasks that the next run
/// computes again are listed. The exit code is 6 if a file is corrupt.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Verify {
    /// Compute results again and compare them. Can be repeated.
    ///
    /// TASK is a name (`erased@defense=argd`, `badnets/erased*`) or the first digits of a key, as in `argd-pipe cache
    /// ls`. In a name, `*` matches any text, `?` any character. A result that differs is marked as non-deterministic.
    #[arg(long, value_name = "TASK")]
    recompute: Vec<String>,
}

impl Verify {
    pub(super) fn perform(&self, store: &Store, global: &Global, ui: &Ui) -> Result<(), CliError> {
        if self.recompute.is_empty() { check(store, ui) } else { self.compute_again(store, global, ui) }
    }

    fn compute_again(&self, store: &Store, global: &Global, ui: &Ui) -> Result<(), CliError> {
        let entries = store.entries()?;
        let mut records = vec![];
        for task in &self.recompute {
            let before = records.len();
            records.extend(entries.iter().filter_map(Entry::record).filter(|record| matches(record, task)));
            if records.len() == before {
                let list = global.command(&["cache", "ls"]);
                let what = format!("the cache has no result `{task}`");
                return Err(CliError::unknown(what, format!("`{list}` lists tasks and keys")));
            }
        }
        let (backend, stop) = (global.backend.backend(), signals::stop_flag()?);
        let mut different = vec![];
        for record in records {
            if !same_again(record, store, &backend, &stop, ui)? {
                different.push(record.name());
            }
        }
        if different.is_empty() { Ok(()) } else { Err(CliError::Nondeterministic(different.join(", "))) }
    }
}

/// Whether a record matches a pattern of its task's name, with or without its pipeline, or the start of its key.
fn matches(record: &Record, task: &str) -> bool {
    let by_key = task.len() >= 4 && record.key.to_string().starts_with(task);
    by_key || fits(task, &record.exec.task) || fits(task, &record.name())
}

/// Checks the whole store.
fn check(store: &Store, ui: &Ui) -> Result<(), CliError> {
    let bar = ui.bytes("hashing", store.sizes()?.all_artifacts());
    let Verification { records, artifacts, damages, lost, newer } = store.verify(&|bytes| bar.inc(bytes))?;
    bar.finish_and_clear();
    damages.iter().for_each(|damage| ui.say(&format!("corrupt: {damage}")));
    for Lost { key, task } in lost {
        let task = task.as_deref().unwrap_or("a task of unknown name");
        ui.say(&format!("to compute again: {task}  {}", key.short()));
    }
    if newer > 0 {
        let records = format::count(newer, "record");
        ui.say(&format!("skipped: {records} written by a newer argd-pipe"));
    }
    let (records, files) = (format::count(records, "record"), format::count(artifacts.files, "artifact"));
    ui.say(&format!("checked {records} and {files} ({})", format::bytes(artifacts.bytes)));
    match damages.len() {
        0 => Ok(()),
        1 => Err(CliError::Corrupt("1 file was".to_owned())),
        n => Err(CliError::Corrupt(format!("{n} files were"))),
    }
}

/// Computes the task of a record again, and returns whether its outputs are the same.
fn same_again(
    record: &Record,
    store: &Store,
    backend: &Backend,
    stop: &AtomicBool,
    ui: &Ui,
) -> Result<bool, CliError> {
    let threads = available_parallelism().map_or(1, Into::into);
    let task: TaskRef = Label { id: TaskId(0), stage: record.name(), axes: vec![] }.into();
    let found = {
        let work = record.exec.seconds * record.exec.threads.max(1) as f64;
        let watcher = Mutex::new(ui.watch(stop, Forecast::alone(Some(work))));
        let observer = Shown { task: task.clone(), watcher };
        observer.show(Event::TaskStarted { task: task.clone(), key: record.key.to_string(), threads });
        let kinds = stages::all();
        Again { kinds: &kinds, backend, threads, observer: &observer, stop }.compute(record, store)
    };
    match found {
        Ok(differences) if differences.is_empty() => {
            ui.say(&format!("same outputs: {task}  {}", record.key.short()));
            Ok(true)
        }
        Ok(differences) => {
            ui.say(&format!("NON-DETERMINISTIC: {task}  {}", record.key.short()));
            differences.iter().for_each(|line| ui.say(&format!("  {line}")));
            Ok(false)
        }
        Err(error) => {
            ui.failure(&task, &error.to_string(), error.hint());
            Err(RunError::Failed { failed: vec![task], skipped: 0, unfinished: 0, class: error.class() }
                .into())
        }
    }
}

/// Shows the progress of a task, as a run does.
struct Shown<'a> {
    task: TaskRef,
    watcher: Mutex<Watcher<'a>>,
}

impl Shown<'_> {
    fn show(&self, event: Event) {
        self.watcher.lock().unwrap_or_else(PoisonError::into_inner).observe(&event);
    }
}

impl Observer for Shown<'_> {
    fn progress(&self, progress: &Progress) {
        self.show(Event::Progress { task: self.task.clone(), progress: progress.clone() });
    }

    fn note(&self, line: &str) {
        self.show(Event::Note { task: self.task.clone(), line: line.to_owned() });
    }

    fn warn(&self, line: &str) {
        self.show(Event::Warning { task: self.task.clone(), line: line.to_owned() });
    }
}
