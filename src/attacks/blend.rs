//! Blend (Chen et al. 2017): one fixed picture, blended into the whole image.

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Attack, AttackError, Case, Operator, operators};
use crate::rng::stream;

/// Blend: x' = (1 - alpha) x + alpha k, where k is a given picture, or noise drawn from the seed, uniform in 0..=255
/// for every pixel and channel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Blend {
    /// The weight of the picture, alpha.
    #[schemars(range(max = 1.0), extend("exclusiveMinimum" = 0.0))]
    pub alpha: f64,
    /// The picture: a JPEG or PNG file, scaled to the size of the images. If not given, noise.
    #[serde(skip_serializing)]
    pub image: Option<PathBuf>,
}

impl Default for Blend {
    fn default() -> Self {
        Self { alpha: 0.2, image: None }
    }
}

impl Attack for Blend {
    fn pictures(&self) -> Option<&Path> {
        self.image.as_deref()
    }

    fn operator(&self, case: &Case<'_>) -> Result<Operator, AttackError> {
        let len = case.shape().len();
        let mut stream = stream(case.seed, "trigger", 0, 0);
        let pattern = match case.pictures {
            Some(pictures) => pictures.image(0).to_vec(),
            None => (0..len).map(|_| stream.below(256) as u8).collect(),
        };
        Ok(operators::Blend { mask: vec![self.alpha as f32; len], pattern }.into())
    }
}

#[cfg(test)]
mod tests {
    use super::super::Poisoning;
    use super::super::case::tests::{case, grey, operator, stamped_grey};
    use super::*;
    use crate::data::Images;
    use crate::shape::Shape;

    const SHAPE: Shape = Shape { height: 8, width: 8, channels: 3 };

    #[test]
    fn the_noise_is_drawn_once_from_the_seed() {
        let attack = Blend::default();
        assert_eq!(operator(&attack, SHAPE, 1).unwrap(), operator(&attack, SHAPE, 1).unwrap());
        assert_ne!(operator(&attack, SHAPE, 1).unwrap(), operator(&attack, SHAPE, 2).unwrap());
        let stamped = stamped_grey(&attack, SHAPE);
        assert!(stamped.iter().all(|value| (80..=131).contains(value)), "{stamped:?}");
        assert!(stamped.chunks(3).any(|pixel| pixel[0] != pixel[1]));
    }

    #[test]
    fn a_picture_of_the_users_takes_the_place_of_the_noise() {
        let (dataset, poisoning) = (grey(SHAPE), Poisoning::default());
        let picture = Images::new(SHAPE, vec![9; SHAPE.len()], vec![0]).unwrap();
        let with_picture = Case { pictures: Some(&picture), ..case(&dataset, &poisoning, 1) };
        let expected = operators::Blend { mask: vec![0.2; SHAPE.len()], pattern: vec![9; SHAPE.len()] };
        assert_eq!(Blend::default().operator(&with_picture).unwrap(), expected.into());
    }
}
