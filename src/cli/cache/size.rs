//! `argd-pipe cache size`: shows how much space the cache takes.

use clap::Args;
use serde_json::json;

use crate::cli::error::CliError;
use crate::cli::ui::{Ui, format, table};
use crate::store::{Amount, Sizes, Store};

const EXAMPLES: &str = "\
Examples:
  argd-pipe cache size
  argd-pipe cache size --json";

/// Show how much space the cache takes, and for what.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Size {
    /// Print JSON: an object.
    #[arg(long)]
    json: bool,
}

impl Size {
    pub(super) fn perform(&self, store: &Store, ui: &Ui) -> Result<(), CliError> {
        let sizes = store.sizes()?;
        if self.json {
            return ui.json(&json!(sizes));
        }
        let all = sizes.all();
        let Sizes { records, artifacts, unused, checkpoints, logs, corrupt, others } = sizes;
        let parts = [
            ("artifacts", artifacts),
            ("unused artifacts", unused),
            ("records", records),
            ("checkpoints", checkpoints),
            ("logs", logs),
            ("corrupt files", corrupt),
            ("journals, runs, locks, others", others),
            ("total", all),
        ];
        let row = |(what, Amount { files, bytes }): (&str, Amount)| {
            vec![what.to_owned(), files.to_string(), format::bytes(bytes)]
        };
        let header = ["what", "files", "size"];
        ui.print(&table::of_rows(&header, parts.map(row).to_vec(), 1..))
    }
}
