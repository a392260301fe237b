//! `argd-pipe run`: computes what is not cached, and writes the results.

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::Args;

use super::error::CliError;
use super::executor;
use super::options::{Global, ManifestArgs, TargetArgs};
use super::prepare::{Prepared, prepare, prepare_run};
use super::recorders::{Recording, RunFile};
use super::size::{Size, memory};
use super::threads::{self, positive};
use super::ui::table::Executed;
use super::ui::{Ui, format};
use super::{plan, results, signals};
use crate::pipeline::results::Table;
use crate::pipeline::{self, Ending, Forecast, Plan, Policy, RunError, Settings, Target, TaskId};

const EXAMPLES: &str = "\
Examples:
  argd-pipe run pipelines/badnets.yaml
  argd-pipe run pipelines/badnets.yaml --dry-run
  argd-pipe run pipelines/badnets.yaml 'after@clean_ratio=0.05'
  argd-pipe run pipelines/badnets.yaml --matrix seed=1..5 --set results.csv=results/seeds.csv
  argd-pipe run pipelines/badnets.yaml --matrix clean_ratio=0.05,0.1
  argd-pipe run pipelines/badnets.yaml erased --downstream --force
  argd-pipe run pipelines/badnets.yaml --set seed=3 --set stages.backdoored.with.epochs=2
  argd-pipe run pipelines/badnets.yaml --locked
  argd-pipe run pipelines/badnets.yaml --events events.jsonl --tensorboard logs
  argd-pipe run pipelines/badnets.yaml -j 4 --memory 12G
  argd-pipe run pipelines/cifar10/badnets.yaml -j 2 --cache-dir /data/argd-cache";

/// Compute what is not cached, and write the results CSV.
///
/// With targets, only these tasks and those that they need run. When a task fails, tasks that do not depend on it still
/// run. The exit code is then 4; run the same command again to resume.
///
/// A warning is about a result that may not mean what it seems to mean. It is kept with the result: a later run counts
/// it, and prints it again with `-v`.
///
/// Ctrl-C stops the run: running stages write checkpoints, and the same command resumes from them. A second Ctrl-C ends
/// the program at once. SIGTERM and a closed terminal stop the run, too. Finished results are always kept.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Run {
    #[command(flatten)]
    manifest: ManifestArgs,

    #[command(flatten)]
    targets: TargetArgs,

    /// Also run all tasks that depend on the targets.
    #[arg(long, requires = "targets")]
    downstream: bool,

    /// Run the targets alone: their inputs must be cached.
    #[arg(long, requires = "targets")]
    only: bool,

    /// Run tasks even if they are cached: the targets, or all tasks; with `=TARGET`, the tasks that it matches.
    ///
    /// Tasks that depend on them run again only if the outputs differ.
    #[arg(long, value_name = "TARGET", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    force: Vec<Target>,

    /// After a failure, still run the tasks that do not depend on the failed one [default].
    #[arg(short, long, overrides_with = "fail_fast")]
    keep_going: bool,

    /// After a failure, start no more tasks; running tasks end.
    #[arg(long, overrides_with = "keep_going")]
    fail_fast: bool,

    /// Number of tasks to run at once.
    #[arg(short, long, value_name = "N", default_value = "1", value_parser = positive)]
    jobs: NonZeroUsize,

    /// Number of threads for all tasks together [default: one per core].
    ///
    /// Running tasks share them. Results depend neither on it nor on `--jobs`.
    #[arg(long, value_name = "N", env = "ARGD_PIPE_THREADS", hide_env_values = true, value_parser = positive)]
    threads: Option<NonZeroUsize>,

    /// Memory for all tasks together: `800M`, `12G` [default: no limit].
    ///
    /// With `--jobs`, a task waits until there is memory for it beside the running tasks. What a task needs is estimated
    /// from the peak memory of earlier tasks of the same stage or kind, or from the sizes of its inputs. A task that
    /// needs more than SIZE runs alone.
    #[arg(long, value_name = "SIZE", value_parser = memory)]
    memory: Option<Size>,

    /// Replace a results CSV that holds results of another pipeline or of other axes, or something else.
    #[arg(long, conflicts_with = "targets")]
    overwrite: bool,

    /// Show what would run, as `argd-pipe plan` does; run nothing.
    #[arg(short = 'n', long)]
    dry_run: bool,

    /// How tasks are executed.
    #[arg(long, value_name = "EXECUTOR", value_enum, default_value_t, hide = true)]
    executor: executor::Choice,

    #[command(flatten)]
    recording: Recording,
}

impl Run {
    pub(super) fn perform(&self, global: &Global, ui: &Ui) -> Result<(), CliError> {
        let settings = self.settings(ui)?;
        let prepare = if self.dry_run { prepare } else { prepare_run };
        let prepared = prepare(&self.manifest, global, ui)?;
        self.recording.check_plan(&prepared, &self.lock_command(global), ui)?;
        let (mut prepared, picked) = prepared.narrow(&self.targets.targets, self.downstream)?;
        self.set_policies(&mut prepared.plan, &picked)?;
        if self.dry_run {
            return plan::show(&prepared, settings.jobs, settings.threads, false, ui);
        }
        self.check_files(&prepared.plan)?;
        let stop = signals::stop_flag()?;
        prepared.store.watch(ui.hashing(Some(Arc::clone(&stop))));
        self.execute(&prepared, &settings, &stop, global, ui)
    }

    /// Sets which tasks always run, and which never do.
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

    /// Finds files that cannot be written before anything runs.
    fn check_files(&self, plan: &Plan) -> Result<(), CliError> {
        if self.writes_results() {
            results::check(plan, self.overwrite)?;
        }
        self.recording.check_files(plan)
    }

    /// Whether the run writes the CSV: a part of the results does not replace it.
    fn writes_results(&self) -> bool {
        self.targets.targets.is_empty()
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
        let mut recorders = self.recording.open()?;
        let run_file = RunFile::start(prepared, &self.manifest.overrides(), settings, ui);
        let run = {
            let mut watcher = ui.watch(stop, Forecast::new(plan, store, settings.jobs, settings.threads));
            let executor = self.executor.start(store, stop, plan.backend(), global)?;
            pipeline::run(plan, store, settings, &*executor, stop, &mut |event| {
                recorders.observe(&event);
                watcher.observe(&event);
            })?
        };
        run_file.finish(&run, ui);
        let table = pipeline::results::table(plan, |id| run.record(id));
        // Files come first: they are complete even if standard output cannot be written.
        let written = self.write(prepared, &run, table.as_ref(), global, ui);
        let shown = table.map_or(Ok(()), |table| show(plan, &run, &table, ui));
        written?.iter().for_each(|line| ui.say(line));
        shown?;
        recorders.finish()
    }

    /// Writes the results and the lock of a complete run. Returns lines that report them.
    fn write(
        &self,
        prepared: &Prepared,
        run: &pipeline::Run,
        table: Option<&Table>,
        global: &Global,
        ui: &Ui,
    ) -> Result<Vec<String>, CliError> {
        let rows = table.map_or(0, |table| table.rows.len());
        run.complete().map_err(|error| self.incomplete(error, rows, global))?;
        let mut lines = self.recording.check_run(prepared, run, &self.lock_command(global), ui)?;
        lines.extend(match table {
            Some(table) if self.writes_results() => results::write(&prepared.plan, table)?,
            Some(_) => vec!["only some tasks ran, so the results CSV is unchanged".to_owned()],
            None => vec![],
        });
        Ok(lines)
    }

    /// The command that locks the current results.
    fn lock_command(&self, global: &Global) -> String {
        self.manifest.command(global, "run", &["--lock"])
    }

    /// Adds the command that writes the available rows, if tasks failed.
    fn incomplete(&self, error: RunError, rows: usize, global: &Global) -> CliError {
        match error {
            RunError::Failed { .. } if rows > 0 && self.writes_results() => {
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

    /// The limits of the run. Starts its threads.
    fn settings(&self, ui: &Ui) -> Result<Settings, CliError> {
        let threads = threads::of_run(self.threads, ui);
        threads::start(threads)?;
        Ok(Settings {
            jobs: self.jobs.get(),
            threads,
            memory: self.memory.map(|size| size.0),
            fail_fast: self.fail_fast && !self.keep_going,
        })
    }
}

/// Shows the available results.
fn show(plan: &Plan, run: &pipeline::Run, table: &Table, ui: &Ui) -> Result<(), CliError> {
    let executed = |id: TaskId| match run.ending(id) {
        Ending::Cached(record) => Some(Executed::cached(record)),
        Ending::Finished(record) => Some(Executed::now(record)),
        Ending::Failed(_) | Ending::Withheld | Ending::Skipped { .. } | Ending::Unfinished => None,
    };
    results::show(plan, table, executed, ui)
}
