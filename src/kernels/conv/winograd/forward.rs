//! The convolution of several images by one thread.

use super::product::{Product, multiply};
use super::tiling::Tiling;
use super::transforms::{transform_input, transform_output};
use super::{Addend, Load, Tiles};
use crate::kernels::conv::sharing::Scratch;
use crate::kernels::simd::{LANES, Simd, compiled_for_each_level};

/// The number of tiles that are multiplied together: few enough that they stay in the cache, enough that reading the
/// weights costs little beside multiplying with them.
pub(super) fn tiles_at_a_time(depth: usize) -> usize {
    match depth {
        ..32 => 12,
        32..64 => 16,
        64..=128 => 32,
        _ => 64,
    }
}

/// Blocks of 16 output channels whose products are kept until they are transformed.
const BLOCKS: usize = 4;

compiled_for_each_level! {
    /// Convolves images one after the other, beginning with image `first` of the batch.
    pub(super) fn convolve<F: Tiling>(
        tiles: Tiles,
        scratch: &mut Scratch,
        load: Load<'_>,
        first: usize,
        packed: &[f32],
        addend: Addend<'_>,
        output: &mut [f32],
    ) = convolve_images
}

#[inline(always)]
unsafe fn convolve_images<S: Simd, F: Tiling>(
    tiles: Tiles,
    scratch: &mut Scratch,
    load: Load<'_>,
    first: usize,
    packed: &[f32],
    addend: Addend<'_>,
    output: &mut [f32],
) {
    let Tiles { count, depth, channels_out, .. } = tiles;
    let (total, image_len) = (output.len() / tiles.output_len() * count, tiles.output_len());
    let parts = total.div_ceil(tiles_at_a_time(depth));
    let most = total.div_ceil(parts.max(1));
    let Scratch { input, room, .. } = scratch;
    assert!(F::POSITIONS * depth * channels_out <= packed.len(), "weight too short");
    room.resize(room.len().max(F::POSITIONS * most * (depth + BLOCKS * LANES)), 0.0);
    let (transformed, products) = room.split_at_mut(F::POSITIONS * most * depth);
    let (v, m, y) = (transformed.as_mut_ptr(), products.as_mut_ptr(), output.as_mut_ptr());
    let addend = addend.pointer(y, output.len());
    let mut loaded = usize::MAX;
    for start in (0..total).step_by(most.max(1)) {
        let now = most.min(total - start);
        for at in 0..now {
            let (image, tile) = ((start + at) / count, (start + at) % count);
            if image != loaded {
                tiles.load(first + image, load, depth, input);
                loaded = image;
            }
            // SAFETY: `Tiles::load` and the assertions above cover every tile, channel and position.
            unsafe {
                let from = input.values().as_ptr().add(tiles.bordered(tile, depth));
                for lanes in (0..depth).step_by(LANES) {
                    let to = v.add(lanes * now + at * LANES);
                    transform_input::<S, F>(from.add(lanes), tiles.row(depth), depth, to, depth * now);
                }
            }
        }
        for block in (0..channels_out / LANES).step_by(BLOCKS) {
            let blocks = BLOCKS.min(channels_out / LANES - block);
            // SAFETY: as above; each output value is read as an addend before it is written, by the same tile.
            unsafe {
                for position in 0..F::POSITIONS {
                    let b_block = F::POSITIONS * depth * LANES;
                    let product = Product {
                        a: v.add(position * depth * now),
                        panels: depth / LANES,
                        panel: now * LANES,
                        steps: LANES,
                        b: packed.as_ptr().add(block * b_block + position * depth * LANES),
                        b_block,
                        to: m.add(position * blocks * now * LANES),
                        to_block: now * LANES,
                        adds: false,
                    };
                    multiply_blocks::<S>(product, now, blocks);
                }
                for at in 0..now {
                    let (image, tile) = ((start + at) / count, (start + at) % count);
                    for k in 0..blocks {
                        let to = image * image_len + tiles.output(tile) + (block + k) * LANES;
                        let addend = if addend.is_null() { addend } else { addend.add(to) };
                        transform_output::<S, F>(
                            m.add((k * now + at) * LANES),
                            blocks * now * LANES,
                            addend,
                            y.add(to),
                            tiles.width * channels_out,
                            channels_out,
                            tiles.covered(tile),
                        );
                    }
                }
            }
        }
    }
}

/// Multiplies with several blocks of the weight, as many at a time as the registers hold.
#[inline(always)]
unsafe fn multiply_blocks<S: Simd>(mut product: Product, rows: usize, mut blocks: usize) {
    // SAFETY: the caller has checked all offsets.
    unsafe {
        while blocks > 0 {
            let now = if S::BLOCKS == 2 && blocks >= 2 {
                multiply::<S, 2, LANES, 1>(product, rows);
                2
            } else {
                multiply::<S, 1, LANES, 1>(product, rows);
                1
            };
            product.b = product.b.add(now * product.b_block);
            product.to = product.to.add(now * product.to_block);
            blocks -= now;
        }
    }
}
