//! The reasons why a PyTorch file cannot be read.

use std::io;

use thiserror::Error;

/// Why a PyTorch file could not be read.
#[derive(Debug, Error)]
pub(in crate::models) enum Problem {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("the zip archive is damaged: {0}")]
    Zip(#[from] zip::result::ZipError),
    #[error("byte {at} of the pickle: {problem}")]
    Pickle { at: u64, problem: String },
    #[error("{0}")]
    Format(String),
}

impl Problem {
    /// Whether the file could not be read at all.
    pub(in crate::models) fn is_io(&self) -> bool {
        matches!(self, Self::Io(_))
    }

    pub(super) fn format<T>(problem: impl Into<String>) -> Result<T, Self> {
        Err(Self::Format(problem.into()))
    }
}
