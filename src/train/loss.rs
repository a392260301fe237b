//! The loss that the training loop minimizes: a function of a flat vector of values, with its gradient.
//!
//! A loss can wrap another one and evaluate it elsewhere: at a point of a curve, with a mask, at the worst point
//! nearby.

use candle_core::backprop::GradStore;
use candle_core::{DType, Device, Tensor, Var};

use super::{Objective, Step, Term, TrainError};
use crate::models::Weights;
use crate::nn::{Mode, Network};

/// A loss of a flat vector of values.
pub trait Loss {
    /// The device of its images.
    fn device(&self) -> &Device;

    /// The loss of a batch: images (B, height, width, channels) in [0, 1] and B labels.
    ///
    /// # Errors
    ///
    /// Tensors that do not match.
    fn slope(&mut self, at: &Point<'_>, images: &Tensor, labels: &[u32]) -> Result<Slope, TrainError>;

    /// The network whose weights the values are, if any; `None` by default.
    fn network(&self, _trainable: &[f32], _state: &[f32]) -> Option<(&Network, Weights)> {
        None
    }

    /// Projects the values onto the allowed ones after a step of the optimizer. By default, all are allowed.
    fn project(&self, _trainable: &mut [f32]) {}
}

/// The state of a training before a step.
#[derive(Clone, Copy, Debug)]
pub struct Point<'a> {
    /// The trainable values.
    pub trainable: &'a [f32],
    /// Running statistics.
    pub state: &'a [f32],
    /// Finished epochs.
    pub epoch: usize,
    /// Finished steps of this epoch.
    pub step: usize,
}

impl<'a> Point<'a> {
    /// The same state with other values.
    pub fn moved_to(self, trainable: &'a [f32]) -> Self {
        Self { trainable, ..self }
    }
}

/// A loss at a point.
#[derive(Clone, Debug)]
pub struct Slope {
    /// Its terms: names and values; the loss is their sum.
    pub terms: Vec<(&'static str, f64)>,
    /// Its gradient with respect to the trainable values.
    pub gradient: Vec<f32>,
    /// Running statistics after the batch, if they changed.
    pub state: Option<Vec<f32>>,
}

/// A network's objective as a function of the network's weights, followed by the objective's own parameters.
pub struct Supervised<'a> {
    /// The network, in training mode.
    pub network: &'a Network,
    /// The objective of its training.
    pub objective: &'a mut dyn Objective,
}

impl Loss for Supervised<'_> {
    fn device(&self) -> &Device {
        self.network.device()
    }

    fn slope(&mut self, at: &Point<'_>, images: &Tensor, labels: &[u32]) -> Result<Slope, TrainError> {
        let (theta, own) = at.trainable.split_at(self.network.graph().theta_len());
        let device = self.network.device();
        let theta = Var::from_slice(theta, theta.len(), device)?;
        let own = Var::from_slice(own, own.len(), device)?;
        let state = Tensor::from_slice(at.state, at.state.len(), device)?;

        let forward = self.network.forward(&theta, &state, images, Mode::Train)?;
        let terms = self.objective.terms(&Step { images, labels, forward: &forward, parameters: &own })?;
        let grads = sum(&terms, device)?.backward()?;
        let gradient = [gradient(&grads, &theta)?, gradient(&grads, &own)?].concat();
        let value = |(name, term): &Term| Ok((*name, scalar(term)?));
        let terms = terms.iter().map(value).collect::<candle_core::Result<_>>()?;
        let state = forward.state.map(|state| state.to_vec1()).transpose()?;
        Ok(Slope { terms, gradient, state })
    }

    fn network(&self, trainable: &[f32], state: &[f32]) -> Option<(&Network, Weights)> {
        let theta = trainable[..self.network.graph().theta_len()].to_vec();
        Some((self.network, Weights { theta, state: state.to_vec() }))
    }

    fn project(&self, trainable: &mut [f32]) {
        self.objective.project(trainable);
    }
}

fn sum(terms: &[Term], device: &Device) -> candle_core::Result<Tensor> {
    let zero = Tensor::zeros((), DType::F32, device)?;
    terms.iter().try_fold(zero, |sum, (_, term)| sum + term)
}

fn scalar(tensor: &Tensor) -> candle_core::Result<f64> {
    tensor.to_dtype(DType::F64)?.to_scalar()
}

/// The gradient of a flat variable; zeros if the loss does not depend on it.
fn gradient(grads: &GradStore, variable: &Var) -> candle_core::Result<Vec<f32>> {
    match grads.get(variable) {
        Some(gradient) => gradient.to_vec1(),
        None => Ok(vec![0.0; variable.elem_count()]),
    }
}
