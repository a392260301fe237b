//! `argd-pipe plan`: shows what a run would do.

use clap::Args;
use serde_json::{Value, json};

use super::error::CliError;
use super::options::{Global, ManifestArgs, TargetArgs};
use super::prepare::{Prepared, prepare};
use super::ui::{Ui, format, table};
use crate::pipeline::{self, Counts, Event, State, Survey};

const EXAMPLES: &str = "\
Examples:
  argd-pipe plan pipelines/badnets.yaml
  argd-pipe plan pipelines/badnets.yaml 'after@defense=argd' --json
  argd-pipe plan pipelines/badnets.yaml --set matrix.clean_ratio='[0.05]'";

/// Show which tasks a run would compute and which are cached.
///
/// This runs nothing. A task whose inputs have not been computed is `pending`: it may turn out to be cached.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Plan {
    #[command(flatten)]
    manifest: ManifestArgs,

    #[command(flatten)]
    targets: TargetArgs,

    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// The version of the JSON: raised when a field changes its meaning or is removed.
const FORMAT_VERSION: u32 = 1;

impl Plan {
    pub(super) fn perform(&self, global: &Global, ui: &Ui) -> Result<(), CliError> {
        let (prepared, _) = prepare(&self.manifest, global)?.narrow(&self.targets.targets, false)?;
        show(&prepared, self.json, ui)
    }
}

/// Shows the state of every task. Fails if a task cannot run, so that the user learns it before the run.
pub(super) fn show(prepared: &Prepared, json: bool, ui: &Ui) -> Result<(), CliError> {
    let Prepared { plan, store } = prepared;
    let survey = pipeline::survey(plan, store, &mut |task, damage| ui.show(&Event::damaged(task, damage)))?;
    if json {
        ui.json(&document(plan, &survey))?;
    } else {
        ui.print(&table::of_plan(plan, &survey))?;
    }
    let Counts { cached, to_run, pending, failed } = survey.counts();
    let tasks = format::count(plan.len(), "task");
    ui.say(&format!("{}: {tasks}: {cached} cached, {to_run} to run, {pending} pending", plan.name()));

    let mut gravest = None;
    for task in plan.tasks() {
        if let State::Failed(error) = survey.state(task.id()) {
            ui.failure(&task.label, &error.to_string(), error.hint());
            gravest = gravest.max(Some(error.class()));
        }
    }
    gravest.map_or(Ok(()), |class| Err(CliError::CannotRun { tasks: format!("{failed} of {tasks}"), class }))
}

/// The plan as JSON, each task after its inputs.
fn document(plan: &pipeline::Plan, survey: &Survey) -> Value {
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
        "tasks": tasks.collect::<Value>(),
    })
}
