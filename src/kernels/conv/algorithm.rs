//! What every algorithm of convolution does.

use std::fmt::Debug;
use std::sync::Arc;

use crate::kernels::Level;
use crate::kernels::image::Bordered;
use crate::kernels::pool::Pool;

/// Loads an image of the batch into the inside of a bordered one, which has its shape.
pub type Load<'a> = &'a (dyn Fn(usize, &mut Bordered) + Sync);

/// Gets the number of an image, the image, and its results.
pub type Work<'a> = &'a (dyn Fn(usize, &mut [f32], &mut [f32]) + Sync);

/// What is done with each image of an output once it is complete, while it is in the cache.
pub struct Finish<'a> {
    /// Results of that work: as many values for each image, or none.
    pub results: &'a mut [f32],
    /// That work.
    pub work: Work<'a>,
}

impl Finish<'_> {
    /// Nothing is done.
    pub fn nothing() -> Self {
        Self { results: &mut [], work: &|_, _, _| {} }
    }
}

/// What is added to the sums of a convolution.
#[derive(Clone, Copy)]
pub enum Addend<'a> {
    /// Nothing.
    Nothing,
    /// A batch of the output's layout.
    Batch(&'a [f32]),
    /// The previous values of the output.
    Output,
}

impl Addend<'_> {
    /// Where the addend of `len` values at `output` begins; null if there is none.
    pub(super) fn pointer(self, output: *mut f32, len: usize) -> *const f32 {
        match self {
            Self::Nothing => std::ptr::null(),
            Self::Batch(batch) => {
                assert_eq!(batch.len(), len, "an addend has the size of the output");
                batch.as_ptr()
            }
            Self::Output => output.cast_const(),
        }
    }
}

/// A convolution algorithm for batches of images of one shape.
///
/// The images are distributed among the threads of the current pool of `rayon`. No sum depends on how.
pub trait Convolution: Debug + Send + Sync {
    /// The number of images with which the algorithm is as fast as with more.
    fn images_at_a_time(&self) -> usize;

    /// Values of a weight packed for the forward pass.
    fn packed_len(&self) -> usize;

    /// Values of a weight packed for the input gradient.
    fn packed_backward_len(&self) -> usize;

    /// Packs a weight (kernel, kernel, in, out) for the forward pass.
    fn pack_forward(&self, level: Level, weight: &[f32], packed: &mut [f32]);

    /// Packs a weight (kernel, kernel, in, out) for the input gradient.
    fn pack_backward(&self, level: Level, weight: &[f32], packed: &mut [f32]);

    /// Convolves a batch: `output = sums + addend`, channels padded to whole vectors.
    fn forward(
        &self,
        level: Level,
        input: Load<'_>,
        packed: &[f32],
        addend: Addend<'_>,
        output: &mut [f32],
        finish: Finish<'_>,
    );

    /// Computes the gradient of a batch's input from that of its output: `output = sums + addend`.
    fn backward(
        &self,
        level: Level,
        gradient: Load<'_>,
        packed: &[f32],
        addend: Addend<'_>,
        output: &mut [f32],
        finish: Finish<'_>,
    );

    /// Adds a batch's weight gradient to one in the layout (kernel, kernel, in, out). `input` is the input of the forward
    /// pass, `gradient` the gradient of its output.
    fn weight_gradient(
        &self,
        level: Level,
        pool: &Arc<Pool>,
        batch: usize,
        input: Load<'_>,
        gradient: Load<'_>,
        of_weight: &mut [f32],
    );
}
