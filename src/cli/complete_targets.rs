//! `argd-pipe complete-targets`: prints targets, for the completion scripts of shells.
//!
//! clap's own engine for this is unstable, and gives a completer only the word, not the manifest before it.

use std::path::PathBuf;

use clap::Parser;

use super::command_line::is_plain;
use super::error::CliError;
use super::prepare;
use super::ui::Ui;
use crate::nn::Backend;

/// The name by which completion scripts call it.
pub(super) const NAME: &str = "complete-targets";

/// Print the targets of a manifest, one per line: its stages, then its tasks that have axes.
///
/// A task with characters that a shell would not leave alone is left out: a shell inserts targets as they are.
#[derive(Debug, Parser)]
#[command(name = NAME)]
pub(super) struct CompleteTargets {
    /// The manifest.
    #[arg(value_name = "MANIFEST")]
    manifest: PathBuf,
}

impl CompleteTargets {
    pub(super) fn perform(&self, ui: &Ui) -> Result<(), CliError> {
        let plan = prepare::plan(&self.manifest, &[], &Backend::default())?;
        let stages = plan.stages().iter().cloned();
        let tasks = plan.tasks().map(|task| &task.label).filter(|label| !label.axes.is_empty());
        let tasks = tasks.map(ToString::to_string).filter(|task| is_plain(task));
        let lines = stages.chain(tasks).map(|target| target + "\n");
        ui.data(&lines.collect::<String>())
    }
}
