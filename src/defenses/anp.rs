//! Adversarial neuron pruning (Wu and Wang 2021): prunes the channels whose small perturbation raises the loss of
//! clean images.
//!
//! Each batch norm channel has a mask m in [0, 1] on its scale, and a perturbation (d, x) of its scale and shift: y =
//! gamma (m + d) xhat + beta (1 + x). The masks minimize alpha L(m, 0) + (1 - alpha) max over (d, x) of L(m, d, x),
//! with L the cross entropy of clean images. Then gamma is set to 0 where m is at most the threshold.

use std::sync::Arc;

use candle_core::{Device, Tensor};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::held_out::accuracy;
use super::{Case, Defense, Erased};
use crate::data::{Augment, Images, Samples, TrainView};
use crate::models::Weights;
use crate::nn::graph::{Graph, Op};
use crate::rng::stream;
use crate::train::{
    CrossEntropy, Loss, Point, Progress, Quiet, Schedule, Settings, Sgd, Slope, Supervised, TrainError, Unit,
    Values, descend,
};

/// Adversarial neuron pruning: prunes sensitive channels, without fine-tuning. It does not use a teacher.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Anp {
    /// The threshold: channels whose mask is at most this value are pruned. If null, held-out images choose it.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub threshold: Option<f64>,
    /// The fraction of the clean images that choose the threshold if it is null. The masks are trained on the others.
    #[schemars(extend("exclusiveMinimum" = 0.0, "exclusiveMaximum" = 1.0))]
    pub held_out: f64,
    /// The largest loss of held-out accuracy by pruning if `threshold` is null, as a fraction of the accuracy before.
    /// Thresholds of 0, 0.05, ... 0.95 are tried in this order, and the last one before a larger loss is used.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub max_drop: f64,
    /// The size of the perturbations, epsilon: half the width of the range of their random start, and the total length
    /// of their steps.
    #[schemars(range(min = 0.0))]
    pub epsilon: f64,
    /// The number of steps of a perturbation, each along the sign of the gradient.
    #[schemars(range(min = 1, max = 1000))]
    pub noise_steps: usize,
    /// The weight of the loss without perturbation, alpha. The loss with it has the weight 1 - alpha.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub alpha: f64,
    /// The number of steps of the masks' optimizer, rounded up to whole passes over the images. Each computes
    /// `noise_steps` + 2 gradients.
    #[schemars(range(min = 1, max = 10_000_000))]
    pub iterations: usize,
    /// The number of images in one step.
    #[schemars(range(min = 1, max = 65_536))]
    pub batch: usize,
    /// The learning rate of the masks.
    #[schemars(range(min = 0.0))]
    pub lr: f64,
    /// The momentum of the masks.
    #[schemars(range(min = 0.0), extend("exclusiveMaximum" = 1.0))]
    pub momentum: f64,
    /// The augmentation of images.
    pub augment: Augment,
}

impl Default for Anp {
    fn default() -> Self {
        Self {
            threshold: Some(0.2),
            held_out: 0.2,
            max_drop: 0.1,
            epsilon: 0.4,
            noise_steps: 1,
            alpha: 0.2,
            iterations: 2000,
            batch: 128,
            lr: 0.2,
            momentum: 0.9,
            augment: Augment::CROP_AND_FLIP,
        }
    }
}

impl Defense for Anp {
    fn erase(&self, case: Case<'_>) -> Result<Erased, TrainError> {
        let channels = channels(case.network.graph());
        let (mask, threshold) = match self.threshold {
            Some(threshold) => (self.masks(&case, &channels, &case.samples)?, Some(threshold)),
            None => {
                let (samples, held_out) = case.hold_out(self.held_out)?;
                let mask = self.masks(&case, &channels, &samples)?;
                let threshold = self.choose(&case, &channels, &mask, &held_out)?;
                (mask, threshold)
            }
        };
        let pruned = threshold.map_or(0, |threshold| below(&mask, threshold).count());
        case.session.observer.note(&format!("pruned {pruned} of {} channels", mask.len()));
        let weights = prune(case.student, &channels, &mask, threshold);
        let counts = [("pruned", json!(pruned)), ("channels", json!(mask.len()))];
        let threshold = threshold.map(|threshold| ("threshold", json!(threshold)));
        let metrics = counts.into_iter().chain(threshold).map(|(name, value)| (name.to_owned(), value));
        Ok(Erased { metrics: metrics.collect(), ..Erased::from(weights) })
    }
}

impl Anp {
    /// Trains the masks.
    fn masks(
        &self,
        case: &Case<'_>,
        channels: &[Channel],
        samples: &Arc<TrainView>,
    ) -> Result<Vec<f32>, TrainError> {
        let start = Values { trainable: vec![1.0; channels.len()], state: case.student.state.clone() };
        let mut loss = Masked {
            plain: Supervised { network: case.network, objective: &mut CrossEntropy },
            theta: &case.student.theta,
            channels,
            seed: case.session.seed,
            anp: self,
        };
        let settings = self.settings(samples.len());
        Ok(descend(&mut loss, start, Arc::clone(samples), &settings, case.session)?.trainable)
    }

    /// Chooses a threshold with the held-out images; `None` if every threshold costs too much accuracy.
    fn choose(
        &self,
        case: &Case<'_>,
        channels: &[Channel],
        mask: &[f32],
        held_out: &Images,
    ) -> Result<Option<f64>, TrainError> {
        let observer = case.session.observer;
        let at = |threshold: Option<f64>| {
            let weights = prune(case.student.clone(), channels, mask, threshold);
            // The batches of a threshold are not worth a line.
            accuracy(case.network, &weights, held_out, &Quiet(observer))
        };
        let enough = at(None)? * (1.0 - self.max_drop);
        let mut tried = 0;
        highest(enough, |threshold| {
            tried += 1;
            observer.progress(&Progress::of_steps(Unit::Threshold, tried, THRESHOLDS));
            let accuracy = at(Some(threshold))?;
            observer.note(&format!("threshold {threshold:.2}: held-out accuracy {:.2}", 100.0 * accuracy));
            Ok(accuracy)
        })
    }

    fn settings(&self, images: usize) -> Settings {
        let &Self { iterations, batch, augment, .. } = self;
        let sgd = Sgd::plain(self.momentum, 0.0);
        let epochs = iterations.div_ceil(images.div_ceil(batch));
        Settings { epochs, batch, schedule: Schedule::steps(&[(0, self.lr)]), sgd, augment, shuffle: true }
    }
}

/// The number of thresholds that held-out images choose from.
const THRESHOLDS: usize = 20;

/// The last of the thresholds 0, 0.05, ... 0.95 before one whose accuracy is too low; `None` if the first one's is.
fn highest(
    enough: f64,
    mut accuracy: impl FnMut(f64) -> Result<f64, TrainError>,
) -> Result<Option<f64>, TrainError> {
    let mut chosen = None;
    for threshold in (0..THRESHOLDS).map(|k| k as f64 / THRESHOLDS as f64) {
        if accuracy(threshold)? < enough {
            break;
        }
        chosen = Some(threshold);
    }
    Ok(chosen)
}

/// The channels whose mask is at most `threshold`.
fn below(mask: &[f32], threshold: f64) -> impl Iterator<Item = usize> + '_ {
    (0..mask.len()).filter(move |&channel| f64::from(mask[channel]) <= threshold)
}

/// Sets the scale of the channels below a threshold to 0, if there is a threshold.
fn prune(mut weights: Weights, channels: &[Channel], mask: &[f32], threshold: Option<f64>) -> Weights {
    let pruned = threshold.into_iter().flat_map(|threshold| below(mask, threshold));
    pruned.for_each(|channel| weights.theta[channels[channel].scale] = 0.0);
    weights
}

/// The positions of a batch norm channel's scale and shift in theta.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Channel {
    scale: usize,
    shift: usize,
}

/// The channels of all batch norms.
fn channels(graph: &Graph) -> Vec<Channel> {
    let norms = graph.nodes.iter().filter_map(|node| match node.op {
        Op::BatchNorm { weight, bias, .. } => Some((graph.theta[weight].range(), graph.theta[bias].range())),
        _ => None,
    });
    norms
        .flat_map(|(scales, shifts)| scales.zip(shifts).map(|(scale, shift)| Channel { scale, shift }))
        .collect()
}

/// A perturbation of each channel: d of its scale, x of its shift.
type Noise = Vec<[f32; 2]>;

/// The loss of the masks.
struct Masked<'a> {
    plain: Supervised<'a>,
    theta: &'a [f32],
    channels: &'a [Channel],
    seed: u64,
    anp: &'a Anp,
}

impl Loss for Masked<'_> {
    fn device(&self) -> &Device {
        self.plain.device()
    }

    fn slope(&mut self, at: &Point<'_>, images: &Tensor, labels: &[u32]) -> Result<Slope, TrainError> {
        let undisturbed = vec![[0.0; 2]; self.channels.len()];
        let clean = self.under(at, &undisturbed, images, labels)?;
        let mut noise = self.draw(at);
        for _ in 0..self.anp.noise_steps {
            let gradient = self.under(at, &noise, images, labels)?.gradient;
            self.climb(&mut noise, &gradient);
        }
        let robust = self.under(at, &noise, images, labels)?;

        let alpha = self.anp.alpha;
        let value = |slope: &Slope| slope.terms.iter().map(|(_, value)| value).sum::<f64>();
        let terms = vec![("clean", alpha * value(&clean)), ("disturbed", (1.0 - alpha) * value(&robust))];
        let slope = |channel: &Channel| {
            let of = |slope: &Slope| f64::from(slope.gradient[channel.scale]);
            let mixed = alpha * of(&clean) + (1.0 - alpha) * of(&robust);
            (mixed * f64::from(self.theta[channel.scale])) as f32
        };
        Ok(Slope { terms, gradient: self.channels.iter().map(slope).collect(), state: None })
    }

    fn project(&self, mask: &mut [f32]) {
        mask.iter_mut().for_each(|m| *m = m.clamp(0.0, 1.0));
    }
}

impl Masked<'_> {
    /// The network's loss, and its gradient with respect to theta, with the masks and a perturbation.
    fn under(
        &mut self,
        at: &Point<'_>,
        noise: &[[f32; 2]],
        images: &Tensor,
        labels: &[u32],
    ) -> Result<Slope, TrainError> {
        let mut theta = self.theta.to_vec();
        for ((channel, mask), [d, x]) in self.channels.iter().zip(at.trainable).zip(noise) {
            theta[channel.scale] *= mask + d;
            theta[channel.shift] *= 1.0 + x;
        }
        self.plain.slope(&at.moved_to(&theta), images, labels)
    }

    /// The random start of the perturbation of this step.
    fn draw(&self, at: &Point<'_>) -> Noise {
        let mut stream = stream(self.seed, "anp noise", at.epoch as u64, at.step as u64);
        let epsilon = self.anp.epsilon as f32;
        let mut draw = || stream.between(-epsilon, epsilon);
        self.channels.iter().map(|_| [draw(), draw()]).collect()
    }

    /// One step along the sign of the loss's gradient with respect to the perturbation.
    fn climb(&self, noise: &mut Noise, gradient: &[f32]) {
        let step = (self.anp.epsilon / self.anp.noise_steps as f64) as f32;
        for (Channel { scale, shift }, noise) in self.channels.iter().zip(noise) {
            for (value, place) in noise.iter_mut().zip([*scale, *shift]) {
                let slope = gradient[place] * self.theta[place];
                *value += if slope == 0.0 { 0.0 } else { step.copysign(slope) };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use candle_core::DType;

    use super::super::tests::Bench;
    use super::*;
    use crate::nn::finite_differences::slope as slope_of;
    use crate::nn::loss::cross_entropy;
    use crate::nn::{Backend, Mode, Network};

    fn images() -> (Tensor, Vec<u32>) {
        let pixels: Vec<f32> = (0..4 * 192).map(|i| 0.5 + 0.5 * (i as f32 * 0.37).sin()).collect();
        (Tensor::from_vec(pixels, (4, 8, 8, 3), &Device::Cpu).unwrap(), vec![0, 1, 2, 1])
    }

    /// The loss of masks and its gradient, with a fixed random perturbation of half an epsilon and no further steps.
    fn slope(bench: &Bench, anp: &Anp, mask: &[f32]) -> Slope {
        let case = bench.case();
        let channels = channels(case.network.graph());
        let plain = Supervised { network: case.network, objective: &mut CrossEntropy };
        let mut masked = Masked { plain, theta: &case.student.theta, channels: &channels, seed: 1, anp };
        let (images, labels) = images();
        let at = Point { trainable: mask, state: &case.student.state, epoch: 0, step: 0 };
        masked.slope(&at, &images, &labels).unwrap()
    }

    #[test]
    fn every_batch_norm_channel_is_found_once() {
        let bench = Bench::new();
        let graph = bench.network.graph();
        let found = channels(graph);
        assert_eq!(2 * found.len(), graph.state_len());
        let scale = |slot: &crate::nn::graph::Slot| slot.name.contains("bn") && slot.name.ends_with("weight");
        let scales: usize = graph.theta.iter().filter(|slot| scale(slot)).map(|slot| slot.len()).sum();
        assert_eq!(found.len(), scales);
    }

    #[test]
    fn the_masks_gradient_agrees_with_finite_differences() {
        let bench = Bench::new();
        // Without steps, because the sign of the gradient jumps.
        let anp = Anp { alpha: 0.3, noise_steps: 0, ..Anp::default() };
        let count = channels(bench.network.graph()).len();
        let mask: Vec<f32> = (0..count).map(|c| 0.6 + 0.3 * (c as f32).sin()).collect();
        let gradient = slope(&bench, &anp, &mask).gradient;
        let norm = gradient.iter().map(|&g| f64::from(g).powi(2)).sum::<f64>();
        let along = |by: f64| {
            let mask: Vec<f32> =
                mask.iter().zip(&gradient).map(|(m, g)| m + (by * f64::from(*g)) as f32).collect();
            slope(&bench, &anp, &mask).terms.iter().map(|(_, value)| value).sum::<f64>()
        };
        // Along the gradient, the slope of the loss is the squared norm.
        let by = 1e-3 / norm.sqrt();
        let found = (along(by) - along(-by)) / (2.0 * by);
        assert!((found / norm - 1.0).abs() < 0.02, "{found} instead of {norm}");
    }

    #[test]
    fn climbing_raises_the_disturbed_loss() {
        let bench = Bench::new();
        let mask = vec![1.0; channels(bench.network.graph()).len()];
        let disturbed = |epsilon: f64, noise_steps: usize| {
            let anp = Anp { epsilon, noise_steps, alpha: 0.0, ..Anp::default() };
            slope(&bench, &anp, &mask).terms[1].1
        };
        let clean = disturbed(0.0, 1);
        assert!(disturbed(0.4, 1) > clean && disturbed(0.4, 4) > clean);
    }

    #[test]
    fn climbing_follows_the_slopes_along_each_scale_and_each_shift() {
        let bench = Bench::new();
        let channels = channels(bench.network.graph());
        // Scales and shifts of both signs: the slope along a perturbation has the sign of the slope along theta only
        // where theta is positive.
        let mut theta = bench.student.theta.clone();
        for (c, channel) in channels.iter().enumerate() {
            theta[channel.scale] = if c % 2 == 0 { 0.8 } else { -1.1 };
            theta[channel.shift] = if c % 3 == 0 { 0.4 } else { -0.3 };
        }
        let wave = |scale: f32, c: usize| scale * (c as f32).sin();
        let mask: Vec<f32> = (0..channels.len()).map(|c| 0.6 + wave(0.3, c)).collect();
        let noise: Noise = (0..channels.len()).map(|c| [wave(0.1, c + 1), wave(-0.2, c + 2)]).collect();
        let (images, labels) = images();
        let state = &bench.student.state;

        let mut moved = noise.clone();
        let anp = Anp { epsilon: 0.4, noise_steps: 4, ..Anp::default() };
        let plain = Supervised { network: &bench.network, objective: &mut CrossEntropy };
        let mut masked = Masked { plain, theta: &theta, channels: &channels, seed: 1, anp: &anp };
        let at = Point { trainable: &mask, state, epoch: 0, step: 0 };
        let gradient = masked.under(&at, &noise, &images, &labels).unwrap().gradient;
        masked.climb(&mut moved, &gradient);

        let network = Network::new(bench.network.graph().clone(), &Backend::candle()).unwrap();
        let wide = |values: &[f32]| values.iter().copied().map(f64::from).collect::<Vec<_>>();
        let tensor = |values: Vec<f64>| Tensor::new(values, &Device::Cpu).unwrap();
        let (state, images) = (tensor(wide(state)), images.to_dtype(DType::F64).unwrap());
        let disturbed = |noise: &Tensor| {
            let (noise, mut theta) = (noise.to_vec2::<f64>().unwrap(), wide(&theta));
            for ((channel, mask), noise) in channels.iter().zip(wide(&mask)).zip(noise) {
                theta[channel.scale] *= mask + noise[0];
                theta[channel.shift] *= 1.0 + noise[1];
            }
            let forward = network.forward(&tensor(theta), &state, &images, Mode::Train).unwrap();
            cross_entropy(&forward.logits, &labels).unwrap()
        };
        let flat = tensor(wide(noise.as_flattened())).reshape((channels.len(), 2)).unwrap();
        let mut compared = [0, 0];
        for c in (0..channels.len()).step_by(5) {
            for which in [0, 1] {
                let slope = slope_of(&flat, 2 * c + which, disturbed);
                // Where the loss is this flat, f32 may give the wrong sign.
                if slope.abs() > 1e-5 {
                    let step = f64::from(moved[c][which]) - f64::from(noise[c][which]);
                    assert!((step - 0.1f64.copysign(slope)).abs() < 1e-6, "{c} {which}: {step} for {slope}");
                    compared[which] += 1;
                }
            }
        }
        assert!(compared.iter().all(|&count| count > 20), "{compared:?}");
    }

    #[test]
    fn channels_at_or_below_the_threshold_lose_their_scale() {
        let bench = Bench::new();
        let with = |threshold: f64| {
            let with = json!({"method": "anp", "threshold": threshold, "iterations": 3, "batch": 8});
            bench.erase(with).unwrap()
        };
        let channels = channels(bench.network.graph());
        let all = with(1.0);
        assert_eq!(
            (&all.metrics["pruned"], &all.metrics["channels"]),
            (&json!(channels.len()), &json!(channels.len()))
        );
        assert!(channels.iter().all(|channel| all.weights.theta[channel.scale] == 0.0));
        assert!(
            channels
                .iter()
                .all(|channel| { all.weights.theta[channel.shift] == bench.student.theta[channel.shift] })
        );
        // Three steps do not move a mask from 1 to 0.
        let none = with(0.0);
        assert_eq!(none.weights, bench.student);
    }

    #[test]
    fn the_highest_threshold_before_the_accuracy_falls_is_chosen() {
        let steps = |falls_at: f64| move |threshold: f64| Ok(if threshold < falls_at { 0.9 } else { 0.5 });
        assert_eq!(highest(0.8, steps(0.31)).unwrap(), Some(0.3));
        assert_eq!(highest(0.8, steps(2.0)).unwrap(), Some(0.95));
        assert_eq!(highest(0.8, steps(0.0)).unwrap(), None);

        let bench = Bench::new();
        let with = |max_drop: f64| {
            let with = json!({"method": "anp", "threshold": null, "max_drop": max_drop, "iterations": 3});
            bench.erase(with).unwrap()
        };
        assert_eq!(with(1.0).metrics["threshold"], json!(0.95));
    }

    #[test]
    fn iterations_are_rounded_up_to_passes() {
        let epochs = |images| Anp { iterations: 100, ..Anp::default() }.settings(images).epochs;
        assert_eq!([epochs(10), epochs(128), epochs(300)], [100, 100, 34]);
    }
}
