//! `argd-pipe schema`: what a manifest may be, for editors.

use clap::Args;

use super::error::CliError;
use super::ui::Ui;
use crate::pipeline::manifest_schema;
use crate::stages;

const EXAMPLES: &str = "\
Examples:
  argd-pipe schema > manifest.schema.json

In an editor that speaks YAML, the first line of a manifest turns it on:
  # yaml-language-server: $schema=manifest.schema.json";

/// Print the JSON Schema of manifests: every field, stage kind and parameter, with its documentation.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Schema {}

impl Schema {
    pub(super) fn perform(&self, ui: &Ui) -> Result<(), CliError> {
        ui.data(&text())
    }
}

/// The schema as a file holds it.
pub(super) fn text() -> String {
    format!("{:#}\n", manifest_schema(&stages::all()))
}
