//! Why data could not be read, written or used.

use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::files::tensors::{TensorError, TensorProblem};

/// Why data could not be read, written or used; the message says what, where and what to do.
#[derive(Debug, Error)]
pub enum DataError {
    /// A file or folder is not there.
    #[error("{}: not found; {hint}", path.display())]
    Missing {
        /// Which.
        path: PathBuf,
        /// What to do.
        hint: String,
    },
    /// A file could not be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file's content is not what its format demands.
    #[error("{}{}: {problem}", path.display(), at(*offset))]
    Damaged {
        /// Which.
        path: PathBuf,
        /// Byte offset of the fault, where the format makes it known.
        offset: Option<u64>,
        /// What is wrong, and what to do.
        problem: String,
    },
    /// The parts do not fit together.
    #[error("{0}")]
    Mismatch(String),
}

/// What is wrong with one parameter, beyond what its schema says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidParam {
    /// The parameter's name.
    pub field: &'static str,
    /// What is wrong, and what to do.
    pub message: String,
}

impl InvalidParam {
    /// Says that `field` is wrong, and why.
    pub fn new(field: &'static str, message: impl Into<String>) -> Self {
        Self { field, message: message.into() }
    }
}

impl DataError {
    /// A fault in the content of `path`, at a byte offset if there is one to name.
    pub(crate) fn damaged(path: &Path, offset: impl Into<Option<u64>>, problem: impl Into<String>) -> Self {
        Self::Damaged { path: path.to_owned(), offset: offset.into(), problem: problem.into() }
    }

    /// Wraps an I/O error with the file that it concerns.
    pub(crate) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Io { path: path.to_owned(), source }
    }

    /// Like [`DataError::io`], but a missing file is told with a hint.
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
