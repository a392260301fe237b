//! `argd-pipe init`: writes a manifest to start from.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use clap::{Args, ValueHint};

use super::error::CliError;
use super::options::Global;
use super::schema;
use super::ui::Ui;
use crate::files::create_whole;

const EXAMPLES: &str = "\
Examples:
  argd-pipe init
  argd-pipe init experiments/first.yaml";

/// Write a manifest to start from, and its schema for editors.
///
/// The manifest has comments. The schema is `manifest.schema.json` in the same folder. Existing files are never
/// overwritten.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Init {
    /// The file to write.
    #[arg(value_name = "PATH", default_value = "experiment.yaml", value_hint = ValueHint::FilePath)]
    path: PathBuf,
}

const STARTER: &str = include_str!("starter.yaml");
/// The schema's file name in the starter's first line.
const SCHEMA: &str = "manifest.schema.json";

impl Init {
    pub(super) fn perform(&self, global: &Global, ui: &Ui) -> Result<(), CliError> {
        if self.path.symlink_metadata().is_ok() {
            return Err(CliError::Exists(self.path.clone()));
        }
        // The manifest comes last: without it, the same command tries again.
        create(&self.path.with_file_name(SCHEMA), &schema::text())?;
        if !create(&self.path, STARTER)? {
            return Err(CliError::Exists(self.path.clone()));
        }
        let command = global.command(&["run", &self.path.to_string_lossy()]);
        ui.say(&format!("wrote {}; `{command}` runs it", self.path.display()));
        Ok(())
    }
}

/// Writes a file unless it exists; returns whether it did.
fn create(path: &Path, text: &str) -> Result<bool, CliError> {
    match create_whole(path, text.as_bytes()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
        Err(source) => Err(CliError::Write { path: path.to_owned(), source }),
    }
}
