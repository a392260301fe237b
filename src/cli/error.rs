//! Why a command failed, and which exit code that is.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use super::Exit;
use crate::data::fetch::FetchError;
use crate::manifest::{Errors, LoadError};
use crate::models::{self, ImportError, ModelError};
use crate::pipeline::results::{NoView, ResultsFileError};
use crate::pipeline::{Class, RunError, TargetError};
use crate::report::ExportError;
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
    /// A column was asked for that there is not, or a value that is not in it.
    #[error(transparent)]
    View(#[from] NoView),
    /// Two tables cannot be compared.
    #[error(transparent)]
    Compare(#[from] ResultsFileError),
    /// An artifact cannot be exported.
    #[error(transparent)]
    Export(#[from] ExportError),
    /// A name on the command line that there is not.
    #[error("{0}")]
    Unknown(String),
    /// A file could not be read.
    #[error("cannot read `{}`: {source}", path.display())]
    Read {
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
    /// Files of the cache were bad; what each was has been told.
    #[error("{0} bad in the cache; what needs them is computed again by the next run")]
    Corrupt(String),
    /// Computing recorded tasks again gave something else; what has been told.
    #[error(
        "non-deterministic: {0} came out differently\nhint: results that rest on it cannot be reproduced"
    )]
    Nondeterministic(String),
    /// Manifests are wrong; what is wrong with each has been told.
    #[error("{0} of the manifests cannot be used")]
    Invalid(usize),
    /// Manifests cannot be read; why has been told.
    #[error("{0} of the manifests cannot be read")]
    Unreadable(usize),
    /// A file that would be made is there already.
    #[error("`{}` is there already\nhint: name another file, or remove it first", .0.display())]
    Exists(PathBuf),
    /// A file that the command makes cannot be written.
    #[error("cannot write `{}`: {source}", path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The lock cannot be read.
    #[error("cannot read the lock `{}`: {source}\nhint: `{command}` writes it", path.display())]
    Lock {
        /// Where it would be.
        path: PathBuf,
        /// Why.
        source: io::Error,
        /// The command that writes it.
        command: String,
    },
    /// A run would give, or gave, other results than the locked ones; which has been told.
    #[error("{tasks} not as locked\nhint: `{command}` locks what there is now")]
    NotAsLocked {
        /// How many tasks.
        tasks: String,
        /// The command that makes a new lock.
        command: String,
    },
    /// Tasks failed, and others have results.
    #[error("{error}\nhint: `{command}` writes the results that there are ({rows})")]
    Partial {
        /// Which failed.
        error: RunError,
        /// How many rows there are.
        rows: String,
        /// The command that writes them.
        command: String,
    },
    /// A file or folder for a run's events cannot be written.
    #[error("cannot write `{}`: {source}\nhint: nothing was run; give {option} another place", path.display())]
    Unfit {
        /// What named it.
        option: &'static str,
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A data set could not be fetched.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// A data set is not on this machine.
    #[error("{name} is not there\nhint: `{command}` downloads it")]
    NotFetched {
        /// Which.
        name: &'static str,
        /// The command that fetches it.
        command: String,
    },
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
            Self::Manifest(LoadError::Io { .. })
            | Self::Unreadable(_)
            | Self::Fetch(_)
            | Self::NotFetched { .. } => Exit::InputMissing,
            Self::Manifest(_) | Self::Plan(_) | Self::NoResults | Self::Invalid(_) => Exit::ManifestInvalid,
            Self::Run(error) | Self::Partial { error, .. } => error.class().into(),
            Self::CannotRun { class, .. } => (*class).into(),
            Self::Import(error) if error.is_missing() => Exit::InputMissing,
            Self::Model(error) if error.is_missing() => Exit::InputMissing,
            Self::Read { source, .. } if source.kind() == io::ErrorKind::NotFound => Exit::InputMissing,
            Self::Compare(ResultsFileError::Io { .. }) | Self::Lock { .. } => Exit::InputMissing,
            Self::NotComputed(_) | Self::Stale(_) | Self::NotAsLocked { .. } => Exit::Stale,
            Self::Corrupt(_) | Self::Nondeterministic(_) => Exit::CacheUnusable,
            Self::Folder { .. }
            | Self::Unfit { .. }
            | Self::Format(_)
            | Self::Target(_)
            | Self::View(_)
            | Self::Compare(_)
            | Self::Unknown(_)
            | Self::Exists(_)
            | Self::Export(ExportError::Exists(_) | ExportError::Format { .. }) => Exit::Usage,
            Self::Import(_) | Self::Model(_) | Self::Export(_) | Self::ExportModel(_) => Exit::StageFailed,
            Self::Setup(_) | Self::Output(_) | Self::Read { .. } | Self::Write { .. } => Exit::StageFailed,
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
