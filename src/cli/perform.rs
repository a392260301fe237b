//! `argd-pipe perform`: runs one job of a run, for the executor that starts a process per job.

use std::fs::File;
use std::io::{self, BufReader};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use clap::Args;

use super::error::CliError;
use super::options::Global;
use super::signals;
use super::threads;
use super::ui::Ui;
use crate::pipeline::{Executor, JobSpec, Line, Local};
use crate::stages;
use crate::store::{HashWatch, Store};

/// Run one job of a run, and report in JSON lines.
///
/// `run --executor process` calls this. The job stops with a checkpoint when standard input ends. The last line has the
/// result of the job. A failed job does not make this command fail.
#[derive(Debug, Args)]
#[command(hide = true)]
pub(super) struct Perform {
    /// The file of the job.
    #[arg(value_name = "JOB.json")]
    job: PathBuf,
}

impl Perform {
    pub(super) fn perform(&self, global: &Global, ui: &Ui) -> Result<(), CliError> {
        let job = self.read()?;
        threads::start(job.threads.max(1))?;
        let mut store = Store::open(&global.cache_dir)?;
        let stop = signals::stop_flag()?;
        store.watch(Arc::new(Stops(Arc::clone(&stop))));
        let stop_at_end = Arc::clone(&stop);
        let watch = thread::Builder::new().spawn(move || {
            // An error also counts as the end.
            let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
            stop_at_end.store(true, Ordering::Relaxed);
        });
        watch.map_err(|error| CliError::Setup(error.to_string()))?;
        let kinds = stages::all();
        let backend = global.backend.backend();
        let local = Local::new(&kinds, &backend, &store, &stop);
        // The parent process may have ended. The result is kept anyway.
        let say = |line: &Line| drop(serde_json::to_string(line).map(|json| ui.data(&(json + "\n"))));
        let result = local.execute(&job, &|report| say(&Line::Report(report)));
        say(&Line::from(&result));
        Ok(())
    }

    fn read(&self) -> Result<JobSpec, CliError> {
        let failed = |source| CliError::Read { path: self.job.clone(), source };
        let file = File::open(&self.job).map_err(failed)?;
        serde_json::from_reader(BufReader::new(file)).map_err(|error| failed(error.into()))
    }
}

/// Stops hashing, and shows nothing: the parent process draws.
struct Stops(Arc<AtomicBool>);

impl HashWatch for Stops {
    fn stopped(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
