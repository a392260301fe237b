//! Unlearning (Wang et al. 2019): trains on the triggers that Neural Cleanse finds, with the correct labels.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Case, Defense, Erased, WithTraining};
use crate::data::{DataError, Images, InvalidParam, Overlay, Samples, TrainView};
use crate::detectors::{NeuralCleanse, Reversal};
use crate::methods::Beside;
use crate::rng::stream;
use crate::train::{CrossEntropy, Frozen, TrainError, Training};

/// Unlearning and its training.
pub type Unlearning = WithTraining<Own>;

/// Neural Cleanse, then fine-tuning on clean images. A fraction of them get the reversed trigger of a flagged class
/// and keep their labels. If no class is flagged, the model does not change. It does not use a teacher.
///
/// The authors unlearn for one epoch on 10% of the training images. Here the training is that of every defense.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Own {
    /// The search for triggers: the parameters of the detector `neural-cleanse`.
    pub reverse: NeuralCleanse,
    /// The fraction of the clean images that get a reversed trigger. Several flagged classes take turns.
    #[schemars(range(max = 1.0), extend("exclusiveMinimum" = 0.0))]
    pub share: f64,
}

impl Default for Own {
    fn default() -> Self {
        Self { reverse: NeuralCleanse::default(), share: 0.2 }
    }
}

impl Beside<Training> for Own {}

impl Defense for Unlearning {
    fn check(&self) -> Vec<InvalidParam> {
        self.shared.check()
    }

    fn erase(&self, case: Case<'_>) -> Result<Erased, TrainError> {
        let suspect = Frozen::new(case.network.clone(), &case.student)?;
        let diagnosis = self.own.reverse.diagnose(&suspect, &case.samples, case.session)?;
        let (flagged, metrics) = (&diagnosis.flagged, diagnosis.metrics());
        case.session.observer.note(&format!("flagged classes: {flagged:?}"));
        if flagged.is_empty() {
            return Ok(Erased { metrics, ..Erased::from(case.student) });
        }
        let triggers: Vec<&Reversal> = flagged.iter().map(|&class| &diagnosis.reversals[class]).collect();
        let samples = stamped(&case.samples, &triggers, self.own.share, case.session.seed)
            .map_err(|error| TrainError::Mismatch(error.to_string()))?;
        let case = Case { samples: Arc::new(samples), ..case };
        let weights = case.fit(&mut CrossEntropy, &self.shared)?;
        Ok(Erased { metrics, ..Erased::from(weights) })
    }
}

/// The images, a fraction of them with triggers, all with their own labels.
fn stamped(
    samples: &TrainView,
    triggers: &[&Reversal],
    share: f64,
    seed: u64,
) -> Result<TrainView, DataError> {
    let mut chosen = stream(seed, "unlearn", 0, 0).permutation(samples.len());
    chosen.truncate((share * samples.len() as f64) as usize);
    chosen.sort_by_key(|&i| samples.index(i as usize));
    let (mut indices, mut pixels, mut labels) = (vec![], vec![], vec![]);
    for (&i, trigger) in chosen.iter().zip(triggers.iter().cycle()) {
        let mut image = samples.pixels(i as usize).to_vec();
        trigger.stamp(&mut image);
        indices.push(samples.index(i as usize) as u32);
        pixels.extend(image);
        labels.push(samples.label(i as usize));
    }
    samples.with_overlay(Overlay::new(indices, Images::new(samples.shape(), pixels, labels)?)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Dataset;
    use crate::shape::Shape;

    #[test]
    fn a_share_of_the_images_carries_the_triggers_in_turn_and_keeps_its_labels() {
        let shape = Shape { height: 1, width: 2, channels: 1 };
        let images = Images::new(shape, vec![10; 40], (0..20).map(|i| i % 3).collect()).unwrap();
        let classes = ["a", "b", "c"].map(str::to_owned).to_vec();
        let dataset = Arc::new(Dataset::new(classes, images.clone(), images).unwrap());
        let view = TrainView::new(dataset, Some((5..15).collect()), None).unwrap();
        let trigger = |class, mask: [f32; 2]| Reversal {
            class,
            mask: mask.to_vec(),
            pattern: vec![1.0; 2],
            norm: 1.0,
            success: 100.0,
            converged: true,
            epochs: 1,
        };
        let (left, right) = (trigger(0, [1.0, 0.0]), trigger(1, [0.0, 1.0]));
        let stamped = stamped(&view, &[&left, &right], 0.4, 1).unwrap();
        let seen: Vec<&[u8]> = (0..10).map(|i| stamped.pixels(i)).collect();
        let count = |pixels: [u8; 2]| seen.iter().filter(|&&image| image == pixels).count();
        assert_eq!((count([255, 10]), count([10, 255]), count([10, 10])), (2, 2, 6));
        assert!((0..10).all(|i| (stamped.label(i), stamped.index(i)) == (view.label(i), view.index(i))));
    }
}
