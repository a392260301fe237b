//! Blends gray noise into the image, different noise for every image. So there is no fixed trigger.

use serde::{Deserialize, Serialize};

use super::blend::blended;
use super::{OUT_OF_RANGE, Operate, ensure};
use crate::rng::stream;
use crate::shape::Shape;

/// x + alpha (m - x), rounded toward zero, with m uniform gray noise drawn for each index.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Noise {
    /// The weight of the noise, in 0..=1.
    pub alpha: f32,
    /// The seed of the noise, together with the image's index.
    pub seed: u64,
}

impl Operate for Noise {
    fn check(&self, _shape: Shape) -> Result<(), &'static str> {
        ensure((0.0..=1.0).contains(&self.alpha), OUT_OF_RANGE)
    }

    fn apply(&self, shape: Shape, index: usize, pixels: &mut [u8]) {
        let mut stream = stream(self.seed, "trigger of an image", 0, index as u64);
        for pixel in pixels.chunks_exact_mut(shape.channels) {
            let value = stream.below(256) as u8;
            pixel.iter_mut().for_each(|channel| *channel = blended(*channel, self.alpha, value));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_image_has_noise_of_its_own_and_keeps_it() {
        let shape = Shape { height: 4, width: 4, channels: 3 };
        let noise = Noise { alpha: 0.2, seed: 1 };
        let image = |index| {
            let mut pixels = vec![100; shape.len()];
            noise.apply(shape, index, &mut pixels);
            pixels
        };
        assert_eq!(image(0), image(0));
        assert_ne!(image(0), image(1));
        assert!(image(0).chunks(3).all(|pixel| pixel[0] == pixel[1] && pixel[1] == pixel[2]));
        assert!(image(0).iter().all(|value| (80..=131).contains(value)));
    }
}
