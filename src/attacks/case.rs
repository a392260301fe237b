//! The inputs of an attack.

use crate::data::{Dataset, Images};
use crate::shape::Shape;
use crate::train::{Frozen, Observer, TrainError};

use super::{AttackError, Poisoning};

/// The inputs of an attack.
#[derive(Clone, Copy)]
pub struct Case<'a> {
    /// The data set whose training images are poisoned.
    pub dataset: &'a Dataset,
    /// Positions of the training images that may be poisoned; all if not given.
    pub pool: Option<&'a [u32]>,
    /// Pictures of [`super::Attack::pictures`], scaled to the shape of the images.
    pub pictures: Option<&'a Images>,
    /// A network that has learned the data set, if one is connected.
    pub model: Option<&'a Frozen>,
    /// Which images are poisoned.
    pub poisoning: &'a Poisoning,
    /// The seed of all random draws.
    pub seed: u64,
    /// Receives the progress, and may stop the work.
    pub observer: &'a dyn Observer,
}

impl<'a> Case<'a> {
    /// The shape of the images.
    pub fn shape(&self) -> Shape {
        self.dataset.shape()
    }

    /// The model.
    ///
    /// # Errors
    /// No model is connected.
    pub(super) fn model(&self) -> Result<&'a Frozen, AttackError> {
        let missing = "this attack needs a model, and none is connected";
        self.model.ok_or_else(|| TrainError::Mismatch(missing.to_owned()).into())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::{Attack, LabelRule, Operator, Trigger};
    use super::*;
    use crate::train::SILENT;

    pub(crate) const CIFAR: Shape = Shape { height: 32, width: 32, channels: 3 };

    /// 100 training and test images of 10 classes in turn, all of value 100.
    pub(crate) fn grey(shape: Shape) -> Dataset {
        let labels: Vec<u32> = (0..100).map(|i| i % 10).collect();
        let images = Images::new(shape, vec![100; shape.len() * 100], labels).unwrap();
        Dataset::new((0..10).map(|class| class.to_string()).collect(), images.clone(), images).unwrap()
    }

    /// A case without pictures and model.
    pub(crate) fn case<'a>(dataset: &'a Dataset, poisoning: &'a Poisoning, seed: u64) -> Case<'a> {
        Case { dataset, pool: None, pictures: None, model: None, poisoning, seed, observer: &SILENT }
    }

    /// The operator that an attack draws for gray images.
    pub(crate) fn operator(attack: &dyn Attack, shape: Shape, seed: u64) -> Result<Operator, AttackError> {
        attack.operator(&case(&grey(shape), &Poisoning::default(), seed))
    }

    /// A flat image, all values 100, stamped by `attack`.
    pub(crate) fn stamped_grey(attack: &dyn Attack, shape: Shape) -> Vec<u8> {
        let operator = operator(attack, shape, 1).unwrap();
        let mut pixels = vec![100; shape.len()];
        Trigger::new("test", shape, 10, LabelRule::All2all, operator).unwrap().apply(0, &mut pixels);
        pixels
    }
}
