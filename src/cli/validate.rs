//! `argd-pipe validate`: checks manifests, without a cache and without data.

use std::path::PathBuf;

use clap::{Args, ValueHint};

use super::error::CliError;
use super::prepare;
use super::ui::{Ui, format};
use crate::manifest::LoadError;
use crate::nn::Backend;
use crate::plain::visible;

const EXAMPLES: &str = "\
Examples:
  argd-pipe validate pipelines/badnets.yaml
  argd-pipe validate pipelines/*.yaml";

/// Check manifests without running them.
///
/// This checks fields, kinds, parameters, ports, the matrix and the results. It reads neither the cache nor data. All
/// errors are reported at once. The exit code is then 3, or 66 if files cannot be read and all other manifests are valid.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Validate {
    /// The manifests.
    #[arg(value_name = "MANIFEST", required = true, value_hint = ValueHint::FilePath)]
    manifests: Vec<PathBuf>,
}

impl Validate {
    /// Writes `the manifest`, or `2 of 3 manifests`.
    fn of_all(&self, some: usize) -> String {
        match self.manifests.len() {
            1 => "the manifest".to_owned(),
            all => format!("{some} of {all} manifests"),
        }
    }

    pub(super) fn perform(&self, ui: &Ui) -> Result<(), CliError> {
        let (mut wrong, mut unreadable) = (0, 0);
        for path in &self.manifests {
            match prepare::plan(path, &[], &Backend::default()) {
                Ok(plan) => {
                    let stages = format::count(plan.stages().len(), "stage");
                    let tasks = format::count(plan.len(), "task");
                    let path = path.display().to_string();
                    ui.print(&format!("{}: valid: {stages}, {tasks}\n", visible(&path)))?;
                }
                // A missing file may be a mistyped name; it does not make a manifest invalid.
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
            (0, unreadable) => Err(CliError::Unreadable(self.of_all(unreadable))),
            (wrong, unreadable) => Err(CliError::Invalid(self.of_all(wrong + unreadable))),
        }
    }
}
