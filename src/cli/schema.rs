//! `argd-pipe schema`: prints the schema of manifests, for editors.

use clap::Args;

use super::error::CliError;
use super::ui::Ui;
use crate::pipeline::manifest_schema;
use crate::stages;

const EXAMPLES: &str = "\
Examples:
  argd-pipe schema > manifest.schema.json

Editors with a YAML language server check a manifest that begins with this line:
  # yaml-language-server: $schema=manifest.schema.json";

/// Print the JSON Schema of manifests, for editors.
///
/// It has every field, stage kind and parameter, with its documentation.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Schema {}

impl Schema {
    pub(super) fn perform(&self, ui: &Ui) -> Result<(), CliError> {
        ui.data(&text())
    }
}

/// The text of the schema file.
pub(super) fn text() -> String {
    format!("{:#}\n", manifest_schema(&stages::all()))
}
