//! 3x3 convolution of stride 1 by Winograd's algorithms.
//!
//! Source: Lavin and Gray, Fast Algorithms for Convolutional Neural Networks (2016), section 4.1; the points of the larger
//! tiles and their error as in Barabasz et al., Error Analysis and Improving the Accuracy of Winograd Convolution (2018).
//! An input is cut into *tiles* that overlap by two. For a tile `d` and a kernel `g`, the output is `A'[(G g G') * (B' d
//! B)]A`, where `*` multiplies the *positions* one by one and sums over the input channels: as many products of matrices
//! (tiles x channels in) and (channels in x channels out) as there are positions. The gradient of the kernel runs the
//! same way backwards, `G'[(B' d B) * (A e A')]G` summed over the tiles, for the gradient `e` of a tile's output.
//!
//! The tiles of many images are multiplied together, so that the weights are read once for all of them, and small images
//! fill the registers as well.

mod forward;
mod gradient;
mod pack;
mod product;
mod tiling;
mod transforms;

use std::marker::PhantomData;
use std::sync::Arc;

use super::algorithm::{Addend, Finish, Load};
use super::sharing::{at_a_time, share, with_scratch};
use super::{ConvShape, Convolution};
use crate::kernels::image::Bordered;
use crate::kernels::pool::Pool;
use crate::kernels::simd::LANES;
use crate::kernels::{Level, padded};
use tiling::Tiling;
pub(super) use tiling::{Four, Two};
use transforms::Covered;

/// The convolution with the tiles `F`.
#[derive(Debug)]
pub(super) struct Winograd<F> {
    shape: ConvShape,
    tiling: PhantomData<F>,
}

/// Where the tiles of an image lie: in the bordered input and in the output, each with its channels.
#[derive(Clone, Copy, Debug)]
struct Tiles {
    height: usize,
    width: usize,
    /// Rows and columns of a tile's output.
    side: usize,
    /// Tiles in a row, and in the image.
    across: usize,
    count: usize,
    /// Channels of the input, and of the output.
    depth: usize,
    channels_out: usize,
}

impl Tiles {
    fn new<F: Tiling>(shape: &ConvShape, depth: usize, channels_out: usize) -> Self {
        let ConvShape { height, width, .. } = *shape;
        let across = width.div_ceil(F::SIDE);
        let count = height.div_ceil(F::SIDE) * across;
        Self { height, width, side: F::SIDE, across, count, depth, channels_out }
    }

    /// Loads an image with these channels into a bordered one that holds all tiles.
    fn load(&self, image: usize, load: Load<'_>, channels: usize, to: &mut Bordered) {
        let end = |length: usize| length.next_multiple_of(self.side) - length + 1;
        to.reshape(self.height, self.width, channels, [end(self.height), end(self.width)]);
        load(image, to);
        let len = (self.count / self.across * self.side + 2) * self.row(channels);
        assert!(len <= to.values().len(), "the tiles reach beyond the image");
    }

    /// Values from one row of a bordered image to the next.
    fn row(&self, channels: usize) -> usize {
        (self.across * self.side + 2) * channels
    }

    /// Offset of a tile's first value in a bordered image.
    fn bordered(&self, tile: usize, channels: usize) -> usize {
        self.side * (tile / self.across * self.row(channels) + tile % self.across * channels)
    }

    /// Offset of a tile's first pixel, without the border, in a bordered image.
    fn inside(&self, tile: usize, channels: usize) -> usize {
        self.bordered(tile, channels) + self.row(channels) + channels
    }

    /// Offset of a tile's first value in the output.
    fn output(&self, tile: usize) -> usize {
        let (y, x) = (tile / self.across * self.side, tile % self.across * self.side);
        (y * self.width + x) * self.channels_out
    }

    /// Values of an image of the output.
    fn output_len(&self) -> usize {
        self.height * self.width * self.channels_out
    }

    /// Images with enough tiles to be multiplied together.
    fn images_at_a_time(&self) -> usize {
        forward::tiles_at_a_time(self.depth).div_ceil(self.count)
    }

    /// The pixels of the output in a tile.
    fn covered(&self, tile: usize) -> Covered {
        let (y, x) = (tile / self.across * self.side, tile % self.across * self.side);
        Covered { rows: self.side.min(self.height - y), columns: self.side.min(self.width - x) }
    }
}

/// Products of one channel over an image, by tiles of this size.
fn products<F: Tiling>(shape: &ConvShape) -> usize {
    F::POSITIONS * Tiles::new::<F>(shape, 0, 0).count
}

/// The algorithm with the fewest multiplications for a shape; `None` if the direct sums have no more. It depends on the
/// shape alone, so that results do not depend on the machine.
pub(super) fn winograd(shape: &ConvShape) -> Option<Arc<dyn Convolution>> {
    let ConvShape { height, width, pitch, cout, kernel, stride, .. } = *shape;
    if (kernel, stride) != (3, 1) || !pitch.is_multiple_of(LANES) || height.min(width) < 2 {
        return None;
    }
    // With few channels, the transforms cost more than the multiplications that they save.
    let is_wide = pitch.min(padded(cout)) >= 32;
    if is_wide && height.min(width) >= 4 && products::<Four>(shape) < products::<Two>(shape) {
        return Some(Arc::new(Winograd::<Four>::new(*shape)));
    }
    Some(Arc::new(Winograd::<Two>::new(*shape)))
}

impl<F: Tiling> Winograd<F> {
    pub fn new(shape: ConvShape) -> Self {
        Self { shape, tiling: PhantomData }
    }

    fn forward_tiles(&self) -> Tiles {
        Tiles::new::<F>(&self.shape, self.shape.pitch, padded(self.shape.cout))
    }

    fn backward_tiles(&self) -> Tiles {
        Tiles::new::<F>(&self.shape, padded(self.shape.cout), self.shape.pitch)
    }
}

impl<F: Tiling> Convolution for Winograd<F> {
    fn images_at_a_time(&self) -> usize {
        self.forward_tiles().images_at_a_time()
    }

    fn packed_len(&self) -> usize {
        F::POSITIONS * self.shape.pitch * padded(self.shape.cout)
    }

    fn packed_backward_len(&self) -> usize {
        self.packed_len()
    }

    fn pack_forward(&self, level: Level, weight: &[f32], packed: &mut [f32]) {
        pack::forward::<F>(level, &self.shape, weight, packed);
    }

    fn pack_backward(&self, level: Level, weight: &[f32], packed: &mut [f32]) {
        pack::backward::<F>(level, &self.shape, weight, packed);
    }

    fn forward(
        &self,
        level: Level,
        input: Load<'_>,
        packed: &[f32],
        addend: Addend<'_>,
        output: &mut [f32],
        finish: Finish<'_>,
    ) {
        convolve::<F>(level, self.forward_tiles(), input, packed, addend, output, finish);
    }

    fn backward(
        &self,
        level: Level,
        gradient: Load<'_>,
        packed: &[f32],
        addend: Addend<'_>,
        output: &mut [f32],
        finish: Finish<'_>,
    ) {
        convolve::<F>(level, self.backward_tiles(), gradient, packed, addend, output, finish);
    }

    fn weight_gradient(
        &self,
        level: Level,
        pool: &Arc<Pool>,
        batch: usize,
        input: Load<'_>,
        gradient: Load<'_>,
        of_weight: &mut [f32],
    ) {
        let packed = gradient::of_batch::<F>(level, pool, self.forward_tiles(), batch, input, gradient);
        pack::gather::<F>(level, pool, &self.shape, &packed, of_weight);
    }
}

/// Convolves a batch.
fn convolve<F: Tiling>(
    level: Level,
    tiles: Tiles,
    load: Load<'_>,
    packed: &[f32],
    addend: Addend<'_>,
    output: &mut [f32],
    finish: Finish<'_>,
) {
    let image = tiles.output_len();
    let images = at_a_time(tiles.images_at_a_time(), output.len() / image);
    share(output, image, images, addend, finish, |first, output, addend| {
        with_scratch(|scratch| {
            forward::convolve::<F>(level, tiles, scratch, load, first, packed, addend, output);
        });
    });
}
