//! Warping: every pixel is read from another place of the image.

use serde::{Deserialize, Serialize};

use super::{OUT_OF_RANGE, Operate, WRONG_SHAPE, ensure};
use crate::files::tensors::{NamedTensor, TensorError, TensorFile};
use crate::shape::Shape;

/// x'(p) = x(field(p)), read bilinearly and rounded.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Warp {
    /// Row and column that each pixel is read from, in pixels, `[height, width, 2]`; inside the image.
    #[serde(skip)]
    pub field: Vec<f32>,
}

impl Operate for Warp {
    fn check(&self, shape: Shape) -> Result<(), &'static str> {
        let (places, _) = self.field.as_chunks::<2>();
        let limits = [shape.height - 1, shape.width - 1].map(|last| 0.0..=last as f32);
        ensure(self.field.len() == 2 * shape.height * shape.width, WRONG_SHAPE)?;
        let within = |[row, col]: &[f32; 2]| limits[0].contains(row) && limits[1].contains(col);
        ensure(places.iter().all(within), OUT_OF_RANGE)
    }

    fn apply(&self, shape: Shape, _index: usize, pixels: &mut [u8]) {
        let source = pixels.to_vec();
        let (places, _) = self.field.as_chunks::<2>();
        for (pixel, &place) in pixels.chunks_exact_mut(shape.channels).zip(places) {
            read(&source, shape, place, pixel);
        }
    }

    fn tensors(&self, shape: Shape) -> Vec<NamedTensor<'_>> {
        vec![NamedTensor::f32("field", vec![shape.height, shape.width, 2], &self.field)]
    }

    fn read_tensors(&mut self, file: &mut TensorFile) -> Result<(), TensorError> {
        self.field = file.f32::<3>("field")?.1;
        Ok(())
    }
}

/// Interpolates one pixel between its four neighbors.
fn read(source: &[u8], shape: Shape, [row, col]: [f32; 2], pixel: &mut [u8]) {
    let (top, left) = (row.floor() as usize, col.floor() as usize);
    let (bottom, right) = ((top + 1).min(shape.height - 1), (left + 1).min(shape.width - 1));
    let (down, across) = (row - top as f32, col - left as f32);
    for (channel, out) in pixel.iter_mut().enumerate() {
        let at = |row, col| f32::from(source[(row * shape.width + col) * shape.channels + channel]);
        let between = |row| at(row, left) + across * (at(row, right) - at(row, left));
        *out = (between(top) + down * (between(bottom) - between(top))).round() as u8;
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::changed;
    use super::*;

    #[test]
    fn pixels_come_from_where_the_field_says() {
        let warp = |field: [f32; 4]| Warp { field: field.to_vec() };
        assert_eq!(changed(warp([0.0, 0.0, 0.0, 1.0]), [10, 50]), [10, 50]);
        assert_eq!(changed(warp([0.0, 1.0, 0.0, 0.0]), [10, 50]), [50, 10]);
        assert_eq!(changed(warp([0.0, 0.25, 0.0, 0.99]), [10, 50]), [20, 50]);
    }

    #[test]
    fn rows_columns_and_channels_are_read_bilinearly() {
        let shape = Shape { height: 2, width: 2, channels: 2 };
        let mut pixels = [0, 1, 10, 11, 20, 21, 30, 31];
        let warp = Warp { field: [0.5, 0.5].repeat(4) };
        warp.check(shape).unwrap();
        warp.apply(shape, 0, &mut pixels);
        assert_eq!(pixels, [15, 16, 15, 16, 15, 16, 15, 16]);
        assert!(Warp { field: [0.5, 1.5].repeat(4) }.check(shape).is_err());
    }
}
