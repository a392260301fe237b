//! One image's activation with a border: the input of convolutions.

use super::{LANES, padded};

/// An NHWC image with a border of zeros, and one vector of slack at its end. The border is one pixel wide at the top and
/// on the left, and as wide as the reader needs at the bottom and on the right.
///
/// Channels are stored as given (an input image has 3) or padded to whole vectors.
#[derive(Clone, Debug, Default)]
pub struct Bordered {
    values: Vec<f32>,
    shape: [usize; 3],
    /// Values from one row to the next.
    row: usize,
}

impl Bordered {
    /// Changes the shape. `ends`: the width of the border at the bottom and on the right. The border is zero; the inside
    /// keeps old values or is zero.
    pub fn reshape(&mut self, height: usize, width: usize, pitch: usize, ends: [usize; 2]) {
        let row = (1 + width + ends[1]) * pitch;
        let len = (1 + height + ends[0]) * row + LANES;
        if (self.shape, self.row, self.values.len()) == ([height, width, pitch], row, len) {
            return;
        }
        (self.shape, self.row) = ([height, width, pitch], row);
        self.values.clear();
        self.values.resize(len, 0.0);
    }

    fn inside(&self, y: usize) -> std::ops::Range<usize> {
        let [_, width, pitch] = self.shape;
        let start = (y + 1) * self.row + pitch;
        start..start + width * pitch
    }

    /// The pixels of row `y`, without the border.
    pub fn row_mut(&mut self, y: usize) -> &mut [f32] {
        let inside = self.inside(y);
        &mut self.values[inside]
    }

    /// The pixels of row `y`, without the border.
    pub fn row(&self, y: usize) -> &[f32] {
        &self.values[self.inside(y)]
    }

    /// Rows without the border.
    pub fn height(&self) -> usize {
        self.shape[0]
    }

    /// All values, border and slack included.
    pub fn values(&self) -> &[f32] {
        &self.values
    }
}

/// Distance between two pixels of an activation: its channels, padded unless it is an input image.
pub fn pitch(channels: usize, is_input: bool) -> usize {
    if is_input { channels } else { padded(channels) }
}
