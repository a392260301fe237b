//! A network that is not trained: a teacher, or the model of an attack.

use candle_core::{Result, Tensor};

use crate::models::Weights;
use crate::nn::{Forward, Mode, Network};

/// A network with fixed weights.
#[derive(Clone, Debug)]
pub struct Frozen {
    /// Its layers.
    pub network: Network,
    /// All trainable values.
    pub theta: Tensor,
    /// All running statistics.
    pub state: Tensor,
}

impl Frozen {
    /// Freezes a network.
    ///
    /// # Errors
    ///
    /// If there is no memory for the tensors.
    pub fn new(network: Network, weights: &Weights) -> Result<Self> {
        let vector = |values: &[f32]| Tensor::from_slice(values, values.len(), network.device());
        let (theta, state) = (vector(&weights.theta)?, vector(&weights.state)?);
        Ok(Self { network, theta, state })
    }

    /// The network's outputs for `images`, (B, height, width, channels) in [0, 1], in evaluation mode. Only the images
    /// may carry gradient history.
    ///
    /// # Errors
    ///
    /// Images that do not match the network.
    pub fn forward(&self, images: &Tensor) -> Result<Forward> {
        self.network.forward(&self.theta, &self.state, images, Mode::Eval)
    }
}
