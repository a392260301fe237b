//! Fine-Pruning (Liu et al. 2018): prunes the channels that are dormant on clean images, then fine-tunes the rest.
//!
//! It prunes channels of the last stage, at the input of the classifier: the weights of a pruned channel in the linear
//! layer are 0 and stay 0.

use std::ops::Range;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{Case, Defense, Erased, WithTraining};
use crate::data::{Images, InvalidParam};
use crate::methods::Beside;
use crate::models::Weights;
use crate::nn::Network;
use crate::nn::graph::{Graph, Id, Op};
use crate::train::{CrossEntropy, Objective, Observer, Step, Term, TrainError, Training, highest, scores};

/// Fine-Pruning and its training.
pub type FinePruning = WithTraining<Own>;

/// Pruning of dormant channels, then fine-tuning. It does not use a teacher. The defaults are BackdoorBench's, which
/// holds out test images instead of clean training images.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Own {
    /// The largest loss of held-out accuracy by pruning, as a fraction of the accuracy before.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub max_drop: f64,
    /// The number of channels to prune at once, as a fraction of all channels; rounded up.
    #[schemars(range(max = 1.0), extend("exclusiveMinimum" = 0.0))]
    pub prune_step: f64,
    /// The fraction of the clean images that decides how many channels to prune. The others decide which channels are
    /// dormant. The fine-tuning uses all.
    #[schemars(extend("exclusiveMinimum" = 0.0, "exclusiveMaximum" = 1.0))]
    pub held_out: f64,
}

impl Default for Own {
    fn default() -> Self {
        Self { max_drop: 0.1, prune_step: 0.01, held_out: 0.2 }
    }
}

impl Beside<Training> for Own {}

impl Defense for FinePruning {
    fn check(&self) -> Vec<InvalidParam> {
        self.shared.check()
    }

    fn erase(&self, mut case: Case<'_>) -> Result<Erased, TrainError> {
        let head = Head::of(case.network.graph())?;
        let (ranking, held_out) = case.hold_out(self.own.held_out)?;
        let ranking = ranking.to_images().map_err(|error| TrainError::Mismatch(error.to_string()))?;
        let observer = case.session.observer;
        let order = by_activity(&head.activations(case.network, &case.student, &ranking, observer)?);
        let features = head.activations(case.network, &case.student, &held_out, observer)?;
        let at_once = (self.own.prune_step * head.channels as f64).ceil() as usize;
        let count = how_many(order.len(), at_once, self.own.max_drop, |count| {
            let mut theta = case.student.theta.clone();
            head.prune(&order[..count], &mut theta);
            head.accuracy(&theta, &features, held_out.labels())
        });
        let pruned = &order[..count];
        observer.note(&format!("pruned {count} of {} channels", head.channels));
        if count == 0 {
            let advice = "raise `max_drop` or lower `prune_step`";
            observer
                .warn(&format!("pruned 0 of {} channels, so it only fine-tunes; {advice}", head.channels));
        }
        head.prune(pruned, &mut case.student.theta);
        let weights = case.fit(&mut Pruned { head, pruned }, &self.shared)?;
        let metrics = [("pruned".to_owned(), json!(count)), ("channels".to_owned(), json!(order.len()))];
        Ok(Erased { metrics: metrics.into_iter().collect(), ..Erased::from(weights) })
    }
}

/// The network's last layer: a linear one, which reads the last stage's channels, averaged over rows and columns.
#[derive(Clone, Debug)]
struct Head {
    input: Id,
    channels: usize,
    classes: usize,
    /// (channels, classes) in theta.
    weight: Range<usize>,
    bias: Range<usize>,
}

impl Head {
    fn of(graph: &Graph) -> Result<Self, TrainError> {
        let Op::Linear { x: input, weight, bias } = graph.nodes[graph.logits.0].op else {
            return Err(TrainError::Mismatch(
                "fine-pruning needs a network that ends in a linear layer".into(),
            ));
        };
        let (channels, classes) = (graph.shape(input).channels, graph.classes());
        let [weight, bias] = [weight, bias].map(|slot| graph.theta[slot].range());
        Ok(Self { input, channels, classes, weight, bias })
    }

    /// Each image's activation of each channel, as the classifier reads it. It may be negative if the network has no
    /// ReLU before the classifier, as `preactresnet18`.
    ///
    /// They are the scores of the network with the identity as its last layer.
    fn activations(
        &self,
        network: &Network,
        weights: &Weights,
        images: &Images,
        observer: &dyn Observer,
    ) -> Result<Vec<Vec<f32>>, TrainError> {
        let mut graph = network.graph().clone();
        graph.nodes.truncate(graph.logits.0);
        graph.logits = graph.linear("identity", self.input, self.channels);
        let n = self.channels;
        let mut weights = weights.clone();
        weights.theta.extend((0..n * n).map(|i| if i % (n + 1) == 0 { 1.0 } else { 0.0 }));
        weights.theta.extend(vec![0.0; n]);
        scores(&Network::new(graph, network.backend())?, &weights, images, None, observer)
    }

    /// Sets the weights of channels to 0.
    fn prune(&self, channels: &[usize], theta: &mut [f32]) {
        let weight = &mut theta[self.weight.clone()];
        channels.iter().for_each(|c| weight[c * self.classes..(c + 1) * self.classes].fill(0.0));
    }

    /// The fraction of the images, given by their activations, that the layer classifies correctly.
    fn accuracy(&self, theta: &[f32], activations: &[Vec<f32>], labels: &[u32]) -> f64 {
        let (weight, bias) = (&theta[self.weight.clone()], &theta[self.bias.clone()]);
        let class = |activation: &Vec<f32>| {
            let mut scores = bias.to_vec();
            for (value, row) in activation.iter().zip(weight.chunks_exact(self.classes)) {
                scores.iter_mut().zip(row).for_each(|(score, weight)| *score += value * weight);
            }
            highest(&scores)
        };
        let right = activations.iter().zip(labels).filter(|(image, label)| class(image) == Some(**label));
        right.count() as f64 / labels.len() as f64
    }
}

/// Channels, the least active first, by the mean of the absolute values: a channel that is always negative informs the
/// classifier as much as one that is always positive.
fn by_activity(activations: &[Vec<f32>]) -> Vec<usize> {
    let channels = activations.first().map_or(0, Vec::len);
    let sum = |c: usize| activations.iter().map(|image| f64::from(image[c]).abs()).sum::<f64>();
    let sums: Vec<f64> = (0..channels).map(sum).collect();
    let mut order: Vec<usize> = (0..channels).collect();
    order.sort_by(|&a, &b| sums[a].total_cmp(&sums[b]));
    order
}

/// The number of channels to prune, `at_once` at a time, before `accuracy` loses more than a fraction `max_drop`.
fn how_many(channels: usize, at_once: usize, max_drop: f64, accuracy: impl Fn(usize) -> f64) -> usize {
    let least = accuracy(0) * (1.0 - max_drop);
    let counts = (1..).map(|times| times * at_once).take_while(|&count| count <= channels);
    counts.take_while(|&count| accuracy(count) >= least).last().unwrap_or(0)
}

/// Cross entropy of a network whose pruned channels stay pruned.
struct Pruned<'a> {
    head: Head,
    pruned: &'a [usize],
}

impl Objective for Pruned<'_> {
    fn terms(&mut self, step: &Step<'_>) -> candle_core::Result<Vec<Term>> {
        CrossEntropy.terms(step)
    }

    fn project(&self, trainable: &mut [f32]) {
        self.head.prune(self.pruned, trainable);
    }
}

#[cfg(test)]
mod tests {
    use super::super::held_out::accuracy;
    use super::super::tests::Bench;
    use super::*;
    use crate::train::SILENT;

    #[test]
    fn the_least_active_channels_come_first() {
        assert_eq!(by_activity(&[vec![3.0, 0.0, 1.0], vec![1.0, 2.0, 0.5]]), [2, 1, 0]);
    }

    #[test]
    fn a_strongly_negative_channel_is_not_dormant() {
        assert_eq!(by_activity(&[vec![-3.0, 0.1, 1.0], vec![-1.0, -0.2, -1.0]]), [1, 2, 0]);
    }

    #[test]
    fn pruning_stops_at_the_first_step_that_costs_too_much() {
        let accuracy = |count: usize| [0.8, 0.8, 0.75, 0.8, 0.7, 0.8][count];
        assert_eq!(how_many(5, 1, 0.1, accuracy), 3);
        assert_eq!(how_many(5, 1, 0.05, accuracy), 1);
        assert_eq!(how_many(5, 2, 0.1, accuracy), 2);
        assert_eq!(how_many(5, 1, 1.0, accuracy), 5);
        assert_eq!(how_many(5, 6, 1.0, accuracy), 0);
    }

    #[test]
    fn the_head_classifies_its_activations_as_the_network_does() {
        for (name, after_relu) in [("wrn-10-1", true), ("preactresnet18", false)] {
            let bench = Bench::of(name);
            let case = bench.case();
            let head = Head::of(case.network.graph()).unwrap();
            let images = case.samples.to_images().unwrap();
            let activations = head.activations(case.network, &case.student, &images, &SILENT).unwrap();
            assert_eq!((activations.len(), activations[0].len()), (images.len(), head.channels));
            assert_eq!(activations.iter().flatten().all(|&value| value >= 0.0), after_relu, "{name}");
            let expected = accuracy(case.network, &case.student, &images, &SILENT).unwrap();
            assert_eq!(head.accuracy(&case.student.theta, &activations, images.labels()), expected, "{name}");
        }
    }

    #[test]
    fn pruned_channels_stay_pruned() {
        let bench = Bench::new();
        let with =
            json!({"method": "fine-pruning", "max_drop": 1.0, "epochs": 1, "batch": 8, "prune_step": 0.5});
        let erased = bench.erase(with).unwrap();
        // A limit of 1 prunes all channels.
        let head = Head::of(bench.network.graph()).unwrap();
        assert_eq!(erased.metrics["pruned"], json!(head.channels));
        assert!(erased.weights.theta[head.weight].iter().all(|&weight| weight == 0.0));
        assert!(erased.weights.theta[head.bias].iter().any(|&bias| bias != 0.0));
    }
}
