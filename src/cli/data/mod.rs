//! `argd-pipe data`: lists, downloads and locates public data sets.

mod fetch;
mod ls;
mod path;

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueHint};

use super::command_line;
use super::error::CliError;
use super::options::Global;
use super::ui::Ui;
use crate::data::fetch::{CATALOG, PublicDataset, find};
use crate::manifest::suggest::did_you_mean;

const EXAMPLES: &str = "\
Examples:
  argd-pipe data ls
  argd-pipe data fetch cifar10
  argd-pipe run pipelines/cifar10/badnets.yaml --set vars.source=cifar10 \\
    --set vars.path=$(argd-pipe data path cifar10)";

/// The default folder of data sets.
const DEFAULT_FOLDER: &str = "data";

/// Manage public data sets: list, fetch and locate them.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Data {
    #[command(subcommand)]
    command: Command,

    /// Folder of the data sets.
    #[arg(
        long, value_name = "DIR", env = "ARGD_PIPE_DATA_DIR", hide_env_values = true, default_value = DEFAULT_FOLDER,
        global = true, value_hint = ValueHint::DirPath
    )]
    data_dir: PathBuf,
}

#[derive(Debug, Subcommand)]
enum Command {
    Ls(ls::Ls),
    Fetch(fetch::Fetch),
    Path(path::Path),
}

impl Data {
    pub(super) fn perform(&self, global: &Global, ui: &Ui) -> Result<(), CliError> {
        match &self.command {
            Command::Ls(ls) => ls.perform(&self.data_dir, ui),
            Command::Fetch(fetch) => fetch.perform(&self.data_dir, ui),
            Command::Path(path) => path.perform(&self.data_dir, |name| self.fetch_command(global, name), ui),
        }
    }

    /// The command that downloads a data set to the same folder.
    fn fetch_command(&self, global: &Global, name: &str) -> String {
        let mut line = global.command(&["data", "fetch", name]);
        if self.data_dir.as_os_str() != DEFAULT_FOLDER {
            command_line::add(&mut line, &["--data-dir", &self.data_dir.to_string_lossy()]);
        }
        line
    }
}

/// Finds a data set by the name on the command line.
fn named(name: &str) -> Result<&'static PublicDataset, CliError> {
    find(name).ok_or_else(|| {
        let names: Vec<&str> = CATALOG.iter().map(|dataset| dataset.name).collect();
        let hint = did_you_mean(name, "data sets", &names);
        CliError::unknown(format!("unknown data set `{name}`"), hint)
    })
}
