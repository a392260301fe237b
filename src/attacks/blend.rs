//! Blend (Chen et al. 2017): one fixed noise image blended into the whole picture.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Attack, Operator, Poisoning, RateOf, Rule};
use crate::data::{DataError, ImageShape};
use crate::rng::stream;

/// Blend: x' = (1 - alpha) x + alpha n, where n is one noise image drawn from the seed, uniform in 0..=255 for every
/// pixel and channel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Blend {
    /// The noise's share.
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

impl Default for Blend {
    fn default() -> Self {
        Self { alpha: 0.2, rule: Rule::All2one, target: 0, rate: 0.1, rate_of: RateOf::Dataset }
    }
}

impl Attack for Blend {
    fn poisoning(&self) -> Poisoning {
        Poisoning { rule: self.rule, target: self.target, rate: self.rate, rate_of: self.rate_of }
    }

    fn operator(&self, shape: ImageShape, seed: u64) -> Result<Operator, DataError> {
        let mut stream = stream(seed, "trigger", 0, 0);
        let pattern = (0..shape.len()).map(|_| stream.below(256) as u8).collect();
        Ok(Operator::Blend { mask: vec![self.alpha as f32; shape.len()], pattern })
    }
}

#[cfg(test)]
mod tests {
    use super::super::trigger::tests::stamped_grey;
    use super::*;

    #[test]
    fn the_noise_is_drawn_once_from_the_seed() {
        let shape = ImageShape { height: 8, width: 8, channels: 3 };
        let attack = Blend::default();
        assert_eq!(attack.operator(shape, 1).unwrap(), attack.operator(shape, 1).unwrap());
        assert_ne!(attack.operator(shape, 1).unwrap(), attack.operator(shape, 2).unwrap());
        let stamped = stamped_grey(&attack, shape);
        assert!(stamped.iter().all(|value| (80..=131).contains(value)), "{stamped:?}");
        assert!(stamped.chunks(3).any(|pixel| pixel[0] != pixel[1]));
    }
}
