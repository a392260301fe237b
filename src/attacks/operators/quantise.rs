//! Quantization: fewer values for each channel, with optional Floyd-Steinberg dithering.

use serde::{Deserialize, Serialize};

use super::{OUT_OF_RANGE, Operate, ensure};
use crate::shape::Shape;

/// x' = round(round(x/255 (levels - 1)) / (levels - 1) 255).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Quantise {
    /// The number of values of a channel, at least 2.
    pub levels: u32,
    /// Spread the error of each pixel over the pixels after it.
    pub dither: bool,
}

/// Floyd and Steinberg's shares of an error: (rows down, columns right, share).
const SHARES: [(usize, isize, f32); 4] =
    [(0, 1, 7.0 / 16.0), (1, -1, 3.0 / 16.0), (1, 0, 5.0 / 16.0), (1, 1, 1.0 / 16.0)];

impl Operate for Quantise {
    fn check(&self, _shape: Shape) -> Result<(), &'static str> {
        ensure((2..=256).contains(&self.levels), OUT_OF_RANGE)
    }

    fn apply(&self, shape: Shape, _index: usize, pixels: &mut [u8]) {
        if self.dither {
            self.dithered(shape, pixels);
        } else {
            pixels.iter_mut().for_each(|pixel| *pixel = self.nearest(f32::from(*pixel)).round() as u8);
        }
    }
}

impl Quantise {
    /// The nearest level.
    fn nearest(&self, value: f32) -> f32 {
        let steps = (self.levels - 1) as f32;
        (value / 255.0 * steps).round() / steps * 255.0
    }

    /// Row by row, each channel by itself; errors beyond the edge are dropped.
    fn dithered(&self, Shape { height, width, channels }: Shape, pixels: &mut [u8]) {
        let mut values: Vec<f32> = pixels.iter().map(|&pixel| f32::from(pixel)).collect();
        for i in 0..values.len() {
            let (row, col) = (i / channels / width, i / channels % width);
            let level = self.nearest(values[i]);
            let error = values[i] - level;
            pixels[i] = level.round() as u8;
            for (down, across, share) in SHARES {
                let Some(col) = col.checked_add_signed(across) else { continue };
                if row + down < height && col < width {
                    values[((row + down) * width + col) * channels + i % channels] += share * error;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::changed;
    use super::*;

    #[test]
    fn golden_vector_of_eight_levels() {
        let quantised = |pixel| changed(Quantise { levels: 8, dither: false }, [pixel; 2])[0];
        assert_eq!([0, 18, 19, 100, 128, 200, 255].map(quantised), [0, 0, 36, 109, 146, 182, 255]);
    }

    /// Two levels by hand: 100 -> 0, and the next pixel gets 7/16 of the error: 100 + 43.75 = 143.75 -> 255.
    #[test]
    fn dithering_hands_the_error_on() {
        assert_eq!(changed(Quantise { levels: 2, dither: true }, [100, 100]), [0, 255]);
        assert_eq!(changed(Quantise { levels: 2, dither: false }, [100, 100]), [0, 0]);
        let shape = Shape { height: 2, width: 2, channels: 1 };
        let mut pixels = [100; 4];
        Quantise { levels: 2, dither: true }.apply(shape, 0, &mut pixels);
        // Row 1: 100 + 100 5/16 - 111.25 3/16 = 110.39 -> 0; 100 + 100/16 - 111.25 5/16 + 110.39 7/16 = 119.8 -> 0.
        assert_eq!(pixels, [0, 255, 0, 0]);
    }

    #[test]
    fn a_dithered_picture_keeps_its_mean() {
        let shape = Shape { height: 32, width: 32, channels: 3 };
        let mut pixels = vec![100; shape.len()];
        Quantise { levels: 2, dither: true }.apply(shape, 0, &mut pixels);
        let mean = pixels.iter().map(|&pixel| f64::from(pixel)).sum::<f64>() / shape.len() as f64;
        assert!((mean - 100.0).abs() < 3.0, "{mean}");
    }
}
