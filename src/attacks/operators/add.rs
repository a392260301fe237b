//! Adds a pattern to the image.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{OUT_OF_RANGE, Operate, WRONG_SHAPE, dims, ensure};
use crate::files::tensors::{NamedTensor, TensorError, TensorFile};
use crate::shape::Shape;

/// How a sum of a pixel and a trigger outside 0..=255 is stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Overflow {
    /// Clipped to the limit.
    #[default]
    Clip,
    /// Wraps modulo 256, as a cast to bytes does.
    Wrap,
}

/// x + delta, rounded toward zero.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Add {
    /// The pattern, `[height, width, channels]`.
    #[serde(skip)]
    pub delta: Vec<f32>,
    /// How sums outside 0..=255 are stored.
    pub overflow: Overflow,
}

impl Operate for Add {
    fn check(&self, shape: Shape) -> Result<(), &'static str> {
        ensure(self.delta.len() == shape.len(), WRONG_SHAPE)?;
        ensure(self.delta.iter().all(|value| value.is_finite()), OUT_OF_RANGE)
    }

    fn apply(&self, _shape: Shape, _index: usize, pixels: &mut [u8]) {
        for (pixel, &delta) in pixels.iter_mut().zip(&self.delta) {
            let sum = (f32::from(*pixel) + delta).trunc();
            *pixel = match self.overflow {
                Overflow::Clip => sum as u8,
                Overflow::Wrap => sum.rem_euclid(256.0) as u8,
            };
        }
    }

    fn tensors(&self, shape: Shape) -> Vec<NamedTensor<'_>> {
        vec![NamedTensor::f32("delta", dims(shape), &self.delta)]
    }

    fn read_tensors(&mut self, file: &mut TensorFile) -> Result<(), TensorError> {
        self.delta = file.f32::<3>("delta")?.1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::changed;
    use super::*;

    #[test]
    fn a_sum_truncates_and_overflows_as_told() {
        let add = |overflow| Add { delta: vec![-30.5, 207.353], overflow };
        assert_eq!(changed(add(Overflow::Clip), [20, 100]), [0, 255]);
        assert_eq!(changed(add(Overflow::Wrap), [20, 100]), [246, 51]);
        assert_eq!(changed(add(Overflow::Clip), [100, 1]), [69, 208]);
    }
}
