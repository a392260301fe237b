//! BppAttack (Wang et al. 2022): fewer colors, with dithering.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::operators::Quantise;
use super::{Attack, AttackError, Case, Covers, Operator};
use crate::rng::stream;

/// BppAttack: every channel is quantized to a few levels, with Floyd-Steinberg dithering. Cover images get the
/// quantization error of another image and keep their labels, so that only the levels themselves count.
///
/// The paper draws new images in every batch; here they are drawn once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Bpp {
    /// The number of levels of a channel.
    #[schemars(range(min = 2, max = 256))]
    pub levels: u32,
    /// Use dithering. If false, every pixel gets its nearest level.
    pub dither: bool,
    /// The number of cover images per poisoned image.
    #[schemars(range(min = 0.0, max = 1000.0))]
    pub negative_ratio: f64,
}

impl Default for Bpp {
    fn default() -> Self {
        Self { levels: 8, dither: true, negative_ratio: 1.0 }
    }
}

impl Attack for Bpp {
    fn operator(&self, _task: &Case<'_>) -> Result<Operator, AttackError> {
        Ok(Quantise { levels: self.levels, dither: self.dither }.into())
    }

    fn covers<'a>(&'a self, case: &Case<'a>, trigger: &'a Operator) -> Option<Covers<'a>> {
        let (images, seed) = (&case.dataset.train, case.seed);
        let change = move |index: usize, pixels: &mut [u8]| {
            let other = stream(seed, "cover image", 0, index as u64).below(images.len() as u32) as usize;
            let before = images.image(other);
            let mut after = before.to_vec();
            trigger.get().apply(images.shape(), other, &mut after);
            for ((pixel, &before), after) in pixels.iter_mut().zip(before).zip(after) {
                let sum = i16::from(*pixel) + i16::from(after) - i16::from(before);
                *pixel = sum.clamp(0, 255) as u8;
            }
        };
        Some(Covers { ratio: self.negative_ratio, parameter: "negative_ratio", change: Box::new(change) })
    }
}

#[cfg(test)]
mod tests {
    use super::super::Poisoning;
    use super::super::case::tests::{CIFAR, case, grey, stamped_grey};
    use super::*;

    #[test]
    fn colors_are_squeezed() {
        assert!(
            stamped_grey(&Bpp { dither: false, ..Bpp::default() }, CIFAR).iter().all(|&value| value == 109)
        );
        let dithered = stamped_grey(&Bpp::default(), CIFAR);
        assert!(dithered.iter().all(|value| [73, 109].contains(value)) && dithered.contains(&73));
    }

    #[test]
    fn cover_images_get_what_changed_in_another() {
        let (dataset, poisoning) = (grey(CIFAR), Poisoning::default());
        let (attack, case) = (Bpp { dither: false, ..Bpp::default() }, case(&dataset, &poisoning, 1));
        let trigger = attack.operator(&case).unwrap();
        let mut pixels = [7, 250, 90].repeat(CIFAR.len() / 3);
        (attack.covers(&case, &trigger).unwrap().change)(0, &mut pixels);
        assert_eq!(pixels, [16, 255, 99].repeat(CIFAR.len() / 3));
    }
}
