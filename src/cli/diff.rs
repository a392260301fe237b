//! `argd-pipe diff`: the results in two files, or of two runs, side by side.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use super::error::CliError;
use super::options::Global;
use super::recorders::RUN_FILE;
use super::ui::{Ui, table};
use crate::pipeline::{Comparison, compare};
use crate::store::Store;

/// The version of what `--json` writes: raised when a field changes its meaning or goes.
const FORMAT_VERSION: u32 = 1;

const EXAMPLES: &str = "\
Examples:
  argd-pipe diff results/badnets.csv results/badnets-epochs-20.csv
  argd-pipe diff old.csv new.csv --json
  argd-pipe diff 20260314T092653Z-badnets 20260314T101500Z-badnets
  argd-pipe diff results/badnets.csv archive/run.json";

/// Compare two results CSV files, or runs: which metrics differ, and by how much.
///
/// A run is its `run.json`, or the name of its folder in the cache's `v1/runs`. It has the rows that the CSV would have.
///
/// Rows are paired by their stage and axes, whatever their order and the seed; where a file has several seeds, by these
/// too. Rows that are the same are only counted.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Diff {
    /// The results before.
    #[arg(value_name = "OLD")]
    old: PathBuf,

    /// The results after.
    #[arg(value_name = "NEW")]
    new: PathBuf,

    /// Write JSON.
    #[arg(long)]
    json: bool,
}

impl Diff {
    pub(super) fn perform(&self, global: &Global, ui: &Ui) -> Result<(), CliError> {
        let comparison = compare(&file(&self.old, global), &file(&self.new, global))?;
        if self.json {
            let document = json!({"format_version": FORMAT_VERSION, "comparison": comparison});
            return ui.data(&format!("{document:#}\n"));
        }
        ui.data(&table::of_comparison(&comparison))?;
        ui.say(&summary(&comparison));
        Ok(())
    }
}

/// The file that is meant: a file, the one of a run in its folder, or the one of a run in the cache.
fn file(named: &Path, global: &Global) -> PathBuf {
    let in_cache = Store::run_in(&global.cache_dir, named);
    match () {
        () if named.is_dir() => named.join(RUN_FILE),
        () if !named.exists() && in_cache.is_dir() => in_cache.join(RUN_FILE),
        () => named.to_owned(),
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
