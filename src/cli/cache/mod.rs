//! `argd-pipe cache`: lists, measures, checks and cleans the cache.

mod gc;
mod ls;
mod size;
mod verify;

use clap::{Args, Subcommand};

use super::error::CliError;
use super::options::Global;
use super::ui::Ui;
use crate::store::Store;

const EXAMPLES: &str = "\
Examples:
  argd-pipe cache ls
  argd-pipe cache size
  argd-pipe cache verify
  argd-pipe cache gc --keep-days 30 --max-size 20G --keep pipelines/badnets.yaml";

/// Manage the cache: list, measure, check and clean it.
///
/// All of these commands are safe during a run.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Cache {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Ls(ls::Ls),
    Size(size::Size),
    Verify(verify::Verify),
    Gc(gc::Gc),
}

impl Cache {
    pub(super) fn perform(&self, global: &Global, ui: &Ui) -> Result<(), CliError> {
        global.check_cache()?;
        if global.cache_dir.join("v1").symlink_metadata().is_err() {
            ui.say(&format!("there is no cache in {}", global.cache_dir.display()));
            return Ok(());
        }
        let mut store = Store::open(&global.cache_dir)?;
        store.watch(ui.hashing(None));
        match &self.command {
            Command::Ls(ls) => ls.perform(&store, ui),
            Command::Size(size) => size.perform(&store, ui),
            Command::Verify(verify) => verify.perform(&store, global, ui),
            Command::Gc(gc) => gc.perform(&store, global, ui),
        }
    }
}
