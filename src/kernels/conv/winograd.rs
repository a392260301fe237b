//! 3x3 convolution of stride 1 by Winograd's algorithm F(2x2, 3x3): 16 multiplications for four pixels of an output
//! where the direct sum takes 36.
//!
//! Source: Lavin and Gray, Fast Algorithms for Convolutional Neural Networks (2016), section 4.1. An input is cut into
//! 4x4 *tiles* that overlap by two. For a tile `d` and a kernel `g`, the 2x2 output is `A'[(G g G') * (B' d B)]A`,
//! where `*` multiplies the 16 *positions* one by one and sums over the input channels: 16 products of matrices (tiles
//! x channels in) and (channels in x channels out). The gradient of the kernel runs the same way backwards, `G'[(B' d
//! B) * (A e A')]G` summed over the tiles, for the gradient `e` of a tile's output. All factors are 0, 1 and 1/2, so
//! the results are as exact as the direct sums', but do not have the same bits.

mod products;
mod transforms;

use super::{ConvShape, Convolution};
use crate::kernels::image::Bordered;
use crate::kernels::simd::{LANES, Simd, compiled_for_each_level};
use crate::kernels::{Level, padded};
use products::{correlate, multiply};
use transforms::{
    POSITIONS, gather_kernel, spread_gradient, transform_input, transform_kernel, transform_output,
};

/// The number of tiles whose products are computed together. Their inputs stay in the first cache levels, and the
/// number is a multiple of the register tiles at every level.
const CHUNK: usize = 12;

/// The number of tiles whose parts of a weight's gradient are summed in registers.
const GRADIENT_CHUNK: usize = 32;

/// A convolution's sizes as tiles.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Winograd {
    shape: ConvShape,
}

/// Where the tiles of one image lie: the bordered input and the output, each with its channels.
#[derive(Clone, Copy)]
struct Tiles {
    /// Tiles in a row, and in the image.
    across: usize,
    count: usize,
    /// Channels of the input, and values from one of its rows to the next.
    depth: usize,
    row: usize,
    /// Channels of the output, and values from one of its rows to the next.
    channels_out: usize,
    out_row: usize,
}

impl Tiles {
    fn new(shape: &ConvShape, depth: usize, channels_out: usize) -> Self {
        let ConvShape { height, width, .. } = *shape;
        let (across, count) = (width / 2, height / 2 * (width / 2));
        Self { across, count, depth, row: (width + 2) * depth, channels_out, out_row: width * channels_out }
    }

    /// Offset of a tile's first value in the bordered input.
    fn input(&self, tile: usize) -> usize {
        2 * (tile / self.across * self.row + tile % self.across * self.depth)
    }

    /// Offset of a tile's first value in the output.
    fn output(&self, tile: usize) -> usize {
        2 * (tile / self.across * self.out_row + tile % self.across * self.channels_out)
    }

    /// Offset of a tile's first pixel, without the border, in a bordered image of the output's channels.
    fn bordered_output(&self, tile: usize) -> usize {
        let row = self.out_row + 2 * self.channels_out;
        (2 * (tile / self.across) + 1) * row + (2 * (tile % self.across) + 1) * self.channels_out
    }

    /// Values of a bordered image with these channels.
    fn bordered_len(&self, channels: usize) -> usize {
        (2 * self.count / self.across + 2) * (2 * self.across + 2) * channels
    }
}

impl Winograd {
    /// Whether the algorithm covers a shape: whole tiles, and channels in whole vectors.
    pub fn fits(shape: &ConvShape) -> bool {
        let ConvShape { height, width, pitch, kernel, stride, .. } = *shape;
        (kernel, stride) == (3, 1) && height % 2 == 0 && width % 2 == 0 && pitch % LANES == 0
    }

    pub fn new(shape: ConvShape) -> Self {
        assert!(Self::fits(&shape), "{shape:?}");
        Self { shape }
    }

    fn forward_tiles(&self) -> Tiles {
        Tiles::new(&self.shape, self.shape.pitch, padded(self.shape.cout))
    }

    fn backward_tiles(&self) -> Tiles {
        Tiles::new(&self.shape, padded(self.shape.cout), self.shape.pitch)
    }
}

impl Convolution for Winograd {
    fn packed_len(&self) -> usize {
        POSITIONS * self.shape.pitch * padded(self.shape.cout)
    }

    fn packed_backward_len(&self) -> usize {
        self.packed_len()
    }

    /// Blocks of 16 output channels, each (16 positions, in padded, 16).
    fn pack_forward(&self, weight: &[f32], packed: &mut [f32]) {
        let ConvShape { cin, pitch, cout, .. } = self.shape;
        packed.fill(0.0);
        for ci in 0..cin {
            for co in 0..cout {
                let kernel = std::array::from_fn(|tap| weight[(tap * cin + ci) * cout + co]);
                write_positions(packed, pitch, ci, co, &transform_kernel(&kernel));
            }
        }
    }

    /// The same as for the forward pass of the kernel rotated by 180 degrees, with input and output exchanged.
    fn pack_backward(&self, weight: &[f32], packed: &mut [f32]) {
        let ConvShape { cin, cout, .. } = self.shape;
        packed.fill(0.0);
        for ci in 0..cin {
            for co in 0..cout {
                let kernel = std::array::from_fn(|tap| weight[((8 - tap) * cin + ci) * cout + co]);
                write_positions(packed, padded(cout), co, ci, &transform_kernel(&kernel));
            }
        }
    }

    fn forward(
        &self,
        level: Level,
        room: &mut Vec<f32>,
        input: &Bordered,
        packed: &[f32],
        addend: Option<&[f32]>,
        output: &mut [f32],
    ) {
        let addend = addend.map_or(Addend::Nothing, Addend::Image);
        convolve(level, self.forward_tiles(), room, input, packed, addend, output);
    }

    fn backward(
        &self,
        level: Level,
        room: &mut Vec<f32>,
        gradient: &Bordered,
        packed: &[f32],
        adds: bool,
        output: &mut [f32],
    ) {
        let addend = if adds { Addend::Output } else { Addend::Nothing };
        convolve(level, self.backward_tiles(), room, gradient, packed, addend, output);
    }

    fn weight_gradient(
        &self,
        level: Level,
        room: &mut Vec<f32>,
        input: &Bordered,
        gradient: &Bordered,
        packed: &mut [f32],
    ) {
        weight_gradient(level, self.forward_tiles(), room, input, gradient, packed);
    }

    fn unpack_gradient(&self, packed: &[f32], gradient: &mut [f32]) {
        let ConvShape { cin, pitch, cout, .. } = self.shape;
        for ci in 0..cin {
            for co in 0..cout {
                let taps = gather_kernel(&read_positions(packed, pitch, ci, co));
                for (tap, value) in taps.into_iter().enumerate() {
                    gradient[(tap * cin + ci) * cout + co] += value;
                }
            }
        }
    }
}

/// Where a position of a packed weight lies.
fn at(pitch: usize, position: usize, ci: usize, co: usize) -> usize {
    ((co / LANES * POSITIONS + position) * pitch + ci) * LANES + co % LANES
}

fn write_positions(packed: &mut [f32], pitch: usize, ci: usize, co: usize, values: &[f32; POSITIONS]) {
    values.iter().enumerate().for_each(|(position, &value)| packed[at(pitch, position, ci, co)] = value);
}

fn read_positions(packed: &[f32], pitch: usize, ci: usize, co: usize) -> [f32; POSITIONS] {
    std::array::from_fn(|position| packed[at(pitch, position, ci, co)])
}

/// The addend of a convolution's sums.
enum Addend<'a> {
    Nothing,
    /// An image of the output's layout.
    Image(&'a [f32]),
    /// The previous values of the output.
    Output,
}

compiled_for_each_level! {
    /// Convolves one image.
    fn convolve(
        tiles: Tiles,
        room: &mut Vec<f32>,
        input: &Bordered,
        packed: &[f32],
        addend: Addend<'_>,
        output: &mut [f32],
    ) = convolve_image
}

#[inline(always)]
unsafe fn convolve_image<S: Simd>(
    tiles: Tiles,
    room: &mut Vec<f32>,
    input: &Bordered,
    packed: &[f32],
    addend: Addend<'_>,
    output: &mut [f32],
) {
    let Tiles { count, depth, channels_out, .. } = tiles;
    assert!(tiles.bordered_len(depth) <= input.values().len(), "input too short");
    assert!(4 * count * channels_out <= output.len(), "output too short");
    assert!(POSITIONS * depth * channels_out <= packed.len(), "weight too short");
    room.resize(room.len().max(POSITIONS * CHUNK * (depth + LANES)), 0.0);
    let (transformed, products) = room.split_at_mut(POSITIONS * CHUNK * depth);
    let (x, v, m, y) =
        (input.values().as_ptr(), transformed.as_mut_ptr(), products.as_mut_ptr(), output.as_mut_ptr());
    let addend = match addend {
        Addend::Nothing => std::ptr::null(),
        Addend::Image(image) => {
            assert!(image.len() >= 4 * count * channels_out, "addend too short");
            image.as_ptr()
        }
        Addend::Output => y.cast_const(),
    };
    for first in (0..count).step_by(CHUNK) {
        let chunk = CHUNK.min(count - first);
        // SAFETY: the assertions above cover every tile, channel and position; each output value is read as an addend
        // before it is written, by the same tile.
        unsafe {
            for tile in 0..chunk {
                let (from, to) = (x.add(tiles.input(first + tile)), v.add(tile * depth));
                for lanes in (0..depth).step_by(LANES) {
                    transform_input::<S>(from.add(lanes), tiles.row, depth, to.add(lanes), chunk * depth);
                }
            }
            for block in (0..channels_out).step_by(LANES) {
                for position in 0..POSITIONS {
                    let w = packed.as_ptr().add((block * POSITIONS + position * LANES) * depth);
                    multiply::<S>(
                        v.add(position * chunk * depth),
                        w,
                        depth,
                        chunk,
                        m.add(position * chunk * LANES),
                    );
                }
                for tile in 0..chunk {
                    let at = tiles.output(first + tile) + block;
                    let addend = if addend.is_null() { addend } else { addend.add(at) };
                    let m = m.add(tile * LANES);
                    transform_output::<S>(m, chunk * LANES, addend, y.add(at), tiles.out_row, channels_out);
                }
            }
        }
    }
}

compiled_for_each_level! {
    /// Adds one image's part to a packed weight gradient.
    fn weight_gradient(
        tiles: Tiles,
        room: &mut Vec<f32>,
        input: &Bordered,
        gradient: &Bordered,
        packed: &mut [f32],
    ) = weight_gradient_image
}

#[inline(always)]
unsafe fn weight_gradient_image<S: Simd>(
    tiles: Tiles,
    room: &mut Vec<f32>,
    input: &Bordered,
    gradient: &Bordered,
    packed: &mut [f32],
) {
    let Tiles { count, depth, channels_out, .. } = tiles;
    assert!(tiles.bordered_len(depth) <= input.values().len(), "input too short");
    assert!(tiles.bordered_len(channels_out) <= gradient.values().len(), "gradient too short");
    assert!(POSITIONS * depth * channels_out <= packed.len(), "weight gradient too short");
    room.resize(room.len().max(POSITIONS * GRADIENT_CHUNK * (depth + channels_out)), 0.0);
    let (transformed, spread) = room.split_at_mut(POSITIONS * GRADIENT_CHUNK * depth);
    let (x, v, e) = (input.values().as_ptr(), transformed.as_mut_ptr(), spread.as_mut_ptr());
    let row = tiles.out_row + 2 * channels_out;
    for first in (0..count).step_by(GRADIENT_CHUNK) {
        let chunk = GRADIENT_CHUNK.min(count - first);
        // SAFETY: the assertions above cover every tile, channel and position.
        unsafe {
            for tile in 0..chunk {
                let (from, to) = (x.add(tiles.input(first + tile)), v.add(tile * depth));
                for lanes in (0..depth).step_by(LANES) {
                    transform_input::<S>(from.add(lanes), tiles.row, depth, to.add(lanes), chunk * depth);
                }
                let from = gradient.values().as_ptr().add(tiles.bordered_output(first + tile));
                let to = e.add(tile * channels_out);
                for lanes in (0..channels_out).step_by(LANES) {
                    let step = chunk * channels_out;
                    spread_gradient::<S>(from.add(lanes), row, channels_out, to.add(lanes), step);
                }
            }
            for block in (0..channels_out).step_by(LANES) {
                for position in 0..POSITIONS {
                    let w = packed.as_mut_ptr().add((block * POSITIONS + position * LANES) * depth);
                    let e = e.add(position * chunk * channels_out + block);
                    correlate::<S>(v.add(position * chunk * depth), depth, e, channels_out, chunk, w);
                }
            }
        }
    }
}
