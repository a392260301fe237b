//! What the training of a network minimises: terms of a loss, as differentiable expressions.

use candle_core::{Result, Tensor};

use crate::nn::Forward;
use crate::nn::loss::cross_entropy;

/// A weighted term of a loss: its name and its value, a scalar; the loss is the sum of its terms.
pub type Term = (&'static str, Tensor);

/// What the training of a network minimises.
pub trait Objective {
    /// First values of further numbers that are trained beside the network's; none by default.
    fn parameters(&self) -> Vec<f32> {
        vec![]
    }

    /// The terms of the loss for a batch, always the same ones in the same order; their sum is differentiated.
    ///
    /// # Errors
    ///
    /// Tensors that do not fit each other.
    fn terms(&mut self, step: &Step<'_>) -> Result<Vec<Term>>;

    /// Brings the network's trainable values, and its own after them, back to where they may be after a step of
    /// the optimiser; anywhere by default.
    fn project(&self, _trainable: &mut [f32]) {}
}

/// What an [`Objective`] gets to see of a batch.
pub struct Step<'a> {
    /// (B, height, width, channels) in [0, 1].
    pub images: &'a Tensor,
    /// B labels.
    pub labels: &'a [u32],
    /// What the network makes of the images in training mode.
    pub forward: &'a Forward,
    /// The current values of [`Objective::parameters`].
    pub parameters: &'a Tensor,
}

/// Cross entropy with the labels: what training and fine-tuning minimise.
#[derive(Clone, Copy, Debug, Default)]
pub struct CrossEntropy;

impl Objective for CrossEntropy {
    fn terms(&mut self, step: &Step<'_>) -> Result<Vec<Term>> {
        Ok(vec![("ce", cross_entropy(&step.forward.logits, step.labels)?)])
    }
}
