//! Reverse engineering of one class's trigger: a mask and a pattern, by gradient descent.

use std::sync::Arc;
use std::time::Instant;

use candle_core::{D, DType, Device, Result, Tensor, Var};
use candle_nn::{AdamW, Optimizer, ParamsAdamW};
use serde::{Deserialize, Serialize};

use super::NeuralCleanse;
use super::cost::Cost;
use crate::data::{Augment, Batch, Batches, Order, Samples, TrainView};
use crate::nn::loss::cross_entropy;
use crate::rng::{Stream, stream};
use crate::shape::Shape;
use crate::train::{Frozen, Progress, Session, TrainError, Unit};

/// The smallest trigger found that moves images to a class.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reversal {
    /// The class.
    pub class: usize,
    /// The weights of the pattern, in [0, 1]: (height, width).
    pub mask: Vec<f32>,
    /// The pattern, in [0, 1]: (height, width, channels).
    pub pattern: Vec<f32>,
    /// The sum of the mask.
    pub norm: f64,
    /// The images that it moves to the class, in percent, over the pass that ended with it.
    pub success: f64,
    /// Whether it moves enough images to the class; if not, it is the last trigger of the search.
    pub converged: bool,
    /// The number of passes of the search.
    pub epochs: usize,
}

impl Reversal {
    /// Stamps the trigger on an image, (height, width, channels).
    pub fn stamp(&self, pixels: &mut [u8]) {
        let channels = self.pattern.len() / self.mask.len().max(1);
        let shares = self.mask.iter().flat_map(|share| std::iter::repeat_n(share, channels));
        for ((pixel, share), value) in pixels.iter_mut().zip(shares).zip(&self.pattern) {
            let from = f32::from(*pixel);
            *pixel = (from + share * (255.0 * value - from)).round() as u8;
        }
    }

    /// The line of the log with the result.
    pub(super) fn summary(&self) -> String {
        let Self { class, norm, success, epochs, .. } = self;
        format!(
            "class {class}: a mask of size {norm:.2} moves {success:.1}% of the images to it, after {epochs} epochs"
        )
    }
}

/// Searches for the smallest trigger of a class.
///
/// After each pass over the images, the cost is updated. The trigger is kept if it is the smallest so far that
/// succeeded on enough images of the pass.
pub(super) fn reverse(
    params: &NeuralCleanse,
    suspect: &Frozen,
    samples: &Arc<TrainView>,
    class: usize,
    session: Session<'_>,
) -> std::result::Result<Reversal, TrainError> {
    let device = suspect.network.device();
    let mut search = Search::new(params, samples.shape(), class, session.seed, device)?;
    let mut cost = Cost::new(params);
    let mut kept = search.found(0.0)?;
    let started = Instant::now();
    for epoch in 1..=params.epochs {
        let Pass { ce, success } = search.pass(suspect, samples, cost.weight, epoch, session)?;
        let found = search.found(success)?;
        let norm = found.norm;
        let converged = cost.after_pass(success, norm);
        if converged || !kept.converged {
            kept = Reversal { converged, ..found };
        }
        kept.epochs = epoch;
        session.observer.progress(&Progress {
            unit: Unit::Class,
            epoch: class,
            epochs: samples.dataset().classes.len(),
            step: epoch,
            steps: params.epochs,
            images_per_second: (epoch * samples.len()) as f64 / started.elapsed().as_secs_f64(),
            terms: vec![("ce".into(), ce), ("norm".into(), norm), ("success".into(), success)],
            tests: vec![],
        });
        if cost.ends() {
            break;
        }
    }
    Ok(kept)
}

/// A mask and a pattern that are being fitted.
struct Search<'a> {
    params: &'a NeuralCleanse,
    class: usize,
    /// The mask before [`unit`], (height, width, 1).
    mask: Var,
    /// The pattern before [`unit`], (height, width, channels).
    pattern: Var,
    adam: AdamW,
}

/// Means over a pass.
struct Pass {
    /// Cross entropy with the class.
    ce: f64,
    /// The images that are moved to the class, in percent.
    success: f64,
}

impl<'a> Search<'a> {
    /// Starts from a random mask and a random pattern.
    fn new(
        params: &'a NeuralCleanse,
        shape: Shape,
        class: usize,
        seed: u64,
        device: &Device,
    ) -> Result<Self> {
        let Shape { height, width, channels } = shape;
        let mut stream = stream(seed, "reverse", 0, class as u64);
        let mask = Var::from_tensor(&random((height, width, 1), &mut stream, device)?)?;
        let pattern = Var::from_tensor(&random((height, width, channels), &mut stream, device)?)?;
        let adam = ParamsAdamW { lr: params.lr, beta1: 0.5, beta2: 0.9, eps: 1e-8, weight_decay: 0.0 };
        let adam = AdamW::new(vec![mask.clone(), pattern.clone()], adam)?;
        Ok(Self { params, class, mask, pattern, adam })
    }

    /// Takes a step for every batch of the images, in the order of this epoch.
    fn pass(
        &mut self,
        suspect: &Frozen,
        samples: &Arc<TrainView>,
        cost: f64,
        epoch: usize,
        session: Session<'_>,
    ) -> std::result::Result<Pass, TrainError> {
        let order =
            Order::Epoch { seed: session.seed, epoch: epoch as u64, shuffle: true, augment: Augment::NONE };
        let (mut ce, mut hits, mut seen) = (0.0, 0, 0);
        for (step, batch) in Batches::new(Arc::clone(samples), self.params.batch, order).enumerate() {
            if session.observer.stopped() {
                return Err(TrainError::Stopped);
            }
            let images = batch.labels.len();
            let (batch_ce, batch_hits) = self.step(suspect, batch, cost)?;
            if !batch_ce.is_finite() {
                let what = format!("the loss of a trigger for class {}", self.class);
                return Err(TrainError::Diverged { what, epoch, batch: step + 1, lr: self.params.lr as f32 });
            }
            (ce, hits, seen) = (ce + batch_ce * images as f64, hits + batch_hits, seen + images);
        }
        Ok(Pass { ce: ce / seen as f64, success: 100.0 * hits as f64 / seen as f64 })
    }

    /// One step of the optimizer. Returns the cross entropy before it, and the number of images that are moved to the
    /// class.
    fn step(&mut self, suspect: &Frozen, batch: Batch, cost: f64) -> Result<(f64, usize)> {
        let images = batch.tensor(suspect.network.device())?;
        let Loss { total, ce, logits } = loss(&self.mask, &self.pattern, &images, suspect, self.class, cost)?;
        self.adam.backward_step(&total)?;
        let found = logits.argmax(D::Minus1)?.to_vec1::<u32>()?;
        let hits = found.iter().filter(|&&class| class as usize == self.class).count();
        Ok((ce.to_dtype(DType::F64)?.to_scalar()?, hits))
    }

    /// The current trigger.
    fn found(&self, success: f64) -> Result<Reversal> {
        let values = |raw: &Var| unit(raw)?.flatten_all()?.to_vec1::<f32>();
        let (mask, pattern) = (values(&self.mask)?, values(&self.pattern)?);
        let norm = mask.iter().map(|&share| f64::from(share)).sum();
        Ok(Reversal { class: self.class, mask, pattern, norm, success, converged: false, epochs: 0 })
    }
}

/// The loss of the search for a batch.
struct Loss {
    /// The cross entropy + cost times the sum of the mask.
    total: Tensor,
    /// The cross entropy of the stamped images with the class.
    ce: Tensor,
    /// The scores of the stamped images.
    logits: Tensor,
}

/// The loss of a mask and a pattern before [`unit`].
fn loss(
    mask: &Tensor,
    pattern: &Tensor,
    images: &Tensor,
    suspect: &Frozen,
    class: usize,
    cost: f64,
) -> Result<Loss> {
    let (mask, pattern) = (unit(mask)?, unit(pattern)?);
    let stamped = blend(images, &mask, &pattern)?;
    let logits = suspect.forward(&stamped)?.logits;
    let ce = cross_entropy(&logits, &vec![class as u32; images.dim(0)?])?;
    let total = (&ce + (mask.sum_all()? * cost)?)?;
    Ok(Loss { total, ce, logits })
}

/// Maps any number into [0, 1]: tanh(x)/2 + 1/2. (The authors divide by 2 - 1e-7, which is 2 in f32.)
fn unit(x: &Tensor) -> Result<Tensor> {
    x.tanh()?.affine(0.5, 0.5)
}

/// Blends the pattern into images (B, height, width, channels): (1 - mask) x + mask pattern.
fn blend(images: &Tensor, mask: &Tensor, pattern: &Tensor) -> Result<Tensor> {
    images.broadcast_mul(&mask.affine(-1.0, 1.0)?)?.broadcast_add(&mask.broadcast_mul(pattern)?)
}

/// Draws a value that [`unit`] maps to a uniform one in [0, 1).
fn random(shape: (usize, usize, usize), stream: &mut Stream, device: &Device) -> Result<Tensor> {
    let count = shape.0 * shape.1 * shape.2;
    // Just inside the interval, so that the value is finite.
    let mut draw = || libm::atanh((2.0 * f64::from(stream.uniform()) - 1.0) * (1.0 - 1e-7)) as f32;
    Tensor::from_vec((0..count).map(|_| draw()).collect(), shape, device)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::Architecture;
    use crate::nn::finite_differences::assert_gradient;
    use crate::nn::{Backend, Network};
    use crate::shape::Shape;

    /// Waves of f64 around a mean.
    fn waves(shape: &[usize], mean: f64) -> Tensor {
        let count = shape.iter().product::<usize>() as u32;
        let values = (0..count).map(|i| mean + 0.4 * (f64::from(i) * 0.37 + f64::from(i / 192)).sin());
        Tensor::from_vec(values.collect::<Vec<_>>(), shape, &Device::Cpu).unwrap()
    }

    #[test]
    fn gradients_of_mask_and_pattern_agree_with_finite_differences() {
        let shape = Shape { height: 8, width: 8, channels: 3 };
        let graph = "wrn-10-1".parse::<Architecture>().unwrap().graph(shape, 3);
        let network = Network::new(graph, &Backend::candle()).unwrap();
        let (theta, state) = network.graph().init(1);
        let wide =
            |values| Tensor::new::<Vec<f32>>(values, &Device::Cpu).unwrap().to_dtype(DType::F64).unwrap();
        let suspect = Frozen { network, theta: wide(theta), state: wide(state) };
        let (mask, pattern) = (waves(&[8, 8, 1], -0.5), waves(&[8, 8, 3], 0.2));
        let images = waves(&[4, 8, 8, 3], 0.5);
        let of = |mask: &Tensor, pattern: &Tensor, cost| {
            loss(mask, pattern, &images, &suspect, 2, cost).unwrap().total
        };
        // Once with a mask that costs next to the cross entropy, once with one that costs far more.
        for cost in [0.01, 1.0] {
            assert_gradient(&mask, 5, |mask| of(mask, &pattern, cost));
            assert_gradient(&pattern, 17, |pattern| of(&mask, pattern, cost));
        }
    }

    #[test]
    fn the_loss_is_the_cross_entropy_and_the_masks_cost() {
        let (network, weights) = super::super::super::tests::backdoored();
        let suspect = Frozen::new(network, &weights).unwrap();
        let narrow = |shape: &[usize], mean| waves(shape, mean).to_dtype(DType::F32).unwrap();
        let (mask, pattern) = (narrow(&[4, 4, 1], -0.5), narrow(&[4, 4, 1], 0.2));
        let images = narrow(&[3, 4, 4, 1], 0.5);
        let Loss { total, ce, .. } = loss(&mask, &pattern, &images, &suspect, 2, 0.25).unwrap();
        let value = |tensor: &Tensor| tensor.to_scalar::<f32>().unwrap();
        let norm = mask.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let norm: f32 = norm.into_iter().map(|raw| raw.tanh() / 2.0 + 0.5).sum();
        assert!((value(&total) - value(&ce) - 0.25 * norm).abs() < 1e-5);
    }

    #[test]
    fn a_stamp_is_the_blend_in_bytes() {
        let shape = (1, 2, 3);
        let reversal = Reversal {
            class: 0,
            mask: vec![0.25, 1.0],
            pattern: vec![1.0, 0.5, 0.0, 0.2, 0.4, 0.6],
            norm: 1.25,
            success: 100.0,
            converged: true,
            epochs: 1,
        };
        let mut pixels = [10, 20, 30, 40, 50, 60];
        let images: Vec<f32> = pixels.iter().map(|&pixel| f32::from(pixel) / 255.0).collect();
        let images = Tensor::from_vec(images, (1, 1, 2, 3), &Device::Cpu).unwrap();
        let mask = Tensor::new(&[[[0.25f32], [1.0]]], &Device::Cpu).unwrap();
        let pattern = Tensor::from_slice(&reversal.pattern, shape, &Device::Cpu).unwrap();
        let blended =
            blend(&images, &mask, &pattern).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
        reversal.stamp(&mut pixels);
        assert_eq!(pixels.to_vec(), blended.iter().map(|x| (255.0 * x).round() as u8).collect::<Vec<_>>());
        assert_eq!(pixels[3..], [51, 102, 153]);
    }

    #[test]
    fn a_random_start_covers_the_interval() {
        let start = unit(&random((20, 20, 3), &mut stream(1, "test", 0, 0), &Device::Cpu).unwrap()).unwrap();
        let values = start.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let mean = values.iter().sum::<f32>() / 1200.0;
        assert!((mean - 0.5).abs() < 0.03 && values.iter().all(|x| (0.0..=1.0).contains(x)), "{mean}");
        assert!(values.iter().any(|&x| x < 0.05) && values.iter().any(|&x| x > 0.95));
    }
}
