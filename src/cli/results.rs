//! `argd-pipe results`: the CSV again, from the cache.

use clap::Args;

use super::error::CliError;
use super::options::{Global, ManifestArgs};
use super::prepare::{Prepared, prepare};
use super::ui::Ui;
use super::ui::table::{self, Executed};
use crate::pipeline::results::{self, Summary, Table};
use crate::pipeline::{self, Plan, TaskId};

const EXAMPLES: &str = "\
Examples:
  argd-pipe results pipelines/badnets.yaml
  argd-pipe results pipelines/badnets.yaml --set results.csv=results/again.csv";

/// Write the results CSV again, from the cache, without computing anything.
///
/// The file is the same, byte for byte, as the one that the run wrote. Fails if a result has not been computed.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Results {
    #[command(flatten)]
    manifest: ManifestArgs,
}

impl Results {
    pub(super) fn perform(&self, global: &Global, ui: &Ui) -> Result<(), CliError> {
        let Prepared { plan, store } = prepare(&self.manifest, global)?;
        let survey = pipeline::survey(&plan, &store, &mut |event| ui.tell(&event))?;
        let table = results::table(&plan, |id| survey.record(id)).ok_or(CliError::NoResults)?;
        table.complete(&format!("argd-pipe run {}", self.manifest.manifest.display()))?;
        let executed = |id: TaskId| survey.record(id).map(Executed::cached);
        show(&plan, &table, executed, ui)?;
        write(&plan, &table, ui)
    }
}

/// Shows the results, row by row and over the seeds.
pub(super) fn show(
    plan: &Plan,
    table: &Table,
    executed: impl Fn(TaskId) -> Option<Executed>,
    ui: &Ui,
) -> Result<(), CliError> {
    ui.data(&table::of_results(plan, table, executed))?;
    Summary::of(plan, table).map_or(Ok(()), |summary| ui.data(&table::of_summary(&summary)))
}

/// Writes the CSV, and the one over the seeds, and says where they are.
pub(super) fn write(plan: &Plan, table: &Table, ui: &Ui) -> Result<(), CliError> {
    let Some(spec) = plan.results() else { return Ok(()) };
    table.write(&spec.csv)?;
    ui.say(&format!("{} rows are in {}", table.rows.len(), spec.csv.display()));
    if let Some(summary) = Summary::of(plan, table) {
        let path = Summary::path(&spec.csv);
        summary.write(plan.name(), &path)?;
        ui.say(&format!("means over the seeds are in {}", path.display()));
    }
    Ok(())
}
