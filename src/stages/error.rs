//! Why a stage failed.

use std::path::PathBuf;

use miette::Diagnostic;
use thiserror::Error;

use crate::models::ImportError;

/// Why a stage failed; the message says what, where and what to do.
#[derive(Debug, Diagnostic, Error)]
pub enum StageError {
    /// A file or folder that the manifest names is not there.
    #[error("{}: not found", path.display())]
    InputMissing {
        /// Which.
        path: PathBuf,
        /// What to do.
        #[help]
        hint: String,
    },
    /// The stage was asked to stop and has left a checkpoint.
    #[error("stopped; the same command goes on from the checkpoint")]
    Stopped,
    /// A file could not be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file does not hold the model that it should.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Import(ImportError),
    /// Anything else that input or numbers can cause.
    #[error("{0}")]
    Failed(String),
}

impl From<candle_core::Error> for StageError {
    fn from(error: candle_core::Error) -> Self {
        Self::Failed(error.to_string())
    }
}
