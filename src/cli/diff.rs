//! `argd-pipe diff`: compares the results of two files or two runs.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::error::CliError;
use super::options::Global;
use super::recorders::run_file;
use super::ui::{Ui, table};
use crate::pipeline::results::{Comparison, compare};

/// The version of the JSON: raised when a field changes its meaning or is removed.
const FORMAT_VERSION: u32 = 1;

const EXAMPLES: &str = "\
Examples:
  argd-pipe diff results/badnets.csv results/badnets-epochs-20.csv
  argd-pipe diff old.csv new.csv --json
  argd-pipe diff 20260314T092653Z-badnets 20260314T101500Z-badnets
  argd-pipe diff results/badnets.csv archive/run.json";

/// Compare the metrics of two results CSV files or runs.
///
/// Name a run by its `run.json`, or by its folder in the cache's `v1/runs`. Its rows are those of its CSV.
///
/// Rows are paired by stage and axes; their order and the seed do not matter. If a file has several seeds, rows are
/// paired by seed, too. Equal rows are only counted.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Diff {
    /// The old results.
    #[arg(value_name = "OLD")]
    old: PathBuf,

    /// The new results.
    #[arg(value_name = "NEW")]
    new: PathBuf,

    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl Diff {
    pub(super) fn perform(&self, global: &Global, ui: &Ui) -> Result<(), CliError> {
        let file = |named: &PathBuf| run_file(named, &global.cache_dir).unwrap_or_else(|| named.clone());
        let comparison = compare(&file(&self.old), &file(&self.new))?;
        if self.json {
            let document = json!({"format_version": FORMAT_VERSION, "comparison": comparison});
            return ui.json(&document);
        }
        ui.print(&table::of_comparison(&comparison))?;
        ui.say(&summary(&comparison));
        Ok(())
    }
}

fn summary(comparison: &Comparison) -> String {
    let differ = comparison.pairs.iter().filter(|pair| !pair.changes.is_empty()).count();
    let counts = [
        (differ, "differ"),
        (comparison.pairs.len() - differ, "are the same"),
        (comparison.removed.len(), "only in the first"),
        (comparison.added.len(), "only in the second"),
    ];
    let counted = counts.iter().filter(|(count, _)| *count > 0);
    let counted: Vec<String> = counted.map(|(count, what)| format!("{count} {what}")).collect();
    format!("rows: {}", if counted.is_empty() { "none".to_owned() } else { counted.join(", ") })
}
