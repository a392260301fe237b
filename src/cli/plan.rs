//! `argd-pipe plan`: shows what a run would do.

use std::num::NonZeroUsize;

use clap::Args;
use serde_json::{Value, json};

use super::error::CliError;
use super::options::{Global, ManifestArgs, TargetArgs};
use super::prepare::{Prepared, prepare};
use super::threads;
use super::ui::{Ui, format, table};
use crate::pipeline::{self, Counts, Estimate, Event, Forecast, State, Survey};

const EXAMPLES: &str = "\
Examples:
  argd-pipe plan pipelines/badnets.yaml
  argd-pipe plan pipelines/badnets.yaml -j 2
  argd-pipe plan pipelines/badnets.yaml 'after@defense=argd' --json
  argd-pipe plan pipelines/badnets.yaml --set matrix.clean_ratio='[0.05]'";

/// Show which tasks a run would compute and which are cached.
///
/// This runs nothing. A task whose inputs have not been computed is `pending`: it may turn out to be cached.
///
/// The time of the run is estimated from the recorded times of tasks like these: of the same stage, or of the same kind
/// with the number of epochs and images taken into account. Stages without such records are named.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Plan {
    #[command(flatten)]
    manifest: ManifestArgs,

    #[command(flatten)]
    targets: TargetArgs,

    #[command(flatten)]
    room: Room,

    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// The limits of the run whose time is estimated.
#[derive(Debug, Args)]
struct Room {
    /// Estimate the time of a run of N tasks at once.
    #[arg(short, long, value_name = "N", default_value = "1", value_parser = threads::positive)]
    jobs: NonZeroUsize,

    /// Estimate the time of a run on N threads [default: one per core].
    #[arg(long, value_name = "N", env = "ARGD_PIPE_THREADS", hide_env_values = true, value_parser = threads::positive)]
    threads: Option<NonZeroUsize>,
}

/// The version of the JSON: raised when a field changes its meaning or is removed.
const FORMAT_VERSION: u32 = 1;

impl Plan {
    pub(super) fn perform(&self, global: &Global, ui: &Ui) -> Result<(), CliError> {
        let (prepared, _) = prepare(&self.manifest, global, ui)?.narrow(&self.targets.targets, false)?;
        let threads = threads::of_run(self.room.threads, ui);
        show(&prepared, self.room.jobs.get(), threads, self.json, ui)
    }
}

/// Shows the state of every task, and how long `jobs` tasks at once on `threads` threads would take. Fails if a task
/// cannot run, so that the user learns it before the run.
pub(super) fn show(
    prepared: &Prepared,
    jobs: usize,
    threads: usize,
    json: bool,
    ui: &Ui,
) -> Result<(), CliError> {
    let Prepared { plan, store } = prepared;
    let survey = pipeline::survey(plan, store, &mut |task, damage| ui.show(&Event::damaged(task, damage)))?;
    let estimate = Forecast::new(plan, store, jobs, threads).of(&survey);
    if json {
        let estimate = estimate.says_something().then(|| {
            let Estimate { seconds, unknown } = &estimate;
            json!({"seconds": seconds, "jobs": jobs, "threads": threads, "unknown": unknown})
        });
        ui.json(&document(plan, &survey, estimate))?;
    } else {
        ui.print(&table::of_plan(plan, &survey))?;
    }
    let Counts { cached, to_run, pending, failed } = survey.counts();
    let tasks = format::count(plan.len(), "task");
    let cannot = if failed == 0 { String::new() } else { format!(", {failed} cannot run") };
    ui.say(&format!("{}: {tasks}: {cached} cached, {to_run} to run, {pending} pending{cannot}", plan.name()));
    if estimate.says_something() {
        ui.say(&in_words(&estimate, jobs));
    }

    let mut gravest = None;
    for task in plan.tasks() {
        if let State::Failed(error) = survey.state(task.id()) {
            ui.failure(&task.label, &error.to_string(), error.hint());
            gravest = gravest.max(Some(error.class()));
        }
    }
    gravest.map_or(Ok(()), |class| Err(CliError::CannotRun { tasks: format!("{failed} of {tasks}"), class }))
}

/// Writes `about 4m 10s of work with -j 2`, and names the stages without an estimate.
fn in_words(estimate: &Estimate, jobs: usize) -> String {
    let Estimate { seconds, unknown } = estimate;
    let time = format!("{} of work with -j {jobs}", format::duration(*seconds));
    if estimate.is_whole() {
        return format!("about {time}");
    }
    let stages = unknown.iter().map(|(stage, tasks)| match tasks {
        1 => stage.clone(),
        tasks => format!("{stage} ({tasks} tasks)"),
    });
    let stages: Vec<String> = stages.collect();
    format!("at least {time}, without the stages that have no recorded times: {}", stages.join(", "))
}

/// The plan as JSON, each task after its inputs.
fn document(plan: &pipeline::Plan, survey: &Survey, estimate: Option<Value>) -> Value {
    let tasks = plan.tasks().map(|task| {
        let (state, key) = match survey.state(task.id()) {
            State::Cached(record) => ("cached", Some(record.key)),
            State::ToRun(keyed) => ("to-run", Some(keyed.key)),
            State::Pending => ("pending", None),
            State::Failed(_) => ("cannot-run", None),
        };
        let needs: Value = task
            .inputs
            .iter()
            .map(|input| (input.port.to_owned(), json!(plan.task(input.producer).label.to_string())))
            .collect();
        json!({
            "task": task.label,
            "kind": task.kind,
            "version": task.version,
            "seed": task.seed,
            "params": task.bound.params(),
            "needs": needs,
            "state": state,
            "key": key,
        })
    });
    let Counts { cached, to_run, pending, failed } = survey.counts();
    json!({
        "format_version": FORMAT_VERSION,
        "pipeline": plan.name(),
        "counts": {"cached": cached, "to-run": to_run, "pending": pending, "cannot-run": failed},
        "estimate": estimate,
        "tasks": tasks.collect::<Value>(),
    })
}
