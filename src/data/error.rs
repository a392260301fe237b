//! Why data could not be read, written or used.

use std::path::{Path, PathBuf};

use miette::Diagnostic;
use thiserror::Error;

use crate::files::tensors::{TensorError, TensorProblem};

/// Why data could not be read, written or used.
#[derive(Debug, Diagnostic, Error)]
pub enum DataError {
    /// A file or folder is missing.
    #[error("{}: not found", path.display())]
    Missing {
        /// The path.
        path: PathBuf,
        /// What to do.
        #[help]
        hint: String,
    },
    /// A file could not be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The path.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// The content of a file does not match its format.
    #[error("{}{}: {problem}", path.display(), at(*offset))]
    Damaged {
        /// The path.
        path: PathBuf,
        /// Byte offset of the fault, if it is known.
        offset: Option<u64>,
        /// What is wrong, and what to do.
        problem: String,
    },
    /// Parts do not match.
    #[error("{0}")]
    Mismatch(String),
    /// Parts do not match, and there is a remedy.
    #[error("{problem}")]
    Unfit {
        /// What does not match.
        problem: String,
        /// What to do.
        #[help]
        help: String,
    },
}

/// An error in a parameter that its schema cannot find.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidParam {
    /// The name of the parameter.
    pub field: &'static str,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub help: Option<String>,
}

impl InvalidParam {
    /// Reports that `field` is wrong, and why.
    pub fn new(field: &'static str, message: impl Into<String>) -> Self {
        Self { field, message: message.into(), help: None }
    }

    /// Adds what to do.
    pub fn with_help(self, help: impl Into<String>) -> Self {
        Self { help: Some(help.into()), ..self }
    }
}

impl DataError {
    /// Parts that do not match, and what to do.
    pub(crate) fn unfit(problem: impl Into<String>, help: impl Into<String>) -> Self {
        Self::Unfit { problem: problem.into(), help: help.into() }
    }

    /// A fault in the content of `path`, at a byte offset if it is known.
    pub(crate) fn damaged(path: &Path, offset: impl Into<Option<u64>>, problem: impl Into<String>) -> Self {
        Self::Damaged { path: path.to_owned(), offset: offset.into(), problem: problem.into() }
    }

    /// Adds the path to an I/O error.
    pub(crate) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Io { path: path.to_owned(), source }
    }

    /// Like [`DataError::io`], with a hint for a missing file.
    pub(crate) fn open(path: &Path, hint: &str) -> impl FnOnce(std::io::Error) -> Self {
        move |source| match source.kind() {
            std::io::ErrorKind::NotFound => Self::Missing { path: path.to_owned(), hint: hint.to_owned() },
            _ => Self::Io { path: path.to_owned(), source },
        }
    }
}

impl From<TensorError> for DataError {
    fn from(TensorError { path, offset, problem }: TensorError) -> Self {
        match problem {
            TensorProblem::Io(source) => Self::Io { path, source },
            TensorProblem::Content(problem) => Self::Damaged { path, offset, problem },
        }
    }
}

fn at(offset: Option<u64>) -> String {
    offset.map(|offset| format!(", byte {offset}")).unwrap_or_default()
}
