//! `argd-pipe data ls`: lists the public data sets.

use std::path::Path;

use clap::Args;

use crate::cli::error::CliError;
use crate::cli::ui::{Ui, table};
use crate::data::fetch::{CATALOG, PublicDataset};

/// List the public data sets, and which are downloaded.
#[derive(Debug, Args)]
pub(super) struct Ls {}

impl Ls {
    pub(super) fn perform(&self, data: &Path, ui: &Ui) -> Result<(), CliError> {
        let row = |dataset: &PublicDataset| {
            let place = dataset.path(data).display().to_string();
            let state = if dataset.is_present(data) { "downloaded" } else { "not downloaded" };
            [dataset.name, dataset.source, &place, state, dataset.about].map(str::to_owned).to_vec()
        };
        let header = ["name", "source", "path", "", "what"];
        ui.print(&table::of_rows(&header, CATALOG.iter().map(row).collect(), ..0))
    }
}
