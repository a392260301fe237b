//! Errors of training and testing.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

/// Errors of training and testing.
#[derive(Debug, Error)]
pub enum TrainError {
    /// The work was stopped; a training has written a checkpoint.
    #[error("stopped; run the same command again to resume from the checkpoint")]
    Stopped,
    /// The loss or the parameters are no longer finite.
    #[error(
        "{what} is not finite in epoch {epoch}, batch {batch}, at learning rate {lr}; \
         lower the learning rate or the weights of the loss terms"
    )]
    Diverged {
        /// The loss with its terms, or the parameters.
        what: String,
        /// Counted from 1, as progress shows it.
        epoch: usize,
        /// Counted from 1.
        batch: usize,
        /// The learning rate of this epoch.
        lr: f32,
    },
    /// A model whose outputs are not finite cannot be tested.
    #[error(
        "the model's output for image {image} is not finite; its training diverged: lower the learning rate"
    )]
    NotFinite {
        /// The position of the first such image.
        image: usize,
    },
    /// Network, weights and images do not match.
    #[error("{0}")]
    Mismatch(String),
    /// A checkpoint could not be written.
    #[error("checkpoint {}: {source}", path.display())]
    Checkpoint {
        /// Its file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// An operation failed.
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),
}
