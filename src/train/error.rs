//! Why training or testing ended early.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

/// Why training or testing ended early.
#[derive(Debug, Error)]
pub enum TrainError {
    /// It was asked to stop; training has left a checkpoint.
    #[error("stopped; the same command goes on from the checkpoint")]
    Stopped,
    /// The loss or the parameters are no longer numbers.
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
    /// A model whose outputs are not numbers cannot be tested.
    #[error(
        "the model's output for image {image} is not finite; its training diverged: lower the learning rate"
    )]
    NotFinite {
        /// Position of the first such image.
        image: usize,
    },
    /// Network, weights and images do not belong together.
    #[error("{0}")]
    Mismatch(String),
    /// A checkpoint could not be written.
    #[error("checkpoint {}: {source}", path.display())]
    Checkpoint {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// An operation failed.
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),
}
