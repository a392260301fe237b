//! `argd-pipe status`: shows which results are cached, and why others are not.

use clap::Args;
use serde_json::json;

use super::error::CliError;
use super::options::{Global, ManifestArgs, TargetArgs};
use super::prepare::prepare;
use super::ui::{Ui, format, table};
use crate::pipeline::{self, Event, Standing, TaskStatus};

/// The version of the JSON: raised when a field changes its meaning or is removed.
const FORMAT_VERSION: u32 = 1;

const EXAMPLES: &str = "\
Examples:
  argd-pipe status pipelines/badnets.yaml
  argd-pipe status pipelines/badnets.yaml --why
  argd-pipe status pipelines/badnets.yaml 'erased@defense=argd' --why --set seed=3
  argd-pipe status pipelines/badnets.yaml --exit-code && echo all results are cached";

/// Show which results are cached and why others are not.
///
/// A `cached` task has a result that is up to date. A `stale` task has one that is out of date: its parameters, inputs
/// or code have changed. A `missing` task has none. A `running` task is being computed by another process. A `failed`
/// task failed when it last ran, and nothing has changed since. A task that `cannot run` lacks a file.
///
/// A task whose inputs are not cached is stale or missing; once they have run it may turn out to be cached.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Status {
    #[command(flatten)]
    manifest: ManifestArgs,

    #[command(flatten)]
    targets: TargetArgs,

    /// Show what has changed since the last result: the part of the key, its old value and its new value.
    #[arg(long)]
    why: bool,

    /// Exit with code 5 unless everything is cached.
    #[arg(long)]
    exit_code: bool,

    /// Print JSON, with the reasons.
    #[arg(long)]
    json: bool,
}

impl Status {
    pub(super) fn perform(&self, global: &Global, ui: &Ui) -> Result<(), CliError> {
        let (prepared, picked) = prepare(&self.manifest, global, ui)?.narrow(&self.targets.targets, false)?;
        let plan = &prepared.plan;
        let status = pipeline::status(plan, &prepared.store, &mut |task, damage| {
            ui.show(&Event::damaged(task, damage))
        })?;
        let shown: Vec<&TaskStatus> = picked.iter().map(|&id| status.of(id)).collect();
        let counts = counts(&shown);
        if self.json {
            let counts: serde_json::Map<_, _> =
                counts.iter().map(|&(standing, count)| (standing.key().to_owned(), count.into())).collect();
            let document = json!({
                "format_version": FORMAT_VERSION,
                "pipeline": plan.name(),
                "counts": counts,
                "tasks": shown,
            });
            ui.json(&document)?;
        } else {
            ui.print(&table::of_status(plan, &shown, self.why))?;
            let counted = counts.iter().filter(|(_, count)| *count > 0);
            let counted: Vec<String> =
                counted.map(|(standing, count)| format!("{count} {}", standing.name())).collect();
            ui.say(&format!(
                "{}: {}: {}",
                plan.name(),
                format::count(shown.len(), "task"),
                counted.join(", ")
            ));
        }
        let stale = shown.iter().filter(|task| task.standing != Standing::Cached).count();
        if self.exit_code && stale > 0 {
            return Err(CliError::Stale(format::count(stale, "task")));
        }
        Ok(())
    }
}

fn counts(tasks: &[&TaskStatus]) -> Vec<(Standing, usize)> {
    let count = |standing| tasks.iter().filter(|task| task.standing == standing).count();
    Standing::ALL.into_iter().map(|standing| (standing, count(standing))).collect()
}
