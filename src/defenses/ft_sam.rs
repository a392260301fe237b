//! FT-SAM: fine-tuning with sharpness-aware minimization (Zhu et al. 2023, "Enhancing Fine-Tuning based Backdoor
//! Defense with Sharpness-Aware Minimization").
//!
//! A step uses the gradient at the worst point nearby, w + e. This changes the large weights most, which a backdoor
//! depends on: e = rho T^2 g / ||T g||, with g the gradient at w and T = |w| (adaptive; Kwon et al. 2021) or T = 1.

use std::f64::consts::PI;

use candle_core::{Device, Tensor};
use candle_nn::ops::log_softmax;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Case, Defense, Erased};
use crate::data::Augment;
use crate::models::Weights;
use crate::nn::Network;
use crate::nn::loss::cross_entropy;
use crate::train::{
    Loss, Objective, Point, Schedule, Settings, Sgd, Slope, Step, Supervised, Term, TrainError, Values,
    descend,
};

/// Fine-tuning with sharpness-aware minimization. It does not use a teacher. The defaults are BackdoorBench's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FtSam {
    /// The radius of the neighborhood, rho; 0 is plain fine-tuning.
    #[schemars(range(min = 0.0))]
    pub rho: f64,
    /// Scale the neighborhood with the absolute value of each weight (adaptive).
    pub adaptive: bool,
    /// The label smoothing: the total probability of the other classes in a label.
    #[schemars(range(min = 0.0), extend("exclusiveMaximum" = 1.0))]
    pub label_smoothing: f64,
    /// The number of passes over the images. Each step computes two gradients.
    #[schemars(range(min = 1, max = 100_000))]
    pub epochs: usize,
    /// The number of images in one step; the last step of an epoch may have fewer.
    #[schemars(range(min = 1, max = 65_536))]
    pub batch: usize,
    /// The learning rate of the first epoch. It falls to 0 along half a cosine over the epochs. (BackdoorBench's
    /// cosine depends on steps, and rises again after 100 of them.)
    #[schemars(range(min = 0.0))]
    pub lr: f64,
    /// The momentum of the optimizer.
    #[schemars(range(min = 0.0), extend("exclusiveMaximum" = 1.0))]
    pub momentum: f64,
    /// The weight decay, on every parameter.
    #[schemars(range(min = 0.0))]
    pub weight_decay: f64,
    /// The augmentation of images.
    pub augment: Augment,
}

impl Default for FtSam {
    fn default() -> Self {
        Self {
            rho: 2.0,
            adaptive: true,
            label_smoothing: 0.1,
            epochs: 100,
            batch: 256,
            lr: 0.01,
            momentum: 0.9,
            weight_decay: 5e-4,
            augment: Augment::CROP_AND_FLIP,
        }
    }
}

impl Defense for FtSam {
    fn erase(&self, case: Case<'_>) -> Result<Erased, TrainError> {
        let mut objective = SmoothedCrossEntropy { smoothing: self.label_smoothing };
        let plain = Supervised { network: case.network, objective: &mut objective };
        let mut sharp = Sharp { plain, rho: self.rho, adaptive: self.adaptive };
        let Weights { theta, state } = case.student;
        let start = Values { trainable: theta, state };
        let end = descend(&mut sharp, start, case.samples, &self.settings(), case.session)?;
        Ok(Weights { theta: end.trainable, state: end.state }.into())
    }
}

impl FtSam {
    fn settings(&self) -> Settings {
        let &Self { epochs, batch, lr, augment, .. } = self;
        let cosine = |epoch| lr / 2.0 * (1.0 + libm::cos(PI * epoch as f64 / epochs as f64));
        let sgd = Sgd::plain(self.momentum, self.weight_decay);
        Settings { epochs, batch, schedule: Schedule::by_epoch(epochs, cosine), sgd, augment, shuffle: true }
    }
}

/// Cross entropy with smoothed labels: 1 - s for the class, and s / (K - 1) for each of the other K - 1 classes.
struct SmoothedCrossEntropy {
    smoothing: f64,
}

impl Objective for SmoothedCrossEntropy {
    fn terms(&mut self, step: &Step<'_>) -> candle_core::Result<Vec<Term>> {
        let logits = &step.forward.logits;
        let (batch, classes) = logits.dims2()?;
        let each = self.smoothing / (classes as f64 - 1.0).max(1.0);
        let all = (log_softmax(logits, 1)?.sum_all()? * (-each / batch as f64))?;
        let own = (cross_entropy(logits, step.labels)? * (1.0 - self.smoothing - each))?;
        Ok(vec![("ce", (own + all)?)])
    }
}

/// A loss whose gradient is taken at the worst point nearby; the running statistics are those of the pass at w.
struct Sharp<L> {
    plain: L,
    rho: f64,
    adaptive: bool,
}

impl<L: Loss> Loss for Sharp<L> {
    fn device(&self) -> &Device {
        self.plain.device()
    }

    fn slope(&mut self, at: &Point<'_>, images: &Tensor, labels: &[u32]) -> Result<Slope, TrainError> {
        let here = self.plain.slope(at, images, labels)?;
        let worst = self.worst(at.trainable, &here.gradient);
        let there = self.plain.slope(&at.moved_to(&worst), images, labels)?;
        Ok(Slope { gradient: there.gradient, ..here })
    }

    fn network(&self, trainable: &[f32], state: &[f32]) -> Option<(&Network, Weights)> {
        self.plain.network(trainable, state)
    }
}

impl<L> Sharp<L> {
    /// w + rho T^2 g / ||T g||.
    fn worst(&self, weights: &[f32], gradient: &[f32]) -> Vec<f32> {
        let scale = |w: f32| if self.adaptive { f64::from(w).abs() } else { 1.0 };
        let pairs = || weights.iter().zip(gradient).map(|(&w, &g)| (w, f64::from(g)));
        let norm = pairs().map(|(w, g)| (scale(w) * g).powi(2)).sum::<f64>().sqrt();
        let step = self.rho / (norm + 1e-12);
        pairs().map(|(w, g)| (f64::from(w) + step * scale(w).powi(2) * g) as f32).collect()
    }
}

#[cfg(test)]
mod tests {
    use candle_core::DType;

    use super::*;
    use crate::nn::Forward;
    use crate::nn::finite_differences::assert_gradient;

    /// Half the square of each value, times its position.
    struct Bowl;

    impl Loss for Bowl {
        fn device(&self) -> &Device {
            &Device::Cpu
        }

        fn slope(&mut self, at: &Point<'_>, _: &Tensor, _: &[u32]) -> Result<Slope, TrainError> {
            let gradient = at.trainable.iter().enumerate().map(|(i, w)| w * (i + 1) as f32).collect();
            Ok(Slope { terms: vec![], gradient, state: None })
        }
    }

    fn gradient(adaptive: bool, rho: f64, at: &[f32]) -> Vec<f32> {
        let images = Tensor::zeros((), DType::F32, &Device::Cpu).unwrap();
        let at = Point { trainable: at, state: &[], epoch: 0, step: 0 };
        Sharp { plain: Bowl, rho, adaptive }.slope(&at, &images, &[]).unwrap().gradient
    }

    fn assert_close(found: &[f32], expected: &[f32]) {
        let far = found.iter().zip(expected).any(|(found, expected)| (found - expected).abs() > 1e-5);
        assert!(!far && found.len() == expected.len(), "{found:?} instead of {expected:?}");
    }

    #[test]
    fn the_gradient_is_that_of_the_worst_point() {
        // At (3, 2) the gradient is (3, 4), of norm 5: with radius 5 the worst point is (6, 6).
        assert_close(&gradient(false, 5.0, &[3.0, 2.0]), &[6.0, 12.0]);
        // Adaptive: ||(3 * 3, 2 * 4)|| = sqrt(145), e = 145^-1/2 (9 * 3, 4 * 4) for radius 1.
        let norm = 145f32.sqrt();
        assert_close(&gradient(true, 1.0, &[3.0, 2.0]), &[3.0 + 27.0 / norm, 2.0 * (2.0 + 16.0 / norm)]);
        assert_close(&gradient(true, 0.0, &[3.0, 2.0]), &[3.0, 4.0]);
    }

    #[test]
    fn a_flat_loss_has_no_worst_point() {
        assert_close(&gradient(true, 2.0, &[0.0, 0.0]), &[0.0, 0.0]);
    }

    #[test]
    fn smoothed_labels_share_out_a_part() {
        let logits = Tensor::new(&[[0.5f64, -1.0, 2.0], [1.0, 1.0, 0.0]], &Device::Cpu).unwrap();
        let p = log_softmax(&logits, 1).unwrap().to_vec2::<f64>().unwrap();
        let forward = Forward { logits: logits.clone(), attention: vec![], state: None };
        let step = Step { images: &logits, labels: &[2, 0], forward: &forward, parameters: &logits };
        let found = SmoothedCrossEntropy { smoothing: 0.2 }.terms(&step).unwrap()[0].1.to_scalar::<f64>();
        let expected = -(0.8 * (p[0][2] + p[1][0]) + 0.1 * (p[0][0] + p[0][1] + p[1][1] + p[1][2])) / 2.0;
        assert!((found.unwrap() - expected).abs() < 1e-12);
    }

    #[test]
    fn the_smoothed_losses_gradient_agrees_with_finite_differences() {
        let logits = Tensor::new(&[[0.5f64, -1.0, 2.0, 0.1], [1.0, 1.0, 0.0, -3.0]], &Device::Cpu).unwrap();
        for smoothing in [0.0, 0.1, 0.6] {
            assert_gradient(&logits, 1, |logits| {
                let forward = Forward { logits: logits.clone(), attention: vec![], state: None };
                let step = Step { images: logits, labels: &[2, 0], forward: &forward, parameters: logits };
                SmoothedCrossEntropy { smoothing }.terms(&step).unwrap().remove(0).1
            });
        }
    }

    #[test]
    fn the_learning_rate_falls_along_half_a_cosine() {
        let schedule = FtSam { epochs: 4, ..FtSam::default() }.settings().schedule;
        assert_close(&[0, 2].map(|epoch| schedule.lr(epoch)), &[0.01, 0.005]);
        assert!(schedule.lr(3) < 0.002);
    }
}
