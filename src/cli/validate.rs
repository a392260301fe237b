//! `argd-pipe validate`: whether manifests are right, without a cache and without data.

use std::path::PathBuf;

use clap::{Args, ValueHint};

use super::error::CliError;
use super::prepare;
use super::ui::{Ui, format};
use crate::manifest::LoadError;
use crate::nn::Backend;

const EXAMPLES: &str = "\
Examples:
  argd-pipe validate pipelines/badnets.yaml
  argd-pipe validate pipelines/*.yaml";

/// Check manifests: fields, kinds, parameters, ports, the matrix and the results.
///
/// Neither the cache nor data is looked at. Everything that is wrong is told at once; then the exit code is 3, or 66 if
/// manifests cannot be read and the others are valid.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Validate {
    /// The manifests.
    #[arg(value_name = "MANIFEST", required = true, value_hint = ValueHint::FilePath)]
    manifests: Vec<PathBuf>,
}

impl Validate {
    pub(super) fn perform(&self, ui: &Ui) -> Result<(), CliError> {
        let (mut wrong, mut unreadable) = (0, 0);
        for path in &self.manifests {
            match prepare::plan(path, &[], &Backend::default()) {
                Ok(plan) => {
                    let stages = format::count(plan.stages().len(), "stage");
                    let tasks = format::count(plan.len(), "task");
                    ui.data(&format!("{}: valid: {stages}, {tasks}\n", path.display()))?;
                }
                // A file that is not there may be a mistyped name, and so is no verdict on a manifest.
                Err(error @ CliError::Manifest(LoadError::Io { .. })) => {
                    ui.report(&error);
                    unreadable += 1;
                }
                Err(error) => {
                    ui.report(&error);
                    wrong += 1;
                }
            }
        }
        match (wrong, unreadable) {
            (0, 0) => Ok(()),
            (0, unreadable) => Err(CliError::Unreadable(unreadable)),
            (wrong, unreadable) => Err(CliError::Invalid(wrong + unreadable)),
        }
    }
}
