//! Blends a pattern into the image. Weights of 0 and 1 make a patch.

use serde::{Deserialize, Serialize};

use super::{OUT_OF_RANGE, Operate, WRONG_SHAPE, dims, ensure};
use crate::files::tensors::{NamedTensor, TensorError, TensorFile};
use crate::shape::Shape;

/// x + mask (pattern - x), rounded toward zero; both tensors are `[height, width, channels]`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Blend {
    /// The weights of the pattern, in 0..=1.
    #[serde(skip)]
    pub mask: Vec<f32>,
    /// The pattern.
    #[serde(skip)]
    pub pattern: Vec<u8>,
}

impl Operate for Blend {
    fn check(&self, shape: Shape) -> Result<(), &'static str> {
        ensure(self.mask.len() == shape.len() && self.pattern.len() == shape.len(), WRONG_SHAPE)?;
        ensure(self.mask.iter().all(|share| (0.0..=1.0).contains(share)), OUT_OF_RANGE)
    }

    fn apply(&self, _shape: Shape, _index: usize, pixels: &mut [u8]) {
        for ((pixel, &share), &value) in pixels.iter_mut().zip(&self.mask).zip(&self.pattern) {
            *pixel = blended(*pixel, share, value);
        }
    }

    fn tensors(&self, shape: Shape) -> Vec<NamedTensor<'_>> {
        vec![
            NamedTensor::f32("mask", dims(shape), &self.mask),
            NamedTensor::u8("pattern", dims(shape), &self.pattern),
        ]
    }

    fn read_tensors(&mut self, file: &mut TensorFile) -> Result<(), TensorError> {
        (self.mask, self.pattern) = (file.f32::<3>("mask")?.1, file.u8::<3>("pattern")?.1);
        Ok(())
    }
}

/// x + share (value - x), rounded toward zero.
pub(super) fn blended(pixel: u8, share: f32, value: u8) -> u8 {
    let from = f32::from(pixel);
    (from + share * (f32::from(value) - from)) as u8
}

#[cfg(test)]
mod tests {
    use super::super::tests::changed;
    use super::*;

    #[test]
    fn a_blend_truncates_and_its_extremes_are_exact() {
        let blend = |share| Blend { mask: vec![share; 2], pattern: vec![14, 255] };
        assert_eq!(changed(blend(0.2), [100, 255]), [82, 255]);
        assert_eq!(changed(blend(0.0), [7, 9]), [7, 9]);
        assert_eq!(changed(blend(1.0), [7, 9]), [14, 255]);
    }
}
