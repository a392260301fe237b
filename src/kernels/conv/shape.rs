//! The sizes of a convolution.

/// The sizes of a convolution without bias, padded by `kernel / 2`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvShape {
    /// Rows of the input.
    pub height: usize,
    /// Columns of the input.
    pub width: usize,
    /// Channels of the input.
    pub cin: usize,
    /// Distance between two pixels of the input, at least `cin`.
    pub pitch: usize,
    /// Channels of the output.
    pub cout: usize,
    /// 1 or 3.
    pub kernel: usize,
    /// 1 or 2.
    pub stride: usize,
}

impl ConvShape {
    /// Rows of the output.
    pub fn out_height(&self) -> usize {
        self.height.div_ceil(self.stride)
    }

    /// Columns of the output.
    pub fn out_width(&self) -> usize {
        self.width.div_ceil(self.stride)
    }

    /// The floating-point operations of one image's forward pass by definition, with a multiply-add counted as two.
    /// Each of the two gradients needs as many.
    pub fn flops(&self) -> usize {
        2 * self.kernel * self.kernel * self.cin * self.cout * self.out_height() * self.out_width()
    }
}
