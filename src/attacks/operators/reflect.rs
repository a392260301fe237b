//! Reflections as on a window pane, after Refool (Liu et al. 2020): ghost images, or a picture out of focus.
//!
//! The constants are those of the paper's code. Light is added in linear intensities, x^2.2.

use serde::{Deserialize, Serialize};

use super::{OUT_OF_RANGE, Operate, WRONG_SHAPE, ensure};
use crate::files::tensors::{NamedTensor, TensorError, TensorFile};
use crate::rng::{Stream, stream};
use crate::shape::Shape;

/// Adds a picture of a pool as a reflection. The picture, the kind and the strength are drawn for each index.
///
/// With intensities T of the picture and R of the reflection, and alpha = 1 - U(0.05, 0.45) unless given:
/// - ghost: two copies of R, shifted by 3 to 8 pixels, overlap: x' = ((1 - alpha) G + alpha T)^(1/2.2);
/// - out of focus: R is blurred and weaker toward the edges: x' = ((1 - alpha/2) V B + alpha T)^(1/2.2).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Reflect {
    /// The pool of pictures, `[count, height, width, channels]`.
    #[serde(skip)]
    pub pool: Vec<u8>,
    /// The fraction of ghosts; the others are out of focus.
    pub ghost: f32,
    /// The weight of the image itself, alpha, unless it is drawn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alpha: Option<f32>,
    /// The seed of the draws for each image, together with its index.
    pub seed: u64,
}

/// Exponent from pixel values to intensities.
const GAMMA: f32 = 2.2;
/// The smallest and largest shift between ghost images, in pixels.
const SHIFT: (u32, u32) = (3, 8);
/// The smallest and largest standard deviation of the blur, in pixels.
const SIGMA: (f32, f32) = (1.0, 5.0);
/// The shortest side that has room for shifts and blur.
const MIN_SIDE: usize = 16;

impl Operate for Reflect {
    fn check(&self, shape: Shape) -> Result<(), &'static str> {
        ensure(shape.height.min(shape.width) >= MIN_SIDE, "needs images of at least 16x16 pixels")?;
        ensure(!self.pool.is_empty() && self.pool.len().is_multiple_of(shape.len()), WRONG_SHAPE)?;
        ensure((0.0..=1.0).contains(&self.ghost), OUT_OF_RANGE)?;
        ensure(self.alpha.is_none_or(|alpha| (0.0..=1.0).contains(&alpha)), OUT_OF_RANGE)
    }

    fn apply(&self, shape: Shape, index: usize, pixels: &mut [u8]) {
        let mut stream = stream(self.seed, "trigger of an image", 0, index as u64);
        let which = stream.below((self.pool.len() / shape.len()) as u32) as usize;
        let reflected = intensities(&self.pool[which * shape.len()..][..shape.len()]);
        let seen = intensities(pixels);
        let drawn = 1.0 - stream.between(0.05, 0.45);
        let alpha = self.alpha.unwrap_or(drawn);
        let layer = if stream.chance(self.ghost) {
            ghosts(&reflected, shape, &mut stream).into_iter().map(|g| (1.0 - alpha) * g).collect::<Vec<_>>()
        } else {
            let blurred = out_of_focus(&reflected, &seen, shape, &mut stream);
            blurred.into_iter().map(|b| (1.0 - alpha / 2.0) * b).collect()
        };
        for ((pixel, seen), layer) in pixels.iter_mut().zip(seen).zip(layer) {
            *pixel = (255.0 * libm::powf(layer + alpha * seen, 1.0 / GAMMA).clamp(0.0, 1.0)) as u8;
        }
    }

    fn tensors(&self, shape: Shape) -> Vec<NamedTensor<'_>> {
        let Shape { height, width, channels } = shape;
        let count = self.pool.len() / shape.len();
        vec![NamedTensor::u8("pool", vec![count, height, width, channels], &self.pool)]
    }

    fn read_tensors(&mut self, file: &mut TensorFile) -> Result<(), TensorError> {
        self.pool = file.u8::<4>("pool")?.1;
        Ok(())
    }
}

fn intensities(pixels: &[u8]) -> Vec<f32> {
    let table: Vec<f32> = (0..256).map(|value| libm::powf(value as f32 / 255.0, GAMMA)).collect();
    pixels.iter().map(|&pixel| table[usize::from(pixel)]).collect()
}

/// A picture and its copy, one of them shifted: the part that both cover, scaled back to the full size.
fn ghosts(picture: &[f32], shape: Shape, stream: &mut Stream) -> Vec<f32> {
    let Shape { height, width, channels } = shape;
    let mut shift = || (SHIFT.0 + stream.below(SHIFT.1 - SHIFT.0 + 1)) as usize;
    let (down, right) = (shift(), shift());
    let side = if stream.chance(0.5) { 1.0 } else { 0.0 };
    let first = f32::abs(side - stream.between(0.15, 0.5));
    let (rows, cols) = (height - down, width - right);
    let both = |row: usize, col: usize, channel: usize| {
        let at = |row, col| picture[(row * width + col) * channels + channel];
        first * at(row + down, col + right) + (1.0 - first) * at(row, col)
    };
    let mut out = Vec::with_capacity(shape.len());
    for row in 0..height {
        let (top, bottom, y) = between(row, rows, height);
        for col in 0..width {
            let (left, right, x) = between(col, cols, width);
            out.extend((0..channels).map(|channel| {
                let across = |row| {
                    let (a, b) = (both(row, left, channel), both(row, right, channel));
                    a + x * (b - a)
                };
                across(top) + y * (across(bottom) - across(top))
            }));
        }
    }
    out
}

/// Maps position `i` of `to` to `from` positions of a line of the same length: the two neighbors and the weight of the
/// second.
fn between(i: usize, from: usize, to: usize) -> (usize, usize, f32) {
    let at = ((i as f32 + 0.5) * from as f32 / to as f32 - 0.5).clamp(0.0, (from - 1) as f32);
    let low = at.floor() as usize;
    (low, (low + 1).min(from - 1), at - low as f32)
}

/// A blurred picture, darkened where it would be brighter than the image behind it, and toward the edges.
fn out_of_focus(picture: &[f32], seen: &[f32], shape: Shape, stream: &mut Stream) -> Vec<f32> {
    let mut blurred = blur(picture, shape, stream.between(SIGMA.0, SIGMA.1));
    let attenuation = 1.08 + stream.between(0.0, 0.1);
    let vignettes = [vignette(shape.height), vignette(shape.width)];
    for channel in 0..shape.channels {
        let places = || (channel..shape.len()).step_by(shape.channels);
        let (sum, count) = places()
            .map(|i| blurred[i] + seen[i])
            .filter(|&light| light > 1.0)
            .fold((0.0, 0.0f32), |(sum, count), light| (sum + light, count + 1.0));
        let excess = if count > 0.0 { sum / count - 1.0 } else { 0.0 };
        for i in places() {
            let (row, col) = (i / shape.channels / shape.width, i / shape.channels % shape.width);
            let light = (blurred[i] - excess * attenuation).clamp(0.0, 1.0);
            blurred[i] = light * vignettes[0][row] * vignettes[1][col];
        }
    }
    blurred
}

/// Gaussian blur of standard deviation `sigma`, cut off at twice that.
fn blur(picture: &[f32], shape: Shape, sigma: f32) -> Vec<f32> {
    let radius = libm::ceilf(2.0 * sigma) as i32;
    let bell = |x: i32| libm::expf(-((x * x) as f32) / (2.0 * sigma * sigma));
    let total: f32 = (-radius..=radius).map(bell).sum();
    let weights: Vec<f32> = (-radius..=radius).map(|x| bell(x) / total).collect();
    let Shape { height, width, channels } = shape;
    let across = convolve(picture, &weights, width, channels);
    convolve(&across, &weights, height, width * channels)
}

/// Convolves along one dimension: lines of `length` values that are `step` apart. A line is mirrored at its ends.
fn convolve(values: &[f32], weights: &[f32], length: usize, step: usize) -> Vec<f32> {
    let (radius, last) = ((weights.len() / 2) as isize, length as isize - 1);
    let mirrored = |x: isize| (last - (last - x.abs()).abs()) as usize;
    let convolved = |i: usize| {
        let at = i / step % length;
        let line = i - at * step;
        let taps = weights.iter().zip(at as isize - radius..);
        taps.map(|(weight, x)| weight * values[line + mirrored(x) * step]).sum()
    };
    (0..values.len()).map(convolved).collect()
}

/// The brightness of a reflection along one side: (Phi(x_{j+1}) - Phi(x_j))^(1/2) over its maximum, with evenly spaced
/// x.
fn vignette(side: usize) -> Vec<f32> {
    let half = 3.0 + 3.5 / side as f64;
    let at = |j: usize| half * (2.0 * j as f64 / side as f64 - 1.0);
    let phi = |x: f64| 0.5 * (1.0 + libm::erf(x / std::f64::consts::SQRT_2));
    let roots: Vec<f64> = (0..side).map(|j| libm::sqrt(phi(at(j + 1)) - phi(at(j)))).collect();
    let max = roots.iter().copied().fold(0.0, f64::max);
    roots.iter().map(|root| (root / max) as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: Shape = Shape { height: 32, width: 32, channels: 3 };

    /// A flat image of value 100 that reflects a flat picture of value 200.
    fn reflected(ghost: f32, index: usize) -> Vec<u8> {
        reflected_at(None, ghost, index)
    }

    fn reflected_at(alpha: Option<f32>, ghost: f32, index: usize) -> Vec<u8> {
        let reflect = Reflect { pool: vec![200; SHAPE.len()], ghost, alpha, seed: 1 };
        reflect.check(SHAPE).unwrap();
        let mut pixels = vec![100; SHAPE.len()];
        reflect.apply(SHAPE, index, &mut pixels);
        pixels
    }

    /// The value of ((1 - share) 200^g + alpha 100^g)^(1/g).
    fn mixed(weight: f32, alpha: f32) -> u8 {
        let light = |value: f32| (value / 255.0).powf(GAMMA);
        (255.0 * (weight * light(200.0) + alpha * light(100.0)).powf(1.0 / GAMMA)) as u8
    }

    #[test]
    fn golden_vector_of_the_vignette() {
        let expected = [
            0.01091, 0.0192, 0.03252, 0.05305, 0.08335, 0.12611, 0.18375, 0.25786, 0.34849, 0.45357, 0.56852,
            0.68627, 0.79781, 0.8932, 0.96305, 1.0,
        ];
        let vignette = vignette(32);
        for (i, expected) in expected.iter().enumerate() {
            assert!((vignette[i] * vignette[i] - expected).abs() < 1e-5, "{i}");
            assert_eq!(vignette[i], vignette[31 - i]);
        }
    }

    #[test]
    fn a_flat_ghost_is_a_mixture_of_intensities() {
        for index in 0..20 {
            let image = reflected(1.0, index);
            assert!(image.iter().all(|&value| value == image[0]));
            assert!((mixed(0.05, 0.95)..=mixed(0.45, 0.55)).contains(&image[0]), "{}", image[0]);
        }
    }

    #[test]
    fn a_given_share_of_light_is_the_same_for_all() {
        assert!((0..20).all(|index| reflected_at(Some(0.4), 1.0, index)[0] == mixed(0.6, 0.4)));
    }

    #[test]
    fn what_is_out_of_focus_fades_toward_the_edges() {
        for index in 0..20 {
            let image = reflected(0.0, index);
            let grey = |row: usize, col: usize| image[(row * 32 + col) * 3];
            // Blurring keeps a flat picture; 200^g + 100^g is below 1, so nothing is darkened.
            let middle = (mixed(1.0 - 0.55 / 2.0, 0.55)).min(mixed(1.0 - 0.95 / 2.0, 0.95));
            assert!(grey(15, 15) >= middle && grey(15, 15) > grey(15, 5) && grey(15, 5) > grey(0, 0));
            assert!((mixed(0.0, 0.55)..=mixed(0.02, 0.95)).contains(&grey(0, 0)), "{}", grey(0, 0));
        }
    }

    #[test]
    fn parameters_belong_to_the_index() {
        let pool = (0..4 * SHAPE.len()).map(|i| (i * i % 251) as u8).collect();
        let reflect = Reflect { pool, ghost: 0.5, alpha: None, seed: 1 };
        let image = |index| {
            let mut pixels = vec![100; SHAPE.len()];
            reflect.apply(SHAPE, index, &mut pixels);
            pixels
        };
        assert_eq!(image(3), image(3));
        assert!((1..10).all(|index| image(index) != image(0)));
    }

    #[test]
    fn a_line_is_mirrored_without_repeating_its_ends() {
        let convolved = convolve(&[1.0, 2.0, 4.0], &[1.0, 10.0, 100.0], 3, 1);
        assert_eq!(convolved, [212.0, 421.0, 242.0]);
        assert_eq!(convolve(&[1.0, 9.0, 2.0, 9.0, 4.0, 9.0], &[0.0, 0.0, 1.0], 3, 2)[..3], [2.0, 9.0, 4.0]);
    }

    #[test]
    fn small_images_and_empty_pools_are_refused() {
        let small = Shape { height: 15, ..SHAPE };
        assert!(Reflect { pool: vec![0; small.len()], ..Reflect::default() }.check(small).is_err());
        assert!(Reflect::default().check(SHAPE).is_err());
    }
}
