//! `argd-pipe results`: the CSV again, from the cache.

use clap::Args;

use super::error::CliError;
use super::options::{Global, ManifestArgs};
use super::prepare::{Prepared, prepare};
use super::ui::Ui;
use super::ui::table::{self, Executed};
use crate::pipeline::results::{self, Table};
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
        let Prepared { plan, store, .. } = prepare(&self.manifest, global)?;
        let survey = pipeline::survey(&plan, &store, &mut |event| ui.tell(&event))?;
        let table = results::table(&plan, |id| survey.record(id)).ok_or(CliError::NoResults)?;
        table.complete(&format!("argd-pipe run {}", self.manifest.manifest.display()))?;
        let executed = |id: TaskId| survey.record(id).map(Executed::cached);
        ui.data(&table::of_results(&plan, &table, executed))?;
        write(&plan, &table, ui)
    }
}

/// Writes the CSV and says where it is.
pub(super) fn write(plan: &Plan, table: &Table, ui: &Ui) -> Result<(), CliError> {
    let Some(spec) = plan.results() else { return Ok(()) };
    table.write(&spec.csv)?;
    ui.say(&format!("{} rows are in {}", table.rows.len(), spec.csv.display()));
    Ok(())
}
