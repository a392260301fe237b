//! How the errors of data and attacks become a stage's.

use super::{ParamError, StageError};
use crate::data::{DataError, InvalidParam};

impl From<DataError> for StageError {
    fn from(error: DataError) -> Self {
        match error {
            DataError::Missing { path, hint } => Self::InputMissing { path, hint },
            DataError::Io { path, source } => Self::Io { path, source },
            other => Self::Failed(other.to_string()),
        }
    }
}

impl From<InvalidParam> for ParamError {
    fn from(invalid: InvalidParam) -> Self {
        Self { path: vec![invalid.field.to_owned()], message: invalid.message }
    }
}
