//! Why a stage failed.

use std::path::PathBuf;

use thiserror::Error;

/// Why a stage failed; the message says what, where and what to do.
#[derive(Debug, Error)]
pub enum StageError {
    /// A file or folder that the manifest names is not there.
    #[error("{}: not found; {hint}", path.display())]
    InputMissing {
        /// Which.
        path: PathBuf,
        /// What to do.
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
    /// Anything else that input or numbers can cause.
    #[error("{0}")]
    Failed(String),
}

impl From<candle_core::Error> for StageError {
    fn from(error: candle_core::Error) -> Self {
        Self::Failed(error.to_string())
    }
}
