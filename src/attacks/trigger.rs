//! The trigger: what an attack does to an image and to its label, as an artifact.

use std::path::Path;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::data::{DataError, ImageShape, Images, NamedTensor, TensorFile, write_tensors};

/// What a sum of a pixel and a trigger does beyond 0..=255.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Overflow {
    /// Stays at the limit.
    #[default]
    Clip,
    /// Wraps modulo 256, as a cast to bytes does.
    Wrap,
}

/// What a trigger does to the pixels of an image; every tensor is `[height, width, channels]`.
#[derive(Clone, Debug, PartialEq)]
pub enum Operator {
    /// x + mask (pattern - x), toward zero to an integer. A mask of ones and zeros is a patch.
    Blend {
        /// Shares of the pattern, in 0..=1.
        mask: Vec<f32>,
        /// What is blended in.
        pattern: Vec<u8>,
    },
    /// x + delta, toward zero to an integer.
    Add {
        /// What is added.
        delta: Vec<f32>,
        /// What happens beyond 0..=255.
        overflow: Overflow,
    },
}

/// Which label a triggered image is meant to get.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "rule", rename_all = "lowercase")]
pub enum LabelRule {
    /// One target for all.
    All2one {
        /// The target.
        target: u32,
    },
    /// The next class, the first after the last.
    All2all,
}

/// What an attack stamps on an image, and the label rule that goes with it.
#[derive(Clone, Debug, PartialEq)]
pub struct Trigger {
    attack: String,
    shape: ImageShape,
    classes: u32,
    labels: LabelRule,
    operator: Operator,
}

/// What goes to the file beside the tensors.
#[derive(Serialize, Deserialize)]
struct Config {
    attack: String,
    shape: ImageShape,
    classes: u32,
    labels: LabelRule,
    operator: OperatorKind,
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
enum OperatorKind {
    Blend,
    Add { overflow: Overflow },
}

impl Trigger {
    /// Joins an operator for images of `shape` and a label rule for `classes` classes.
    ///
    /// # Errors
    /// If a tensor of the operator does not have that shape, a mask leaves 0..=1, or the target is not a
    /// class.
    pub fn new(
        attack: &str,
        shape: ImageShape,
        classes: u32,
        labels: LabelRule,
        operator: Operator,
    ) -> Result<Self, DataError> {
        let (fits, in_range) = match &operator {
            Operator::Blend { mask, pattern } => (
                mask.len() == shape.len() && pattern.len() == shape.len(),
                mask.iter().all(|share| (0.0..=1.0).contains(share)),
            ),
            Operator::Add { delta, .. } => {
                (delta.len() == shape.len(), delta.iter().all(|value| value.is_finite()))
            }
        };
        if !fits {
            return Err(DataError::Mismatch(format!("the trigger of `{attack}` is not of shape {shape}")));
        }
        if !in_range {
            return Err(DataError::Mismatch(format!("the trigger of `{attack}` has values out of range")));
        }
        match labels {
            LabelRule::All2one { target } if target >= classes => {
                let problem =
                    format!("target {target}, but the data set has {classes} classes, 0 to {}", classes - 1);
                Err(DataError::Mismatch(problem))
            }
            _ => Ok(Self { attack: attack.to_owned(), shape, classes, labels, operator }),
        }
    }

    /// The attack that it belongs to.
    pub fn attack(&self) -> &str {
        &self.attack
    }

    /// The shape of images that it fits.
    pub fn shape(&self) -> ImageShape {
        self.shape
    }

    /// The label rule.
    pub fn labels(&self) -> LabelRule {
        self.labels
    }

    /// The target of a rule that has one target for all.
    pub fn target(&self) -> Option<u32> {
        match self.labels {
            LabelRule::All2one { target } => Some(target),
            LabelRule::All2all => None,
        }
    }

    /// The label that an image of class `label` is meant to get.
    pub fn target_label(&self, label: u32) -> u32 {
        match self.labels {
            LabelRule::All2one { target } => target,
            LabelRule::All2all => (label + 1) % self.classes,
        }
    }

    /// Stamps the image at `index` of its data set, `[height, width, channels]`. The same index always gets the same
    /// stamp.
    pub fn apply(&self, _index: usize, pixels: &mut [u8]) {
        match &self.operator {
            Operator::Blend { mask, pattern } => {
                for ((pixel, &share), &value) in pixels.iter_mut().zip(mask).zip(pattern) {
                    let from = f32::from(*pixel);
                    *pixel = (from + share * (f32::from(value) - from)) as u8;
                }
            }
            Operator::Add { delta, overflow } => {
                for (pixel, &delta) in pixels.iter_mut().zip(delta) {
                    let sum = (f32::from(*pixel) + delta).trunc();
                    *pixel = match overflow {
                        Overflow::Clip => sum as u8,
                        Overflow::Wrap => sum.rem_euclid(256.0) as u8,
                    };
                }
            }
        }
    }

    /// Copies the images at `positions`, stamped, with the labels that they are meant to get.
    ///
    /// # Errors
    /// If the images are not of the trigger's shape, or have classes that it does not know.
    pub fn stamp(&self, images: &Images, positions: &[u32]) -> Result<Images, DataError> {
        if images.shape() != self.shape {
            let problem = format!("a trigger for images of {} on images of {}", self.shape, images.shape());
            return Err(DataError::Mismatch(format!("{problem}; connect the data set that was poisoned")));
        }
        let chosen = images.select(positions);
        if let Some(label) = chosen.labels().iter().find(|&&label| label >= self.classes) {
            let problem = format!("a trigger for {} classes on an image of class {label}", self.classes);
            return Err(DataError::Mismatch(format!("{problem}; connect the data set that was poisoned")));
        }
        let labels = chosen.labels().iter().map(|&label| self.target_label(label)).collect();
        let mut pixels = chosen.into_pixels();
        let stamped = pixels.par_chunks_exact_mut(self.shape.len()).zip(positions);
        stamped.for_each(|(image, &position)| self.apply(position as usize, image));
        Images::new(self.shape, pixels, labels)
    }

    /// Positions of the images that tell an attack's success: those that are not of their target class already.
    pub fn attackable(&self, images: &Images) -> Vec<u32> {
        let labels = images.labels().iter().zip(0..);
        labels
            .filter(|&(&label, _)| self.target_label(label) != label)
            .map(|(_, position)| position)
            .collect()
    }

    /// Draws the trigger, `[height, width, 4]`: what is blended in with its share as opacity, or what is added on grey.
    /// One channel is drawn as grey, and of several the first three count.
    pub fn picture(&self) -> Vec<u8> {
        let channels = self.shape.channels;
        let pixel = |at: usize| -> [u8; 4] {
            let value = |channel: usize| at * channels + channel.min(channels - 1);
            let drawn = |channel: usize| match &self.operator {
                Operator::Blend { pattern, .. } => pattern[value(channel)],
                Operator::Add { delta, .. } => (128.0 + delta[value(channel)]) as u8,
            };
            let opacity = match &self.operator {
                Operator::Blend { mask, .. } => (mask[value(0)] * 255.0).round() as u8,
                Operator::Add { .. } => 255,
            };
            [drawn(0), drawn(1), drawn(2), opacity]
        };
        (0..self.shape.height * self.shape.width).flat_map(pixel).collect()
    }

    /// Writes the trigger as an artifact.
    pub fn save(&self, path: &Path) -> Result<(), DataError> {
        let shape = || vec![self.shape.height, self.shape.width, self.shape.channels];
        let (tensors, operator) = match &self.operator {
            Operator::Blend { mask, pattern } => (
                vec![NamedTensor::f32("mask", shape(), mask), NamedTensor::u8("pattern", shape(), pattern)],
                OperatorKind::Blend,
            ),
            Operator::Add { delta, overflow } => {
                (vec![NamedTensor::f32("delta", shape(), delta)], OperatorKind::Add { overflow: *overflow })
            }
        };
        let Self { attack, shape, classes, labels, .. } = self;
        let config =
            Config { attack: attack.clone(), shape: *shape, classes: *classes, labels: *labels, operator };
        write_tensors(path, &tensors, &config)
    }

    /// Reads the artifact.
    pub fn load(path: &Path) -> Result<Self, DataError> {
        let mut file = TensorFile::open(path)?;
        let Config { attack, shape, classes, labels, operator } = file.config()?;
        let operator = match operator {
            OperatorKind::Blend => {
                Operator::Blend { mask: file.f32::<3>("mask")?.1, pattern: file.u8::<3>("pattern")?.1 }
            }
            OperatorKind::Add { overflow } => Operator::Add { delta: file.f32::<3>("delta")?.1, overflow },
        };
        Self::new(&attack, shape, classes, labels, operator).map_err(|error| file.unusable(error))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::Attack;
    use super::*;

    /// A flat image, all values 100, stamped by `attack`.
    pub(crate) fn stamped_grey(attack: &dyn Attack, shape: ImageShape) -> Vec<u8> {
        let operator = attack.operator(shape, 1).unwrap();
        let mut pixels = vec![100; shape.len()];
        Trigger::new("test", shape, 10, LabelRule::All2all, operator).unwrap().apply(0, &mut pixels);
        pixels
    }

    const SHAPE: ImageShape = ImageShape { height: 1, width: 2, channels: 1 };

    fn trigger(labels: LabelRule, operator: Operator) -> Trigger {
        Trigger::new("test", SHAPE, 10, labels, operator).unwrap()
    }

    fn stamped(operator: Operator, pixels: [u8; 2]) -> [u8; 2] {
        let mut pixels = pixels;
        trigger(LabelRule::All2all, operator).apply(0, &mut pixels);
        pixels
    }

    #[test]
    fn a_blend_truncates_and_its_extremes_are_exact() {
        let blend = |share| Operator::Blend { mask: vec![share; 2], pattern: vec![14, 255] };
        assert_eq!(stamped(blend(0.2), [100, 255]), [82, 255]);
        assert_eq!(stamped(blend(0.0), [7, 9]), [7, 9]);
        assert_eq!(stamped(blend(1.0), [7, 9]), [14, 255]);
    }

    #[test]
    fn a_sum_truncates_and_overflows_as_told() {
        let add = |overflow| Operator::Add { delta: vec![-30.5, 207.353], overflow };
        assert_eq!(stamped(add(Overflow::Clip), [20, 100]), [0, 255]);
        assert_eq!(stamped(add(Overflow::Wrap), [20, 100]), [246, 51]);
        assert_eq!(stamped(add(Overflow::Clip), [100, 1]), [69, 208]);
    }

    #[test]
    fn a_picture_shows_the_pattern_or_what_is_added() {
        let blend = Operator::Blend { mask: vec![0.0, 1.0], pattern: vec![1, 200] };
        assert_eq!(trigger(LabelRule::All2all, blend).picture(), [1, 1, 1, 0, 200, 200, 200, 255]);
        let add = Operator::Add { delta: vec![-28.0, 300.0], overflow: Overflow::Wrap };
        assert_eq!(trigger(LabelRule::All2all, add).picture(), [100, 100, 100, 255, 255, 255, 255, 255]);
    }

    #[test]
    fn label_rules_say_what_is_meant_and_who_counts() {
        let blend = Operator::Blend { mask: vec![0.0; 2], pattern: vec![0; 2] };
        let images = Images::new(SHAPE, vec![0; 6], vec![9, 3, 0]).unwrap();
        let one = trigger(LabelRule::All2one { target: 3 }, blend.clone());
        assert_eq!((one.target_label(9), one.target()), (3, Some(3)));
        assert_eq!(one.attackable(&images), [0, 2]);
        let all = trigger(LabelRule::All2all, blend);
        assert_eq!((all.target_label(9), all.target_label(0), all.target()), (0, 1, None));
        assert_eq!(all.stamp(&images, &all.attackable(&images)).unwrap().labels(), [0, 4, 1]);
    }

    #[test]
    fn a_trigger_survives_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("trigger");
        let blend = Operator::Blend { mask: vec![0.0, 1.0], pattern: vec![1, 2] };
        let add = Operator::Add { delta: vec![-0.5, 3.0], overflow: Overflow::Wrap };
        for (rule, operator) in [(LabelRule::All2one { target: 3 }, blend), (LabelRule::All2all, add)] {
            let trigger = trigger(rule, operator);
            trigger.save(&path).unwrap();
            assert_eq!(Trigger::load(&path).unwrap(), trigger);
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let blend = |len, share| Operator::Blend { mask: vec![share; len], pattern: vec![0; len] };
        let new = |rule, operator| Trigger::new("test", SHAPE, 10, rule, operator);
        assert!(new(LabelRule::All2all, blend(3, 0.5)).is_err());
        assert!(new(LabelRule::All2all, blend(2, 1.5)).is_err());
        let message = new(LabelRule::All2one { target: 10 }, blend(2, 0.5)).unwrap_err().to_string();
        assert_eq!(message, "target 10, but the data set has 10 classes, 0 to 9");
        let other = ImageShape { width: 3, ..SHAPE };
        let images = Images::new(other, vec![0; 3], vec![0]).unwrap();
        assert!(trigger(LabelRule::All2all, blend(2, 0.5)).stamp(&images, &[0]).is_err());
    }
}
