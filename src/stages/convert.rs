//! Converts the errors of data and attacks into stage errors.

use super::{ParamError, StageError};
use crate::attacks::AttackError;
use crate::data::{DataError, InvalidParam};
use crate::files::tensors::TensorError;

impl From<DataError> for StageError {
    fn from(error: DataError) -> Self {
        match error {
            DataError::Missing { path, hint } => Self::InputMissing { path, hint },
            DataError::Io { path, source } => Self::Io { path, source },
            DataError::Unfit { problem, help } => Self::Unfit { problem, help },
            other => Self::Failed(other.to_string()),
        }
    }
}

impl From<TensorError> for StageError {
    fn from(error: TensorError) -> Self {
        DataError::from(error).into()
    }
}

impl From<AttackError> for StageError {
    fn from(error: AttackError) -> Self {
        match error {
            AttackError::Data(error) => error.into(),
            AttackError::Train(error) => error.into(),
        }
    }
}

impl From<InvalidParam> for ParamError {
    fn from(invalid: InvalidParam) -> Self {
        let InvalidParam { field, message, help } = invalid;
        Self { path: vec![field.to_owned()], message, help }
    }
}
