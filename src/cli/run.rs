//! `argd-pipe run`: computes what the cache does not have, and writes the results.

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::sync::atomic::AtomicBool;

use clap::Args;

use super::error::CliError;
use super::executor;
use super::options::{Global, ManifestArgs, TargetArgs};
use super::prepare::{Prepared, prepare};
use super::recorders::{Recording, RunFile};
use super::size::Size;
use super::ui::table::Executed;
use super::ui::{Ui, format};
use super::{plan, results, signals};
use crate::pipeline::results::Table;
use crate::pipeline::{self, Ending, Plan, Policy, RunError, Settings, Target, TaskId};

const EXAMPLES: &str = "\
Examples:
  argd-pipe run pipelines/badnets.yaml
  argd-pipe run pipelines/badnets.yaml --dry-run
  argd-pipe run pipelines/badnets.yaml 'after@clean_ratio=0.05'
  argd-pipe run pipelines/badnets.yaml --matrix seed=1..5 --matrix clean_ratio=0.05,0.1
  argd-pipe run pipelines/badnets.yaml erased --downstream --force
  argd-pipe run pipelines/badnets.yaml --set seed=3 --set stages.backdoored.with.epochs=2
  argd-pipe run pipelines/badnets.yaml --locked
  argd-pipe run pipelines/badnets.yaml --events events.jsonl --tensorboard logs
  argd-pipe run pipelines/badnets.yaml -j 4 --memory 12G
  argd-pipe run pipelines/cifar10/badnets.yaml -j 2 --cache-dir /data/argd-cache";

/// Run a manifest: compute what is not cached, and write the results CSV.
///
/// With targets, only these tasks and what they need. When a task fails, all that does not need it runs on; the run
/// ends with code 4, and the same command goes on from there.
///
/// Ctrl-C stops the run: running stages write checkpoints, and the same command goes on from there. A second
/// Ctrl-C ends the program at once; finished results are kept in any case.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Run {
    #[command(flatten)]
    manifest: ManifestArgs,

    #[command(flatten)]
    targets: TargetArgs,

    /// Run everything that needs the targets, too.
    #[arg(long, requires = "targets")]
    downstream: bool,

    /// Run nothing that the targets need: it must be cached.
    #[arg(long, requires = "targets")]
    only: bool,

    /// Run the targets, or all tasks if there are none, though they are cached; with `=TARGET`, those tasks.
    ///
    /// What needs them runs again only if they make something else than before.
    #[arg(long, value_name = "TARGET", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    force: Vec<Target>,

    /// After a failure, run on with all that does not need what failed [default].
    #[arg(short, long, overrides_with = "fail_fast")]
    keep_going: bool,

    /// After a failure, start nothing more; what is running ends.
    #[arg(long, overrides_with = "keep_going")]
    fail_fast: bool,

    /// Tasks to run at once.
    #[arg(short, long, value_name = "N", default_value = "1")]
    jobs: NonZeroUsize,

    /// Threads for all tasks together [default: one per core].
    ///
    /// Running tasks share them. Results do not depend on it, nor on `--jobs`.
    #[arg(long, value_name = "N", env = "ARGD_PIPE_THREADS", hide_env_values = true)]
    threads: Option<NonZeroUsize>,

    /// Memory for all tasks together: `800M`, `12G` [default: no limit].
    ///
    /// With `--jobs`, a task waits until what it needs and what the running tasks need fits. That is estimated: by the
    /// peaks that records tell of the same stage or kind, else by the sizes of its inputs. A task that needs more than
    /// SIZE runs alone.
    #[arg(long, value_name = "SIZE")]
    memory: Option<Size>,

    /// Show what would run, as `argd-pipe plan` does, and run nothing.
    #[arg(short = 'n', long)]
    dry_run: bool,

    /// What does the tasks.
    #[arg(long, value_name = "EXECUTOR", value_enum, default_value_t, hide = true)]
    executor: executor::Choice,

    #[command(flatten)]
    recording: Recording,
}

impl Run {
    pub(super) fn perform(&self, global: &Global, ui: &Ui) -> Result<(), CliError> {
        let settings = self.settings()?;
        let prepared = prepare(&self.manifest, global)?;
        self.recording.check_plan(&prepared, &self.lock_command(global), ui)?;
        let (mut prepared, picked) = prepared.narrow(&self.targets.targets, self.downstream)?;
        self.set_policies(&mut prepared.plan, &picked)?;
        if self.dry_run {
            return plan::show(&prepared, false, ui);
        }
        let stop = signals::stop_flag()?;
        self.execute(&prepared, &settings, &stop, global, ui)
    }

    /// Says which tasks run in any case, and which in none.
    fn set_policies(&self, plan: &mut Plan, picked: &BTreeSet<TaskId>) -> Result<(), CliError> {
        if self.only {
            let others = (0..plan.len()).map(TaskId).filter(|id| !picked.contains(id));
            others.for_each(|id| plan.set_policy(id, Policy::Never));
        }
        for target in &self.force {
            let all = target.to_string().is_empty();
            let forced = if all { picked.clone() } else { plan.picked(std::slice::from_ref(target))? };
            forced.into_iter().for_each(|id| plan.set_policy(id, Policy::Always));
        }
        Ok(())
    }

    fn execute(
        &self,
        prepared: &Prepared,
        settings: &Settings,
        stop: &AtomicBool,
        global: &Global,
        ui: &Ui,
    ) -> Result<(), CliError> {
        let Prepared { plan, store } = prepared;
        plan.results().map_or(Ok(()), |spec| pipeline::results::check_place(&spec.csv))?;
        let mut recorders = self.recording.open()?;
        let run_file = RunFile::start(prepared, &self.manifest.overrides(), settings, ui);
        let run = {
            let mut watcher = ui.watch(stop);
            let executor = self.executor.start(store, stop, plan.backend(), global)?;
            pipeline::run(plan, store, settings, &*executor, stop, &mut |event| {
                recorders.observe(&event);
                watcher.observe(&event);
            })?
        };
        run_file.finish(&run, ui);
        let table = show(plan, &run, ui)?;
        let rows = table.as_ref().map_or(0, |table| table.rows.len());
        run.complete().map_err(|error| self.incomplete(error, rows, global))?;
        self.recording.check_run(prepared, &run, &self.lock_command(global), ui)?;
        match table {
            Some(table) if self.targets.targets.is_empty() => results::write(plan, &table, ui)?,
            Some(_) => ui.say("only a part was run: the results CSV is left as it is"),
            None => {}
        }
        recorders.finish()
    }

    /// The command that locks what there is now.
    fn lock_command(&self, global: &Global) -> String {
        self.manifest.command(global, "run", &["--lock"])
    }

    /// Says how to have the rows that there are, if a failure keeps the others away.
    fn incomplete(&self, error: RunError, rows: usize, global: &Global) -> CliError {
        match error {
            RunError::Failed { .. } if rows > 0 && self.targets.targets.is_empty() => {
                let rows = format::count(rows, "row");
                CliError::Partial {
                    error,
                    rows,
                    command: self.manifest.command(global, "results", &["--partial"]),
                }
            }
            error => error.into(),
        }
    }

    /// Settles the number of threads, for running tasks as for hashing files.
    fn settings(&self) -> Result<Settings, CliError> {
        let cores = || std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let threads = self.threads.map_or_else(cores, NonZeroUsize::get);
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build_global();
        pool.map_err(|error| CliError::Setup(error.to_string()))?;
        Ok(Settings {
            jobs: self.jobs.get(),
            threads,
            memory: self.memory.map(|size| size.0),
            fail_fast: self.fail_fast && !self.keep_going,
        })
    }
}

/// Shows the results that there are.
fn show(plan: &Plan, run: &pipeline::Run, ui: &Ui) -> Result<Option<Table>, CliError> {
    let table = pipeline::results::table(plan, |id| run.record(id));
    let executed = |id: TaskId| match run.ending(id) {
        Ending::Cached(record) => Some(Executed::cached(record)),
        Ending::Finished(record) => Some(Executed::now(record)),
        Ending::Failed(_) | Ending::Withheld | Ending::Skipped { .. } | Ending::Unfinished => None,
    };
    if let Some(table) = &table {
        results::show(plan, table, executed, ui)?;
    }
    Ok(table)
}
