//! Why a command failed, and which exit code that is.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use super::Exit;
use crate::manifest::{Errors, LoadError};
use crate::models::{self, ImportError, ModelError};
use crate::pipeline::{Class, CompareError, NoColumn, RunError, TargetError};
use crate::stages::ExportError;
use crate::store::StoreError;

/// Why a command failed. Hints are lines that start with `hint: `.
#[derive(Debug, Error)]
pub(super) enum CliError {
    /// The manifest could not be read, or is wrong.
    #[error(transparent)]
    Manifest(#[from] LoadError),
    /// The pipeline that the manifest describes makes no sense.
    #[error(transparent)]
    Plan(#[from] Errors),
    /// The run, or the look at its results, failed.
    #[error(transparent)]
    Run(#[from] RunError),
    /// Tasks cannot be planned; what each said has been told.
    #[error("{tasks} of the tasks cannot run")]
    CannotRun {
        /// How many.
        tasks: usize,
        /// The gravest kind of failure among them.
        class: Class,
    },
    /// A task was asked for that there is not.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// A column was asked for that there is not.
    #[error(transparent)]
    Column(#[from] NoColumn),
    /// Two tables cannot be compared.
    #[error(transparent)]
    Compare(#[from] CompareError),
    /// An artifact cannot be exported.
    #[error(transparent)]
    Export(#[from] ExportError),
    /// A name on the command line that there is not.
    #[error("{0}")]
    Unknown(String),
    /// A file could not be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Something was asked for that no run has computed.
    #[error("{0}")]
    NotComputed(String),
    /// `status --exit-code`: tasks without a result.
    #[error("{0} without a result that counts")]
    Stale(String),
    /// Results were asked for, but the manifest does not say which.
    #[error("the manifest has no `results`\nhint: add `results: {{csv: results/NAME.csv, from: [STAGE]}}`")]
    NoResults,
    /// The folder of `-C` cannot be entered.
    #[error("-C {}: {source}", path.display())]
    Folder {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file is not the model that it should be.
    #[error(transparent)]
    Import(#[from] ImportError),
    /// A model cannot be read or written.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// A model cannot be exported.
    #[error(transparent)]
    ExportModel(#[from] models::ExportError),
    /// A file's name does not tell a format.
    #[error("{}: what format is it?\nhint: name it .pth or .safetensors, or give --format", .0.display())]
    Format(PathBuf),
    /// Signals cannot be caught, or threads not be started.
    #[error("cannot set up the run: {0}")]
    Setup(String),
    /// Standard output cannot be written.
    #[error("cannot write to standard output: {0}")]
    Output(#[from] io::Error),
}

impl From<StoreError> for CliError {
    fn from(error: StoreError) -> Self {
        Self::Run(error.into())
    }
}

impl CliError {
    /// The exit code.
    pub(super) fn exit(&self) -> Exit {
        match self {
            Self::Manifest(LoadError::Io { .. }) => Exit::InputMissing,
            Self::Manifest(_) | Self::Plan(_) | Self::NoResults => Exit::ManifestInvalid,
            Self::Run(error) => error.class().into(),
            Self::CannotRun { class, .. } => (*class).into(),
            Self::Import(error) if error.is_missing() => Exit::InputMissing,
            Self::Model(error) if error.is_missing() => Exit::InputMissing,
            Self::Import(_) | Self::Model(_) | Self::ExportModel(_) => Exit::StageFailed,
            Self::NotComputed(_) | Self::Stale(_) => Exit::Stale,
            Self::File { source, .. } if source.kind() == io::ErrorKind::NotFound => Exit::InputMissing,
            Self::File { .. } => Exit::StageFailed,
            Self::Compare(CompareError::Io { .. }) => Exit::InputMissing,
            Self::Folder { .. }
            | Self::Format(_)
            | Self::Target(_)
            | Self::Column(_)
            | Self::Compare(_)
            | Self::Unknown(_)
            | Self::Export(ExportError::Exists(_)) => Exit::Usage,
            Self::Export(_) => Exit::StageFailed,
            Self::Setup(_) | Self::Output(_) => Exit::StageFailed,
        }
    }

    /// The errors in the manifest, if it is those that failed the command.
    pub(super) fn in_manifest(&self) -> Option<&Errors> {
        match self {
            Self::Plan(errors) => Some(errors),
            _ => None,
        }
    }
}
