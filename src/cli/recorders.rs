//! The files that a run writes besides its results: `run.json`, the lock file, and events for other programs.

use std::io;
use std::path::{Path, PathBuf};
use std::thread::available_parallelism;
use std::time::SystemTime;

use clap::{Args, ValueHint};

use super::error::CliError;
use super::prepare::Prepared;
use super::ui::{Ui, format};
use crate::manifest::Override;
use crate::pipeline::record::sinks::{JsonLines, Sink, TensorBoard};
use crate::pipeline::record::{Git, Machine, ManifestText, Program, RUN_FORMAT_VERSION, RunRecord, Utc};
use crate::pipeline::{Event, Lock, Mismatch, Plan, Run, Settings, results};
use crate::store::{self, Store};

/// Options for these files.
#[derive(Debug, Args)]
#[command(next_help_heading = "Recording")]
pub(super) struct Recording {
    /// Write every event to FILE as it happens, as JSON lines (docs/events.md).
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    events: Option<PathBuf>,

    /// Write losses and metrics to DIR for TensorBoard, one folder per task.
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    tensorboard: Option<PathBuf>,

    /// Write the lock file `results/<name>.lock`: the key, the outputs and the metrics of every task.
    #[arg(long, conflicts_with_all = ["locked", "targets"])]
    lock: bool,

    /// Compare with the lock file, and exit with 5 if something differs.
    ///
    /// Keys are compared before anything runs, outputs and metrics after the run. If something differs, no results are written.
    #[arg(long)]
    pub locked: bool,
}

/// Files of events. If one cannot be written, this is reported at the end; the run does not stop.
pub(super) struct Recorders {
    open: Vec<(PathBuf, Box<dyn Sink>)>,
    failed: Option<CliError>,
}

impl Recording {
    /// Opens the files for events.
    pub(super) fn open(&self) -> Result<Recorders, CliError> {
        let mut open: Vec<(PathBuf, Box<dyn Sink>)> = vec![];
        if let Some(path) = &self.events {
            open.push((path.clone(), Box::new(JsonLines::create(path).map_err(unfit(path, "--events"))?)));
        }
        if let Some(path) = &self.tensorboard {
            let board = TensorBoard::create(path).map_err(unfit(path, "--tensorboard"))?;
            open.push((path.clone(), Box::new(board)));
        }
        Ok(Recorders { open, failed: None })
    }

    /// Before a run: fails if the lock file cannot be written.
    pub(super) fn check_files(&self, plan: &Plan) -> Result<(), CliError> {
        if self.lock { Ok(results::check_file(&Lock::path(plan))?) } else { Ok(()) }
    }

    /// Before a run: fails if its keys do not match the lock file. `command` writes a new one.
    pub(super) fn check_plan(&self, prepared: &Prepared, command: &str, ui: &Ui) -> Result<(), CliError> {
        match self.read_lock(prepared, command)? {
            Some(lock) => refuse(&lock.check_plan(&prepared.plan, &prepared.store)?, command, ui),
            None => Ok(()),
        }
    }

    /// After a complete run: fails if its results do not match the lock file, or writes the lock file. Returns lines that
    /// report it.
    pub(super) fn check_run(
        &self,
        prepared: &Prepared,
        run: &Run,
        command: &str,
        ui: &Ui,
    ) -> Result<Vec<String>, CliError> {
        let path = Lock::path(&prepared.plan);
        if let Some(lock) = self.read_lock(prepared, command)? {
            refuse(&lock.check_run(&prepared.plan, |id| run.record(id)), command, ui)?;
            let mut lines = vec![format!("the results match {}", path.display())];
            if !lock.locks_metrics() {
                lines.push(format!(
                    "{} is of an earlier format and has no metrics: only outputs were compared; `{command}` adds them",
                    path.display()
                ));
            }
            Ok(lines)
        } else if let Some(lock) = Lock::of(&prepared.plan, |id| run.record(id)).filter(|_| self.lock) {
            results::check_place(&path)?;
            lock.write(&path).map_err(cannot_write(&path))?;
            let path = path.display();
            Ok(vec![format!("wrote the key, the outputs and the metrics of every task to {path}")])
        } else {
            Ok(vec![])
        }
    }

    fn read_lock(&self, prepared: &Prepared, command: &str) -> Result<Option<Lock>, CliError> {
        if !self.locked {
            return Ok(None);
        }
        let path = Lock::path(&prepared.plan);
        let failed = |source| CliError::Lock { path: path.clone(), source, command: command.to_owned() };
        Lock::read(&path).map(Some).map_err(failed)
    }
}

fn refuse(mismatches: &[Mismatch], command: &str, ui: &Ui) -> Result<(), CliError> {
    for mismatch in mismatches {
        ui.say(&format!("does not match the lock file: {mismatch}"));
        mismatch.reasons().iter().for_each(|reason| ui.say(&format!("  {reason}")));
    }
    match mismatches.len() {
        0 => Ok(()),
        n => {
            let verb = if n == 1 { "does" } else { "do" };
            let tasks = format!("{} {verb}", format::count(n, "task"));
            Err(CliError::NotAsLocked { tasks, command: command.to_owned() })
        }
    }
}

impl Recorders {
    /// Writes an event to all files that can still be written.
    pub(super) fn observe(&mut self, event: &Event) {
        let failed = &mut self.failed;
        self.open.retain_mut(|(path, sink)| match sink.observe(event) {
            Ok(()) => true,
            Err(source) => {
                failed.get_or_insert(CliError::Write { path: path.clone(), source });
                false
            }
        });
    }

    /// Fails if a file could not be written.
    pub(super) fn finish(self) -> Result<(), CliError> {
        self.failed.map_or(Ok(()), Err)
    }
}

fn cannot_write(path: &Path) -> impl FnOnce(io::Error) -> CliError {
    move |source| CliError::Write { path: path.to_owned(), source }
}

/// The error of a file for events that cannot be created. Nothing has run yet.
fn unfit(path: &Path, option: &'static str) -> impl FnOnce(io::Error) -> CliError {
    move |source| CliError::Unfit { option, path: path.to_owned(), source }
}

/// The `run.json` of a run, named by this file, by its folder, or by the name of its folder in the cache. `None` if the
/// path is something else.
pub(super) fn run_file(named: &Path, cache: &Path) -> Option<PathBuf> {
    let in_run = |file: &&str| Store::run_in(cache, named, file);
    let in_cache = || if named.exists() { None } else { RunRecord::FILES.iter().find_map(in_run) };
    match () {
        () if named.is_dir() => Some(RunRecord::file_in(named)),
        () => in_cache().or_else(|| RunRecord::is_named(named).then(|| named.to_owned())),
    }
}

/// How often the file of a run is written before that counts as failed.
const TRIES: usize = 5;

/// The `run.json` of a run. It is written at the start and at the end. If it cannot be written, a warning is enough:
/// nothing depends on it.
pub(super) struct RunFile<'p> {
    plan: &'p Plan,
    record: RunRecord,
    store: &'p Store,
    folder: Option<PathBuf>,
}

impl<'p> RunFile<'p> {
    /// Writes the file before anything runs, so that a killed run leaves one, too.
    pub(super) fn start(
        prepared: &'p Prepared,
        overrides: &[Override],
        settings: &Settings,
        ui: &Ui,
    ) -> Self {
        let (plan, source) = (&prepared.plan, prepared.plan.source());
        let started = Utc::from(SystemTime::now());
        let record = RunRecord {
            format_version: RUN_FORMAT_VERSION,
            pipeline: plan.name().to_owned(),
            manifest: ManifestText { path: source.name.clone().into(), text: source.text.clone() },
            overrides: overrides.iter().map(ToString::to_string).collect(),
            seed: plan.seed(),
            numerics: plan.numerics().to_owned(),
            results: plan.results().map(|results| results.from.clone()),
            settings: settings.into(),
            program: program(),
            git: Git::of(Path::new(&source.name)),
            machine: machine(),
            started: started.to_string(),
            finished: None,
            outcome: None,
            tasks: vec![],
        };
        let folder = prepared.store.run_folder(&format!("{}-{}", started.compact(), plan.name()));
        let folder = folder.inspect_err(|error| ui.say(&format!("cannot write run.json: {error}"))).ok();
        let folder = folder.map(|folder| folder.path().to_owned());
        let file = Self { plan, record, store: &prepared.store, folder };
        file.write(ui);
        file
    }

    /// Adds how the run ended.
    pub(super) fn finish(mut self, run: &Run, ui: &Ui) {
        self.record.finish(self.plan, run, Utc::from(SystemTime::now()).to_string());
        self.write(ui);
    }

    fn write(&self, ui: &Ui) {
        let Some(path) = &self.folder else { return };
        let write = || match self.store.reopen_run_folder(path) {
            Ok(folder) => self.record.write(&folder).map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        // A collector may remove the folder again before the file is in it.
        let written = (1..TRIES).find_map(|_| write().ok()).map_or_else(write, Ok);
        if let Err(error) = written {
            ui.say(&format!("cannot write run.json in `{}`: {error}", path.display()));
        }
    }
}

fn program() -> Program {
    let arguments = std::env::args_os().map(|argument| argument.to_string_lossy().into_owned()).collect();
    Program { version: env!("CARGO_PKG_VERSION").to_owned(), arguments }
}

fn machine() -> Machine {
    let uname = rustix::system::uname();
    Machine {
        host: store::host(),
        system: format!("{} {}", uname.sysname().to_string_lossy(), uname.release().to_string_lossy()),
        architecture: std::env::consts::ARCH.to_owned(),
        processors: available_parallelism().map_or(1, Into::into),
    }
}
