//! `argd-pipe data path`: prints the path of a public data set.

use clap::Args;

use super::named;
use crate::cli::error::CliError;
use crate::cli::ui::Ui;

const EXAMPLES: &str = "\
Examples:
  argd-pipe data path cifar10
  argd-pipe plan mine.yaml --set vars.path=$(argd-pipe data path cifar10)";

/// Print the path of a public data set.
///
/// The exit code is 66 if it has not been downloaded.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Path {
    /// The name of the data set, as in `argd-pipe data ls`.
    name: String,
}

impl Path {
    pub(super) fn perform(
        &self,
        data: &std::path::Path,
        fetch: impl Fn(&str) -> String,
        ui: &Ui,
    ) -> Result<(), CliError> {
        let dataset = named(&self.name)?;
        if !dataset.is_present(data) {
            let name = dataset.name;
            return Err(CliError::NotFetched { name, command: fetch(name) });
        }
        ui.data(&format!("{}\n", dataset.path(data).display()))
    }
}
