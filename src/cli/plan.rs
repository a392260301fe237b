//! `argd-pipe plan`: what a run would do.

use clap::Args;

use super::error::CliError;
use super::options::{Global, ManifestArgs};
use super::prepare::{Prepared, prepare};
use super::ui::{Ui, format, table};
use crate::pipeline::{self, Counts, State};

const EXAMPLES: &str = "\
Examples:
  argd-pipe plan pipelines/badnets.yaml
  argd-pipe plan pipelines/badnets.yaml --set matrix.clean_ratio='[0.05]'";

/// Show what a run would do: every task, and whether its result is cached.
///
/// Nothing is run. A task whose inputs have not been computed is shown as `pending`: it may turn out to be cached.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Plan {
    #[command(flatten)]
    manifest: ManifestArgs,
}

impl Plan {
    pub(super) fn perform(&self, global: &Global, ui: &Ui) -> Result<(), CliError> {
        show(&prepare(&self.manifest, global)?, ui)
    }
}

/// Shows the state of every task. Fails if a task cannot run: better now than in the middle of the night.
pub(super) fn show(prepared: &Prepared, ui: &Ui) -> Result<(), CliError> {
    let Prepared { plan, store, .. } = prepared;
    let survey = pipeline::survey(plan, store, &mut |event| ui.tell(&event))?;
    ui.data(&table::of_plan(plan, &survey))?;
    let Counts { cached, to_run, pending, failed } = survey.counts();
    let tasks = format::tasks(plan.len());
    ui.say(&format!("{}: {tasks}: {cached} cached, {to_run} to run, {pending} pending", plan.name()));

    let mut gravest = None;
    for task in plan.tasks() {
        if let State::Failed(error) = survey.state(task.id()) {
            ui.failure(&task.label, &error.to_string());
            gravest = gravest.max(Some(error.class()));
        }
    }
    gravest.map_or(Ok(()), |class| Err(CliError::CannotRun { tasks: failed, class }))
}
