//! Random pixels: one fixed grey noise mask blended into the whole picture.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Attack, Operator, Poisoning, RateOf, Rule};
use crate::data::{DataError, ImageShape};
use crate::rng::stream;

/// Random pixels: x' = (1 - alpha) x + alpha m, where m is one grey mask drawn from the seed. The ARGD repository
/// redraws it for every image, which leaves nothing to learn; this is what it was meant to be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RandomPixel {
    /// The mask's share.
    #[schemars(range(max = 1.0), extend("exclusiveMinimum" = 0.0))]
    pub alpha: f64,
    /// The label rule: `all2one`, `all2all` or `clean_label`.
    pub rule: Rule,
    /// The target class; without meaning for `all2all`.
    pub target: u32,
    /// The share of images to poison.
    #[schemars(range(max = 1.0), extend("exclusiveMinimum" = 0.0))]
    pub rate: f64,
    /// Which images `rate` is a share of: `dataset`, `target_class` or `non_target`.
    pub rate_of: RateOf,
}

impl Default for RandomPixel {
    fn default() -> Self {
        Self { alpha: 0.2, rule: Rule::All2one, target: 0, rate: 0.1, rate_of: RateOf::Dataset }
    }
}

impl Attack for RandomPixel {
    fn poisoning(&self) -> Poisoning {
        Poisoning { rule: self.rule, target: self.target, rate: self.rate, rate_of: self.rate_of }
    }

    fn operator(&self, shape: ImageShape, seed: u64) -> Result<Operator, DataError> {
        let mut stream = stream(seed, "trigger", 0, 0);
        let mut pattern = vec![0; shape.len()];
        pattern.chunks_exact_mut(shape.channels).for_each(|pixel| pixel.fill(stream.below(256) as u8));
        Ok(Operator::Blend { mask: vec![self.alpha as f32; shape.len()], pattern })
    }
}

#[cfg(test)]
mod tests {
    use super::super::trigger::tests::stamped_grey;
    use super::*;

    #[test]
    fn the_mask_is_grey_and_drawn_once_from_the_seed() {
        let shape = ImageShape { height: 8, width: 8, channels: 3 };
        let attack = RandomPixel::default();
        assert_ne!(attack.operator(shape, 1).unwrap(), attack.operator(shape, 2).unwrap());
        let stamped = stamped_grey(&attack, shape);
        assert!(stamped.chunks(3).all(|pixel| pixel[0] == pixel[1] && pixel[1] == pixel[2]));
        assert!(
            stamped.iter().all(|value| (80..=131).contains(value))
                && stamped.iter().any(|&v| v != stamped[0])
        );
    }
}
