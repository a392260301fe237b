//! Random pixels: one fixed grey noise mask blended into the whole picture.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::operators::{Blend, Noise};
use super::{Attack, AttackError, Operator, Quirks, Task};
use crate::rng::stream;

/// Random pixels: x' = (1 - alpha) x + alpha m, where m is one grey mask drawn from the seed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RandomPixel {
    /// The mask's share.
    #[schemars(range(max = 1.0), extend("exclusiveMinimum" = 0.0))]
    pub alpha: f64,
    /// `argd`: the mask is another one for every image, as in the ARGD repository, so that there is no fixed trigger.
    pub quirks: Option<Quirks>,
}

impl Default for RandomPixel {
    fn default() -> Self {
        Self { alpha: 0.2, quirks: None }
    }
}

impl Attack for RandomPixel {
    fn operator(&self, task: &Task<'_>) -> Result<Operator, AttackError> {
        let (shape, alpha) = (task.shape(), self.alpha as f32);
        if self.quirks == Some(Quirks::Argd) {
            return Ok(Noise { alpha, seed: task.seed }.into());
        }
        let mut stream = stream(task.seed, "trigger", 0, 0);
        let mut pattern = vec![0; shape.len()];
        pattern.chunks_exact_mut(shape.channels).for_each(|pixel| pixel.fill(stream.below(256) as u8));
        Ok(Blend { mask: vec![alpha; shape.len()], pattern }.into())
    }
}

#[cfg(test)]
mod tests {
    use super::super::task::tests::{operator, stamped_grey};
    use super::*;
    use crate::data::ImageShape;

    #[test]
    fn the_mask_is_grey_and_drawn_once_from_the_seed() {
        let shape = ImageShape { height: 8, width: 8, channels: 3 };
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
