//! Why a command failed, and its exit code.

use std::io;
use std::path::PathBuf;

use miette::Diagnostic;
use thiserror::Error;

use super::Exit;
use super::ui::format::count;
use crate::data::fetch::FetchError;
use crate::manifest::{Errors, LoadError};
use crate::models::{self, ImportError, ModelError};
use crate::pipeline::results::{NoView, ResultsFileError};
use crate::pipeline::{Class, RunError, TargetError};
use crate::report::ExportError;
use crate::store::StoreError;

/// Why a command failed. What to do about it is the error's help, which [`super::ui`] draws.
#[derive(Debug, Diagnostic, Error)]
pub(super) enum CliError {
    /// The manifest cannot be read.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Manifest(#[from] LoadError),
    /// The manifest has errors.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Plan(#[from] Errors),
    /// The run failed, or its results cannot be used.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Run(#[from] RunError),
    /// Tasks cannot run; the cause of each has been reported.
    #[error("{tasks} cannot run")]
    CannotRun {
        /// How many, of how many.
        tasks: String,
        /// The gravest kind of failure among them.
        class: Class,
    },
    /// A target that matches no task.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Target(#[from] TargetError),
    /// An unknown column, or a value that no row has.
    #[error(transparent)]
    #[diagnostic(transparent)]
    View(#[from] NoView),
    /// Two tables cannot be compared.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Compare(#[from] ResultsFileError),
    /// An artifact cannot be exported.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Export(#[from] ExportError),
    /// An argument that names nothing known.
    #[error("{what}")]
    Unknown {
        /// What is unknown.
        what: String,
        /// The names that are known.
        #[help]
        hint: Option<String>,
    },
    /// The default folder of the cache is a link.
    #[error("the default cache folder `{}` is a link", .0.display())]
    #[diagnostic(help("a clone can carry it; if it is yours, name it: `--cache-dir ./{}`", .0.display()))]
    LinkedCache(PathBuf),
    /// A file could not be read.
    #[error("cannot read `{}`: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A result that no run has computed.
    #[error("{what}")]
    NotComputed {
        /// What is missing.
        what: String,
        /// The command that computes it.
        #[help]
        hint: Option<String>,
    },
    /// `status --exit-code`: tasks that are not cached.
    #[error("not cached: {0}")]
    Stale(String),
    /// The manifest has no results.
    #[error("the manifest has no `results`")]
    #[diagnostic(help("add `results: {{csv: results/NAME.csv, from: [STAGE]}}`"))]
    NoResults,
    /// Files of the cache were corrupt; each has been reported.
    #[error("{0} corrupt in the cache; the next run computes the affected tasks again")]
    Corrupt(String),
    /// Recomputing tasks gave other outputs; the differences have been reported.
    #[error("non-deterministic: computing {0} again gave different outputs")]
    #[diagnostic(help("results that depend on it cannot be reproduced"))]
    Nondeterministic(String),
    /// Manifests have errors; each has been reported.
    #[error("{0} cannot be used")]
    Invalid(String),
    /// Manifests cannot be read; the cause of each has been reported.
    #[error("{0} cannot be read")]
    Unreadable(String),
    /// A file that the command would create already exists.
    #[error("`{}` already exists", .0.display())]
    #[diagnostic(help("name another file, or remove this one first"))]
    Exists(PathBuf),
    /// The results CSV holds other results.
    #[error("`{}` holds {holds}", path.display())]
    #[diagnostic(help(
        "`--set results.csv=results/NAME.csv` writes another file; `--overwrite` replaces this one"
    ))]
    OtherResults {
        /// The CSV.
        path: PathBuf,
        /// What it holds.
        holds: String,
    },
    /// A file that the command creates cannot be written.
    #[error("cannot write `{}`: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The lock file cannot be read.
    #[error("cannot read the lock file `{}`: {source}", path.display())]
    #[diagnostic(help("`{command}` writes it"))]
    Lock {
        /// The lock file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
        /// The command that writes it.
        command: String,
    },
    /// The results do not match the lock file; the differences have been reported.
    #[error("{tasks} not match the lock file")]
    #[diagnostic(help("`{command}` locks the current results"))]
    NotAsLocked {
        /// How many tasks, and the verb: `2 tasks do`.
        tasks: String,
        /// The command that writes a new lock file.
        command: String,
    },
    /// Tasks failed, and others have results.
    #[error("{error}")]
    #[diagnostic(help(
        "fix the cause and run the same command again; `{command}` writes the available results ({rows})"
    ))]
    Partial {
        /// The tasks that failed.
        error: RunError,
        /// How many rows are available.
        rows: String,
        /// The command that writes them.
        command: String,
    },
    /// A file or folder for a run's events cannot be written.
    #[error("cannot write `{}`: {source}", path.display())]
    #[diagnostic(help("nothing was run; give {option} another path"))]
    Unfit {
        /// The option that names it.
        option: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A data set could not be downloaded.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Fetch(#[from] FetchError),
    /// A data set is not on this machine.
    #[error("{name} has not been downloaded")]
    #[diagnostic(help("`{command}` downloads it"))]
    NotFetched {
        /// The data set.
        name: &'static str,
        /// The command that downloads it.
        command: String,
    },
    /// The folder of `-C` cannot be entered.
    #[error("cannot enter the folder of -C, `{}`: {source}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A file does not hold the expected model.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Import(#[from] ImportError),
    /// A model cannot be read or written.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// A model cannot be exported.
    #[error(transparent)]
    ExportModel(#[from] models::ExportError),
    /// A file name without the extension of a known format.
    #[error("{}: its name does not show the format", .0.display())]
    #[diagnostic(help("name it .pth or .safetensors, or give --format"))]
    Format(PathBuf),
    /// The system starts no more threads.
    #[error("cannot start {}: {source}", count(*threads, "thread"))]
    #[diagnostic(help("raise the limit on processes (`ulimit -u`), or use fewer threads: `--threads 1`"))]
    Threads {
        /// The wanted number of threads.
        threads: usize,
        /// The cause.
        source: io::Error,
    },
    /// Signals cannot be caught, or a thread cannot be started.
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
    /// An argument that names nothing known.
    pub(super) fn unknown(what: impl Into<String>, hint: impl Into<Option<String>>) -> Self {
        Self::Unknown { what: what.into(), hint: hint.into() }
    }

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
            Self::NotComputed { .. } | Self::Stale(_) | Self::NotAsLocked { .. } => Exit::Stale,
            Self::Corrupt(_) | Self::Nondeterministic(_) | Self::LinkedCache(_) => Exit::CacheUnusable,
            Self::Folder { .. }
            | Self::Unfit { .. }
            | Self::Format(_)
            | Self::Target(_)
            | Self::View(_)
            | Self::Compare(_)
            | Self::Unknown { .. }
            | Self::Exists(_)
            | Self::OtherResults { .. }
            | Self::Export(ExportError::Exists(_) | ExportError::Format { .. }) => Exit::Usage,
            Self::Import(_) | Self::Model(_) | Self::Export(_) | Self::ExportModel(_) => Exit::StageFailed,
            Self::Threads { .. }
            | Self::Setup(_)
            | Self::Output(_)
            | Self::Read { .. }
            | Self::Write { .. } => Exit::StageFailed,
        }
    }

    /// The errors in the manifest, if they are why the command failed.
    pub(super) fn in_manifest(&self) -> Option<&Errors> {
        match self {
            Self::Plan(errors) => Some(errors),
            _ => None,
        }
    }
}
