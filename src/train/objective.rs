//! The objective of a training: the terms of a loss, as differentiable expressions.

use candle_core::{Result, Tensor};

use crate::nn::Forward;
use crate::nn::loss::cross_entropy;

/// A weighted term of a loss: its name and its value, a scalar; the loss is the sum of its terms.
pub type Term = (&'static str, Tensor);

/// The objective of a training.
pub trait Objective {
    /// The initial values of more parameters to train with the network's; none by default.
    fn parameters(&self) -> Vec<f32> {
        vec![]
    }

    /// The terms of the loss for a batch, always the same ones in the same order. The loss is their sum.
    ///
    /// # Errors
    ///
    /// Tensors that do not match.
    fn terms(&mut self, step: &Step<'_>) -> Result<Vec<Term>>;

    /// Projects the network's trainable values, and the objective's own after them, onto the allowed ones after a step
    /// of the optimizer. By default, all are allowed.
    fn project(&self, _trainable: &mut [f32]) {}
}

/// The inputs of an [`Objective`] for a batch.
pub struct Step<'a> {
    /// (B, height, width, channels) in [0, 1].
    pub images: &'a Tensor,
    /// B labels.
    pub labels: &'a [u32],
    /// The network's outputs for the images, in training mode.
    pub forward: &'a Forward,
    /// The current values of [`Objective::parameters`].
    pub parameters: &'a Tensor,
}

/// Cross entropy with the labels: the objective of training and fine-tuning.
#[derive(Clone, Copy, Debug, Default)]
pub struct CrossEntropy;

impl Objective for CrossEntropy {
    fn terms(&mut self, step: &Step<'_>) -> Result<Vec<Term>> {
        Ok(vec![("ce", cross_entropy(&step.forward.logits, step.labels)?)])
    }
}
