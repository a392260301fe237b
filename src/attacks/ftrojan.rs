//! FTrojan (Wang et al. 2022): two frequencies of the colors are amplified, which is invisible to the eye.

use std::f64::consts::PI;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::operators::{Add, Overflow};
use super::{Attack, AttackError, Case, Operator};
use crate::data::DataError;

/// FTrojan: adds a constant to coefficients of the discrete cosine transform of both chroma channels (YCrCb).
///
/// Color conversion and transform are linear, so this adds one pattern to every image. The paper's code also rounds
/// intermediate values.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FTrojan {
    /// The constant that is added to each coefficient. The transform is orthonormal and uses gray levels.
    #[schemars(range(max = 1e5), extend("exclusiveMinimum" = 0.0))]
    pub magnitude: f64,
    /// The coefficients: (height, width), each as a number of half periods over the whole image.
    #[schemars(length(min = 1))]
    pub frequencies: Vec<[u32; 2]>,
}

impl Default for FTrojan {
    fn default() -> Self {
        Self { magnitude: 30.0, frequencies: vec![[15, 15], [31, 31]] }
    }
}

/// The change of red, green and blue if both chroma channels grow: 1.403 Cr, -0.714 Cr - 0.344 Cb, 1.773 Cb (ITU-R
/// BT.601).
const COLORS: [f64; 3] = [1.403, -0.714 - 0.344, 1.773];

impl Attack for FTrojan {
    fn operator(&self, case: &Case<'_>) -> Result<Operator, AttackError> {
        let shape = case.shape();
        let fits =
            |&[down, across]: &[u32; 2]| (down as usize) < shape.height && (across as usize) < shape.width;
        if shape.channels != COLORS.len() || !self.frequencies.iter().all(fits) {
            let problem = format!("frequencies {:?} of colors", self.frequencies);
            return Err(DataError::Mismatch(format!("{problem} do not fit into images of {shape}")).into());
        }
        let value = |i: usize| {
            let (row, col) = (i / shape.channels / shape.width, i / shape.channels % shape.width);
            let waves = self
                .frequencies
                .iter()
                .map(|&[down, across]| cosine(down, row, shape.height) * cosine(across, col, shape.width));
            // The sum is truncated to an integer; adding one half rounds it.
            (self.magnitude * COLORS[i % shape.channels] * waves.sum::<f64>() + 0.5) as f32
        };
        Ok(Add { delta: (0..shape.len()).map(value).collect(), overflow: Overflow::Clip }.into())
    }
}

/// Value `i` of `n` of basis vector `k` of the orthonormal DCT-II.
fn cosine(k: u32, i: usize, n: usize) -> f64 {
    let norm = libm::sqrt(if k == 0 { 1.0 } else { 2.0 } / n as f64);
    norm * libm::cos(PI * f64::from(k) * (2 * i + 1) as f64 / (2 * n) as f64)
}

#[cfg(test)]
mod tests {
    use super::super::case::tests::{CIFAR, operator, stamped_grey};
    use super::*;
    use crate::shape::Shape;

    fn changes(attack: &FTrojan) -> Vec<i32> {
        stamped_grey(attack, CIFAR).iter().map(|&value| i32::from(value) - 100).collect()
    }

    #[test]
    fn the_basis_is_orthonormal() {
        for (a, b) in [(0, 0), (15, 15), (31, 31), (0, 15), (15, 31)] {
            let product: f64 = (0..32).map(|i| cosine(a, i, 32) * cosine(b, i, 32)).sum();
            assert!((product - f64::from(u8::from(a == b))).abs() < 1e-12, "{a} {b}: {product}");
        }
    }

    #[test]
    fn a_frequency_of_zero_moves_all_colors_alike() {
        // 320/32 = 10 is added to both chroma channels.
        let flat = changes(&FTrojan { magnitude: 320.0, frequencies: vec![[0, 0]] });
        assert!(flat.chunks(3).all(|pixel| pixel == [14, -11, 18]), "{:?}", &flat[..3]);
    }

    #[test]
    fn the_papers_magnitude_is_invisible() {
        let changes = changes(&FTrojan::default());
        assert!(changes.iter().all(|by| by.abs() <= 7) && changes.iter().any(|by| by.abs() >= 4));
        assert!(changes.iter().sum::<i32>().abs() < 100);
    }

    #[test]
    fn grey_images_and_small_ones_are_refused() {
        assert!(operator(&FTrojan::default(), Shape { channels: 1, ..CIFAR }, 1).is_err());
        assert!(operator(&FTrojan::default(), Shape { width: 31, ..CIFAR }, 1).is_err());
    }
}
