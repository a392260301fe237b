//! Why an attack failed.

use thiserror::Error;

use crate::data::DataError;
use crate::train::TrainError;

/// Why an attack failed.
#[derive(Debug, Error)]
pub enum AttackError {
    /// The trigger does not fit the images, or there are too few of them.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The model could not be used, or the attack was stopped.
    #[error(transparent)]
    Train(#[from] TrainError),
}

impl From<candle_core::Error> for AttackError {
    fn from(error: candle_core::Error) -> Self {
        Self::Train(error.into())
    }
}
