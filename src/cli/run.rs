//! `argd-pipe run`: computes what the cache does not have, and writes the results.

use std::num::NonZeroUsize;
use std::sync::atomic::AtomicBool;

use clap::Args;

use super::error::CliError;
use super::options::{Global, ManifestArgs};
use super::prepare::{Prepared, prepare};
use super::ui::Ui;
use super::ui::table::Executed;
use super::{plan, results, signals};
use crate::pipeline::{self, Ending, Settings, TaskId};

const EXAMPLES: &str = "\
Examples:
  argd-pipe run pipelines/badnets.yaml
  argd-pipe run pipelines/badnets.yaml --dry-run
  argd-pipe run pipelines/badnets.yaml --set seed=3 --set stages.backdoored.with.epochs=2
  argd-pipe run pipelines/cifar10/badnets.yaml -j 2 --cache-dir /data/argd-cache";

/// Run a manifest: compute what is not cached, and write the results CSV.
///
/// Ctrl-C stops the run: running stages write checkpoints, and the same command goes on from there. A second
/// Ctrl-C ends the program at once; finished results are kept in any case.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Run {
    #[command(flatten)]
    manifest: ManifestArgs,

    /// Tasks to run at once.
    #[arg(short, long, value_name = "N", default_value = "1")]
    jobs: NonZeroUsize,

    /// Threads for all tasks together [default: one per core].
    ///
    /// Running tasks share them. Results do not depend on it, nor on `--jobs`.
    #[arg(long, value_name = "N", env = "ARGD_PIPE_THREADS", hide_env_values = true)]
    threads: Option<NonZeroUsize>,

    /// Show what would run, as `argd-pipe plan` does, and run nothing.
    #[arg(short = 'n', long)]
    dry_run: bool,
}

impl Run {
    pub(super) fn perform(&self, global: &Global, ui: &Ui) -> Result<(), CliError> {
        let settings = self.settings()?;
        let prepared = prepare(&self.manifest, global)?;
        if self.dry_run {
            return plan::show(&prepared, ui);
        }
        let stop = signals::stop_flag()?;
        execute(&prepared, &settings, &stop, ui)
    }

    /// Settles the number of threads, for running tasks as for hashing files.
    fn settings(&self) -> Result<Settings, CliError> {
        let cores = || std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let threads = self.threads.map_or_else(cores, NonZeroUsize::get);
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build_global();
        pool.map_err(|error| CliError::Setup(error.to_string()))?;
        Ok(Settings { jobs: self.jobs.get(), threads })
    }
}

fn execute(prepared: &Prepared, settings: &Settings, stop: &AtomicBool, ui: &Ui) -> Result<(), CliError> {
    let Prepared { plan, store } = prepared;
    let run = {
        let mut watcher = ui.watch(stop);
        pipeline::run(plan, store, settings, stop, &mut |event| watcher.observe(&event))?
    };
    let table = pipeline::results::table(plan, |id| run.record(id));
    let executed = |id: TaskId| match run.ending(id) {
        Ending::Cached(record) => Some(Executed::cached(record)),
        Ending::Finished(record) => Some(Executed::now(record)),
        Ending::Failed(_) | Ending::Skipped { .. } | Ending::Unfinished => None,
    };
    if let Some(table) = &table {
        results::show(plan, table, executed, ui)?;
    }
    run.complete()?;
    table.map_or(Ok(()), |table| results::write(plan, &table, ui))
}
