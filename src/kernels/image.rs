//! One image's activation with a border: the input of convolutions.

use super::{LANES, padded};

/// An NHWC image with a border of zeros one pixel wide, and one vector of slack at its end.
///
/// Channels are stored as given (an input image has 3) or padded to whole vectors.
#[derive(Clone, Debug, Default)]
pub struct Bordered {
    values: Vec<f32>,
    width: usize,
    pitch: usize,
    height: usize,
}

impl Bordered {
    /// Changes the shape. The border is zero; the inside keeps old values or is zero.
    pub fn reshape(&mut self, height: usize, width: usize, pitch: usize) {
        if (self.height, self.width, self.pitch) == (height, width, pitch) {
            return;
        }
        (self.height, self.width, self.pitch) = (height, width, pitch);
        self.values.clear();
        self.values.resize((height + 2) * (width + 2) * pitch + LANES, 0.0);
    }

    /// The pixels of row `y`, without the border.
    pub fn row_mut(&mut self, y: usize) -> &mut [f32] {
        let start = ((y + 1) * (self.width + 2) + 1) * self.pitch;
        &mut self.values[start..start + self.width * self.pitch]
    }

    /// The pixels of row `y`, without the border.
    pub fn row(&self, y: usize) -> &[f32] {
        let start = ((y + 1) * (self.width + 2) + 1) * self.pitch;
        &self.values[start..start + self.width * self.pitch]
    }

    /// Rows without the border.
    pub fn height(&self) -> usize {
        self.height
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
