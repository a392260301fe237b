//! The trigger: an attack's change of an image and of its label, as an artifact.

use std::path::Path;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::Operator;
use super::operators::Blend;
use crate::data::{DataError, Images};
use crate::files::tensors::{TensorFile, write_tensors};
use crate::shape::Shape;

/// The label that a triggered image should get.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "rule", rename_all = "snake_case")]
pub enum LabelRule {
    /// One target for all.
    All2one {
        /// The target.
        target: u32,
    },
    /// The next class; after the last class, the first.
    All2all,
    /// The target for images of the source class; all others keep their label.
    SourceSpecific {
        /// The source class.
        source: u32,
        /// The target.
        target: u32,
    },
}

impl LabelRule {
    /// The classes of the rule, and their names in messages.
    fn named(self) -> Vec<(&'static str, u32)> {
        match self {
            Self::All2one { target } => vec![("target", target)],
            Self::All2all => vec![],
            Self::SourceSpecific { source, target } => vec![("source", source), ("target", target)],
        }
    }
}

/// The operator of an attack, and its label rule.
#[derive(Clone, Debug, PartialEq)]
pub struct Trigger {
    attack: String,
    shape: Shape,
    classes: u32,
    labels: LabelRule,
    operator: Operator,
}

/// The content of the file besides the tensors.
#[derive(Serialize, Deserialize)]
struct Config {
    attack: String,
    shape: Shape,
    classes: u32,
    labels: LabelRule,
    operator: Operator,
}

impl Trigger {
    /// Joins an operator for images of `shape` and a label rule for `classes` classes.
    ///
    /// # Errors
    /// If the operator does not fit images of that shape, or the rule names an unknown class.
    pub fn new(
        attack: &str,
        shape: Shape,
        classes: u32,
        labels: LabelRule,
        operator: Operator,
    ) -> Result<Self, DataError> {
        let unfit = |problem| {
            DataError::Mismatch(format!("the trigger of `{attack}` for images of {shape} {problem}"))
        };
        if shape.is_empty() || classes == 0 {
            return Err(unfit("has no pixels or no classes"));
        }
        operator.get().check(shape).map_err(unfit)?;
        if let Some((name, class)) = labels.named().into_iter().find(|&(_, class)| class >= classes) {
            let problem =
                format!("{name} {class}, but the data set has {classes} classes, 0 to {}", classes - 1);
            return Err(DataError::Mismatch(problem));
        }
        Ok(Self { attack: attack.to_owned(), shape, classes, labels, operator })
    }

    /// The attack that drew it.
    pub fn attack(&self) -> &str {
        &self.attack
    }

    /// The shape of images that it fits.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// The label rule.
    pub fn labels(&self) -> LabelRule {
        self.labels
    }

    /// The operator.
    pub fn operator(&self) -> &Operator {
        &self.operator
    }

    /// The target of a rule that has one target.
    pub fn target(&self) -> Option<u32> {
        match self.labels {
            LabelRule::All2one { target } | LabelRule::SourceSpecific { target, .. } => Some(target),
            LabelRule::All2all => None,
        }
    }

    /// The label that an image of class `label` should get.
    pub fn target_label(&self, label: u32) -> u32 {
        match self.labels {
            LabelRule::All2one { target } => target,
            LabelRule::All2all => (label + 1) % self.classes,
            LabelRule::SourceSpecific { source, target } => {
                if label == source {
                    target
                } else {
                    label
                }
            }
        }
    }

    /// Stamps the image at `index` of its data set, `[height, width, channels]`. The same index always gets the same
    /// stamp.
    pub fn apply(&self, index: usize, pixels: &mut [u8]) {
        self.operator.get().apply(self.shape, index, pixels);
    }

    /// Copies the images at `positions`, stamped, with the labels that they should get.
    ///
    /// # Errors
    /// If the images do not have the trigger's shape, or have unknown classes.
    pub fn stamp(&self, images: &Images, positions: &[u32]) -> Result<Images, DataError> {
        self.stamp_selected(images.select(positions), positions)
    }

    /// Stamps copies of the images at `positions`, and labels them by the rule.
    ///
    /// # Errors
    /// Those of [`Trigger::stamp`].
    pub(super) fn stamp_selected(&self, images: Images, positions: &[u32]) -> Result<Images, DataError> {
        if images.shape() != self.shape {
            let problem = format!("a trigger for images of {} on images of {}", self.shape, images.shape());
            return Err(DataError::unfit(problem, "connect the data set that was poisoned"));
        }
        if let Some(label) = images.labels().iter().find(|&&label| label >= self.classes) {
            let problem = format!("a trigger for {} classes on an image of class {label}", self.classes);
            return Err(DataError::unfit(problem, "connect the data set that was poisoned"));
        }
        let labels = images.labels().iter().map(|&label| self.target_label(label)).collect();
        let mut pixels = images.into_pixels();
        let stamped = pixels.par_chunks_exact_mut(self.shape.len()).zip(positions);
        stamped.for_each(|(image, &position)| self.apply(position as usize, image));
        Images::new(self.shape, pixels, labels)
    }

    /// The positions of the images that measure an attack's success: those whose label the rule changes.
    pub fn attackable(&self, images: &Images) -> Vec<u32> {
        let labels = images.labels().iter().zip(0..);
        labels
            .filter(|&(&label, _)| self.target_label(label) != label)
            .map(|(_, position)| position)
            .collect()
    }

    /// The trigger as a picture, `[height, width, 4]`: red, green, blue and opacity. A blended pattern has its mask as
    /// opacity. Every other trigger is drawn opaque on flat gray (128), which shows all of them except those that only move
    /// pixels. One channel is drawn as gray; of more than three, the first three are used.
    pub fn picture(&self) -> Vec<u8> {
        let channels = self.shape.channels;
        let (colors, opacity) = match &self.operator {
            Operator::Blend(Blend { mask, pattern }) => {
                let share = |shares: &[f32]| shares.iter().copied().fold(0.0, f32::max);
                (pattern.clone(), mask.chunks_exact(channels).map(share).collect())
            }
            _ => {
                let mut gray = vec![128; self.shape.len()];
                self.apply(0, &mut gray);
                (gray, vec![1.0; self.shape.height * self.shape.width])
            }
        };
        let drawn = |(pixel, share): (&[u8], f32)| {
            let [red, green, blue] = [0, 1, 2].map(|channel: usize| pixel[channel.min(channels - 1)]);
            [red, green, blue, (255.0 * share).round() as u8]
        };
        colors.chunks_exact(channels).zip(opacity).flat_map(drawn).collect()
    }

    /// Writes the trigger as an artifact.
    pub fn save(&self, path: &Path) -> Result<(), DataError> {
        let Self { attack, shape, classes, labels, operator } = self.clone();
        let config = Config { attack, shape, classes, labels, operator };
        Ok(write_tensors(path, &config.operator.get().tensors(shape), &config)?)
    }

    /// Reads the artifact.
    pub fn load(path: &Path) -> Result<Self, DataError> {
        let mut file = TensorFile::open(path)?;
        let Config { attack, shape, classes, labels, mut operator } = file.config()?;
        operator.get_mut().read_tensors(&mut file)?;
        Self::new(&attack, shape, classes, labels, operator).map_err(|error| file.unusable(error).into())
    }
}

#[cfg(test)]
mod tests {
    use super::super::operators::{Add, Noise, Overflow, Quantise, Reflect, Warp};
    use super::*;

    const SHAPE: Shape = Shape { height: 16, width: 16, channels: 1 };

    fn trigger(labels: LabelRule, operator: impl Into<Operator>) -> Trigger {
        Trigger::new("test", SHAPE, 10, labels, operator.into()).unwrap()
    }

    fn blend(len: usize, share: f32) -> Blend {
        Blend { mask: vec![share; len], pattern: vec![7; len] }
    }

    #[test]
    fn a_picture_has_the_mask_as_opacity_or_shows_what_becomes_of_gray() {
        let mut patch = blend(SHAPE.len(), 0.0);
        patch.mask[0] = 0.2;
        let picture = trigger(LabelRule::All2all, patch).picture();
        assert_eq!((picture.len(), &picture[..8]), (4 * SHAPE.len(), &[7, 7, 7, 51, 7, 7, 7, 0][..]));
        let add = Add { delta: vec![-28.0; SHAPE.len()], overflow: Overflow::Clip };
        assert_eq!(trigger(LabelRule::All2all, add).picture()[..4], [100, 100, 100, 255]);
    }

    #[test]
    fn label_rules_say_what_is_meant_and_who_counts() {
        let blend = || blend(SHAPE.len(), 0.0);
        let images = Images::new(SHAPE, vec![0; 3 * SHAPE.len()], vec![9, 3, 0]).unwrap();
        let one = trigger(LabelRule::All2one { target: 3 }, blend());
        assert_eq!((one.target_label(9), one.target()), (3, Some(3)));
        assert_eq!(one.attackable(&images), [0, 2]);
        let all = trigger(LabelRule::All2all, blend());
        assert_eq!((all.target_label(9), all.target_label(0), all.target()), (0, 1, None));
        assert_eq!(all.stamp(&images, &all.attackable(&images)).unwrap().labels(), [0, 4, 1]);
        let specific = trigger(LabelRule::SourceSpecific { source: 9, target: 3 }, blend());
        assert_eq!([9, 3, 0].map(|label| specific.target_label(label)), [3, 3, 0]);
        assert_eq!((specific.attackable(&images), specific.target()), (vec![0], Some(3)));
    }

    #[test]
    fn a_trigger_survives_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("trigger");
        let every: [Operator; 6] = [
            blend(SHAPE.len(), 0.5).into(),
            Add { delta: vec![-0.5; SHAPE.len()], overflow: Overflow::Wrap }.into(),
            Noise { alpha: 0.25, seed: u64::MAX }.into(),
            Warp { field: vec![1.5; 2 * SHAPE.len()] }.into(),
            Quantise { levels: 8, dither: true }.into(),
            Reflect { pool: vec![9; 3 * SHAPE.len()], ghost: 0.49, alpha: Some(0.5), seed: 3 }.into(),
        ];
        let rules = [
            LabelRule::All2one { target: 3 },
            LabelRule::All2all,
            LabelRule::SourceSpecific { source: 1, target: 2 },
        ];
        for (operator, rule) in every.into_iter().zip(rules.into_iter().cycle()) {
            let trigger = trigger(rule, operator);
            trigger.save(&path).unwrap();
            assert_eq!(Trigger::load(&path).unwrap(), trigger);
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let new = |rule, operator: Blend| Trigger::new("test", SHAPE, 10, rule, operator.into());
        assert!(new(LabelRule::All2all, blend(3, 0.5)).is_err());
        let message = new(LabelRule::All2all, blend(SHAPE.len(), 1.5)).unwrap_err().to_string();
        assert_eq!(message, "the trigger of `test` for images of 16x16x1 has values out of range");
        let message =
            new(LabelRule::All2one { target: 10 }, blend(SHAPE.len(), 0.5)).unwrap_err().to_string();
        assert_eq!(message, "target 10, but the data set has 10 classes, 0 to 9");
        let other = Shape { width: 3, ..SHAPE };
        let images = Images::new(other, vec![0; other.len()], vec![0]).unwrap();
        assert!(trigger(LabelRule::All2all, blend(SHAPE.len(), 0.5)).stamp(&images, &[0]).is_err());
    }
}
