//! Random pixels: one fixed gray noise mask, blended into the whole image.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::operators::{Blend, Noise};
use super::{Attack, AttackError, Case, Operator, Quirks};
use crate::rng::stream;

/// Random pixels: x' = (1 - alpha) x + alpha m, where m is a gray mask drawn from the seed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RandomPixel {
    /// The weight of the mask, alpha.
    #[schemars(range(max = 1.0), extend("exclusiveMinimum" = 0.0))]
    pub alpha: f64,
    /// `argd`: every training and test image gets a different mask, as in the ARGD repository. So there is no fixed
    /// trigger.
    pub quirks: Option<Quirks>,
}

impl Default for RandomPixel {
    fn default() -> Self {
        Self { alpha: 0.2, quirks: None }
    }
}

impl Attack for RandomPixel {
    fn operator(&self, case: &Case<'_>) -> Result<Operator, AttackError> {
        let (shape, alpha) = (case.shape(), self.alpha as f32);
        if self.quirks == Some(Quirks::Argd) {
            return Ok(Noise { alpha, seed: case.seed }.into());
        }
        let mut stream = stream(case.seed, "trigger", 0, 0);
        let mut pattern = vec![0; shape.len()];
        pattern.chunks_exact_mut(shape.channels).for_each(|pixel| pixel.fill(stream.below(256) as u8));
        Ok(Blend { mask: vec![alpha; shape.len()], pattern }.into())
    }

    fn training_operator(&self, case: &Case<'_>) -> Result<Option<Operator>, AttackError> {
        // The repository makes new draws for the test images, so the seeds of the two differ too.
        let noise = || Noise { alpha: self.alpha as f32, seed: !case.seed }.into();
        Ok((self.quirks == Some(Quirks::Argd)).then(noise))
    }
}

#[cfg(test)]
mod tests {
    use super::super::case::tests::{case, grey, operator, stamped_grey};
    use super::super::{AnyAttack, Poisoning, WithPoisoning, poison};
    use super::*;
    use crate::shape::Shape;

    /// Image 0 in the training and in the evaluation.
    fn stamped(attack: RandomPixel) -> [Vec<u8>; 2] {
        let shape = Shape { height: 8, width: 8, channels: 3 };
        let (dataset, poisoning) = (grey(shape), Poisoning { rate: 1.0, ..Poisoning::default() });
        let attack = AnyAttack::RandomPixel(WithPoisoning { own: attack, shared: poisoning });
        let poisoned = poison(&attack, &case(&dataset, &poisoning, 1)).unwrap();
        let place = poisoned.overlay.indices().iter().position(|&index| index == 0).unwrap();
        let mut tested = dataset.test.image(0).to_vec();
        poisoned.trigger.apply(0, &mut tested);
        [poisoned.overlay.images().image(place).to_vec(), tested]
    }

    #[test]
    fn the_repository_draws_another_mask_for_a_test_image_than_for_the_training_image_of_its_index() {
        let [trained, tested] = stamped(RandomPixel { quirks: Some(Quirks::Argd), ..RandomPixel::default() });
        let different = trained.iter().zip(&tested).filter(|(a, b)| a != b).count();
        assert!(different > trained.len() * 9 / 10, "{different} of {}", trained.len());
        let [trained, tested] = stamped(RandomPixel::default());
        assert_eq!(trained, tested);
    }

    #[test]
    fn the_mask_is_grey_and_drawn_once_from_the_seed() {
        let shape = Shape { height: 8, width: 8, channels: 3 };
        let attack = RandomPixel::default();
        assert_ne!(operator(&attack, shape, 1).unwrap(), operator(&attack, shape, 2).unwrap());
        let stamped = stamped_grey(&attack, shape);
        assert!(stamped.chunks(3).all(|pixel| pixel[0] == pixel[1] && pixel[1] == pixel[2]));
        assert!(
            stamped.iter().all(|value| (80..=131).contains(value))
                && stamped.iter().any(|&v| v != stamped[0])
        );
    }
}
