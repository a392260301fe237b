//! WaNet (Nguyen and Tran 2021): the whole image is warped slightly, along one smooth field.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::operators::{Operate, Warp};
use super::{Attack, AttackError, Case, Covers, Operator};
use crate::rng::{Stream, stream};
use crate::shape::Shape;

/// WaNet: a smooth field, drawn from the seed, warps the image slightly (section 3 of the paper). Cover images are
/// warped along the field with noise and keep their labels, so that only the field itself counts (section 3.3).
///
/// The paper draws new images and noise in every batch; here they are drawn once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct WaNet {
    /// The number of control points of the field along each side. Between them, the field is bicubic.
    #[schemars(range(min = 2, max = 64))]
    pub grid: u32,
    /// The average distance that the field moves a pixel, in half pixels.
    #[schemars(range(max = 64.0), extend("exclusiveMinimum" = 0.0))]
    pub strength: f64,
    /// The number of cover images per poisoned image.
    #[schemars(range(min = 0.0, max = 1000.0))]
    pub cross_ratio: f64,
}

impl Default for WaNet {
    fn default() -> Self {
        Self { grid: 4, strength: 0.5, cross_ratio: 2.0 }
    }
}

impl Attack for WaNet {
    fn operator(&self, case: &Case<'_>) -> Result<Operator, AttackError> {
        let (shape, side) = (case.shape(), self.grid as usize);
        let mut stream = stream(case.seed, "trigger", 0, 0);
        let control: Vec<f32> = (0..2 * side * side).map(|_| stream.between(-1.0, 1.0)).collect();
        let mean = control.iter().map(|value| value.abs()).sum::<f32>() / control.len() as f32;
        let control: Vec<f32> = control.iter().map(|value| value / mean * self.strength as f32).collect();
        Ok(moved(&unmoved(shape), shape, &upsampled(&control, side, shape)).into())
    }

    fn covers<'a>(&'a self, case: &Case<'a>, trigger: &'a Operator) -> Option<Covers<'a>> {
        let Operator::Warp(Warp { field }) = trigger else { return None };
        let (shape, seed) = (case.shape(), case.seed);
        let change = move |index: usize, pixels: &mut [u8]| {
            let mut stream: Stream = stream(seed, "cover image", 0, index as u64);
            let noise: Vec<f32> = field.iter().map(|_| stream.between(-1.0, 1.0)).collect();
            moved(field, shape, &noise).apply(shape, index, pixels);
        };
        Some(Covers { ratio: self.cross_ratio, parameter: "cross_ratio", change: Box::new(change) })
    }
}

/// The field that reads each pixel from its own place.
fn unmoved(Shape { height, width, .. }: Shape) -> Vec<f32> {
    (0..height).flat_map(|row| (0..width).flat_map(move |col| [row as f32, col as f32])).collect()
}

/// A field with its places moved, clipped to the image. A move of 1 is 1/side of an image that spans -1 to 1, as in
/// the paper's code: (side - 1) / (2 side) pixels.
fn moved(field: &[f32], Shape { height, width, .. }: Shape, moves: &[f32]) -> Warp {
    let last = [height, width].map(|side| (side - 1) as f32);
    let unit = [last[0] / (2 * height) as f32, last[1] / (2 * width) as f32];
    let places = field.iter().zip(moves).enumerate();
    let moved = places.map(|(i, (place, by))| (place + by * unit[i % 2]).clamp(0.0, last[i % 2]));
    Warp { field: moved.collect() }
}

/// Bicubic interpolation from `[side, side, 2]` control points to `[height, width, 2]`; corners map to corners.
fn upsampled(control: &[f32], side: usize, Shape { height, width, .. }: Shape) -> Vec<f32> {
    let taps =
        |i: usize, length: usize| cubic_taps(i as f32 * (side - 1) as f32 / (length - 1).max(1) as f32, side);
    let mut out = Vec::with_capacity(height * width * 2);
    for row in 0..height {
        let down = taps(row, height);
        for col in 0..width {
            let across = taps(col, width);
            for part in 0..2 {
                let at = |r: usize, c: usize| control[(r * side + c) * 2 + part];
                let line = |r: usize| across.iter().map(|&(c, weight)| weight * at(r, c)).sum::<f32>();
                out.push(down.iter().map(|&(r, weight)| weight * line(r)).sum());
            }
        }
    }
    out
}

/// The four points around `at` and their weights: cubic convolution (Keys 1981) with a = -0.75, as PyTorch has it. The
/// outermost point is repeated beyond the ends.
fn cubic_taps(at: f32, side: usize) -> [(usize, f32); 4] {
    const A: f32 = -0.75;
    let near = |x: f32| ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0;
    let far = |x: f32| ((A * x - 5.0 * A) * x + 8.0 * A) * x - 4.0 * A;
    let first = (at.floor() as usize).min(side - 1);
    let t = at - first as f32;
    let point = |i: usize| (first + i).saturating_sub(1).min(side - 1);
    [(point(0), far(t + 1.0)), (point(1), near(t)), (point(2), near(1.0 - t)), (point(3), far(2.0 - t))]
}

#[cfg(test)]
mod tests {
    use super::super::case::tests::{CIFAR, case, grey, operator};
    use super::super::{Poisoning, RateOf};
    use super::*;

    fn field(attack: &WaNet, seed: u64) -> Vec<f32> {
        let Operator::Warp(warp) = operator(attack, CIFAR, seed).unwrap() else { panic!("no warp") };
        warp.field
    }

    #[test]
    fn cubic_weights_are_those_of_pytorch() {
        let weights = |at| cubic_taps(at, 4).map(|(_, weight)| weight);
        assert_eq!(weights(1.0), [0.0, 1.0, 0.0, 0.0]);
        assert_eq!(weights(1.5), [-0.09375, 0.59375, 0.59375, -0.09375]);
        assert_eq!(cubic_taps(0.25, 4).map(|(point, _)| point), [0, 0, 1, 2]);
        assert_eq!(cubic_taps(3.0, 4).map(|(point, _)| point), [2, 3, 3, 3]);
        for at in [0.1, 0.7, 2.9] {
            assert!((weights(at).iter().sum::<f32>() - 1.0).abs() < 1e-6);
        }
    }

    #[test]
    fn control_points_are_met_at_the_corners() {
        let control: Vec<f32> = (0..32).map(|i| i as f32).collect();
        let field = upsampled(&control, 4, CIFAR);
        assert_eq!(
            (&field[..2], &field[62..64], &field[2046..]),
            (&[0.0, 1.0][..], &[6.0, 7.0][..], &[30.0, 31.0][..])
        );
    }

    #[test]
    fn the_field_is_smooth_and_of_the_strength_that_is_asked_for() {
        let moves = |strength| -> Vec<f32> {
            let attack = WaNet { strength, ..WaNet::default() };
            field(&attack, 1).iter().zip(unmoved(CIFAR)).map(|(to, from)| to - from).collect()
        };
        let mean = |moves: &[f32]| moves.iter().map(|by| by.abs()).sum::<f32>() / moves.len() as f32;
        let (weak, strong) = (moves(0.5), moves(2.0));
        assert!((0.08..0.35).contains(&mean(&weak)), "{}", mean(&weak));
        assert!((mean(&strong) / mean(&weak) - 4.0).abs() < 0.4);
        // Neighbors move alike, except at the edges, where places are clipped.
        let jump = |i: usize| (weak[i] - weak[i + 2]).abs();
        assert!((10 * 64..20 * 64).filter(|i| (20..44).contains(&(i % 64))).all(|i| jump(i) < 0.2));
        assert_eq!(field(&WaNet::default(), 1), field(&WaNet::default(), 1));
        assert_ne!(field(&WaNet::default(), 1), field(&WaNet::default(), 2));
    }

    #[test]
    fn cover_images_have_noise_of_their_own_around_the_field() {
        let (dataset, poisoning) =
            (grey(CIFAR), Poisoning { rate_of: RateOf::Dataset, ..Poisoning::default() });
        let (attack, case) = (WaNet::default(), case(&dataset, &poisoning, 1));
        let trigger = attack.operator(&case).unwrap();
        let covers = attack.covers(&case, &trigger).unwrap();
        assert_eq!(covers.ratio, 2.0);
        let ramp: Vec<u8> = (0..CIFAR.len()).map(|i| (i / 3 % 32 * 8) as u8).collect();
        let cover = |index| {
            let mut pixels = ramp.clone();
            (covers.change)(index, &mut pixels);
            pixels
        };
        let mut warped = ramp.clone();
        trigger.get().apply(CIFAR, 0, &mut warped);
        assert_eq!(cover(0), cover(0));
        assert!(cover(0) != cover(1) && cover(0) != warped);
        // A move of 1 is at most half a pixel, 4 gray levels of this ramp.
        assert!(cover(0).iter().zip(&warped).all(|(a, b)| a.abs_diff(*b) <= 5));
    }
}
