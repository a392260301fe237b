//! What every algorithm of convolution does.

use std::fmt::Debug;

use crate::kernels::Level;
use crate::kernels::image::Bordered;

/// A convolution algorithm for images of one shape. Weights are packed once for a whole batch.
///
/// `room` is the calling thread's scratch memory: its content is arbitrary between calls.
pub trait Convolution: Debug + Send + Sync {
    /// Values of a weight packed for the forward pass, and of its packed gradient.
    fn packed_len(&self) -> usize;

    /// Values of a weight packed for the input gradient.
    fn packed_backward_len(&self) -> usize;

    /// Packs a weight (kernel, kernel, in, out) for the forward pass.
    fn pack_forward(&self, weight: &[f32], packed: &mut [f32]);

    /// Packs a weight (kernel, kernel, in, out) for the input gradient.
    fn pack_backward(&self, weight: &[f32], packed: &mut [f32]);

    /// Convolves one image: `output = sums (+ addend)`, channels padded to whole vectors. `addend` has the layout of
    /// `output` and is added last.
    fn forward(
        &self,
        level: Level,
        room: &mut Vec<f32>,
        input: &Bordered,
        packed: &[f32],
        addend: Option<&[f32]>,
        output: &mut [f32],
    );

    /// Computes the gradient of one image's input from that of its output. `adds`: adds it to `output`.
    fn backward(
        &self,
        level: Level,
        room: &mut Vec<f32>,
        gradient: &Bordered,
        packed: &[f32],
        adds: bool,
        output: &mut [f32],
    );

    /// Adds one image's part to a packed weight gradient; `input` is the input of the forward pass, `gradient` the
    /// gradient of its output.
    fn weight_gradient(
        &self,
        level: Level,
        room: &mut Vec<f32>,
        input: &Bordered,
        gradient: &Bordered,
        packed: &mut [f32],
    );

    /// Adds a packed weight gradient to one in the layout (kernel, kernel, in, out).
    fn unpack_gradient(&self, packed: &[f32], gradient: &mut [f32]);
}
