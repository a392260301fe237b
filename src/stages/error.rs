//! The errors of stages.

use std::path::PathBuf;

use miette::Diagnostic;
use thiserror::Error;

use crate::models::ImportError;

/// The error of a stage. The message has three parts: what, where, and what to do.
#[derive(Debug, Diagnostic, Error)]
pub enum StageError {
    /// A file or folder that the manifest names does not exist.
    #[error("{}: not found", path.display())]
    InputMissing {
        /// The file or folder.
        path: PathBuf,
        /// What to do.
        #[help]
        hint: String,
    },
    /// The stage was stopped and wrote a checkpoint.
    #[error("stopped; the same command resumes from the checkpoint")]
    Stopped,
    /// A file could not be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// A file does not contain the expected model.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Import(ImportError),
    /// Inputs or parameters do not match, and there is a remedy.
    #[error("{problem}")]
    Unfit {
        /// What does not match.
        problem: String,
        /// What to do.
        #[help]
        help: String,
    },
    /// Any other error that inputs or numbers can cause.
    #[error("{0}")]
    Failed(String),
}

impl From<candle_core::Error> for StageError {
    fn from(error: candle_core::Error) -> Self {
        Self::Failed(error.to_string())
    }
}
