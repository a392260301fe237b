//! The gradient of the weight over a batch.
//!
//! Where the gradient is small, each thread sums whole images into one of its own. Where it is large, a group of images is
//! transformed by all threads; then all threads multiply, each other positions and channels, so that no copies per thread
//! are needed. The choice and the groups depend on the shape alone, and the groups' sums are added in order.

use std::marker::PhantomData;
use std::sync::Arc;

use rayon::prelude::*;

use super::product::{Product, multiply};
use super::tiling::Tiling;
use super::transforms::{spread_gradient, transform_input};
use super::{Load, Tiles, with_scratch};
use crate::kernels::Level;
use crate::kernels::conv::sharing::{Scratch, sum_groups};
use crate::kernels::image::Bordered;
use crate::kernels::pool::{Pool, Pooled};
use crate::kernels::simd::{LANES, Simd, compiled_for_each_level};

/// The packed gradient of the weight over a batch.
pub(super) fn of_batch<F: Tiling>(
    level: Level,
    pool: &Arc<Pool>,
    tiles: Tiles,
    batch: usize,
    input: Load<'_>,
    gradient: Load<'_>,
) -> Pooled {
    let len = F::POSITIONS * tiles.depth * tiles.channels_out;
    if tiles.depth * tiles.channels_out > SMALL {
        return by_channels::<F>(level, pool, tiles, batch, input, gradient);
    }
    sum_groups(pool, batch, len, |images, sum| {
        for image in images {
            with_scratch(|scratch| of_image::<F>(level, tiles, scratch, image, input, gradient, sum));
        }
    })
}

/// Products of channels in and out up to which each thread has a gradient of its own in its cache.
const SMALL: usize = 32 * 32;

/// The number of tiles of an image that are multiplied together: they stay in the cache.
const TILES: usize = 32;

compiled_for_each_level! {
    /// Adds an image's part to a packed gradient.
    fn of_image<F: Tiling>(
        tiles: Tiles,
        scratch: &mut Scratch,
        image: usize,
        input: Load<'_>,
        gradient: Load<'_>,
        sum: &mut [f32],
    ) = of_one_image
}

#[inline(always)]
unsafe fn of_one_image<S: Simd, F: Tiling>(
    tiles: Tiles,
    scratch: &mut Scratch,
    image: usize,
    load_input: Load<'_>,
    load_gradient: Load<'_>,
    sum: &mut [f32],
) {
    let Tiles { count, depth, channels_out, .. } = tiles;
    let Scratch { input, gradient, room } = scratch;
    tiles.load(image, load_input, depth, input);
    tiles.load(image, load_gradient, channels_out, gradient);
    room.resize(room.len().max(F::POSITIONS * TILES * (depth + channels_out)), 0.0);
    let (v, e) = room.split_at_mut(F::POSITIONS * TILES * depth);
    for first in (0..count).step_by(TILES) {
        let now = TILES.min(count - first);
        let (to_v, to_e) = (v.as_mut_ptr(), e.as_mut_ptr());
        for at in 0..now {
            // SAFETY: the room holds `now` tiles; `Tiles::load` has seen that the images hold all of theirs.
            unsafe {
                transform::<S, F>(&tiles, first + at, input, gradient, [to_v, to_e], now, at);
            }
        }
        for (part, to) in sum.chunks_exact_mut(depth * LANES).enumerate() {
            let (block, position) = (part / F::POSITIONS, part % F::POSITIONS);
            let v = &v[position * depth * now..][..depth * now];
            let e = &e[(position * channels_out + block * LANES) * now..][..LANES * now];
            // SAFETY: compiled for this level.
            unsafe { correlate_tiles::<S>(v, e, now, true, to) }
        }
    }
}

/// The number of images whose gradients are one chain of sums: about 512 tiles.
fn group(tiles: &Tiles) -> usize {
    (512 / tiles.count).clamp(1, 64)
}

/// All threads transform a group of images; then all multiply, each other positions and channels.
fn by_channels<F: Tiling>(
    level: Level,
    pool: &Arc<Pool>,
    tiles: Tiles,
    batch: usize,
    input: Load<'_>,
    gradient: Load<'_>,
) -> Pooled {
    let Tiles { count, depth, channels_out, .. } = tiles;
    let most = group(&tiles).min(batch) * count;
    let mut transformed = pool.take(F::POSITIONS * most * depth);
    let mut spread = pool.take(F::POSITIONS * most * channels_out);
    let mut packed = pool.take(F::POSITIONS * depth * channels_out);
    for first in (0..batch).step_by(group(&tiles)) {
        let images = group(&tiles).min(batch - first);
        let group = Group { tiles, images, v: Shared::new(&mut transformed), e: Shared::new(&mut spread) };
        (0..images).into_par_iter().for_each(|place| {
            with_scratch(|scratch| {
                transform_image::<F>(level, &group, scratch, first + place, place, input, gradient);
            });
        });
        let total = images * count;
        packed.par_chunks_exact_mut(depth * LANES).enumerate().for_each(|(part, to)| {
            let (block, position) = (part / F::POSITIONS, part % F::POSITIONS);
            let v = &transformed[position * depth * total..][..depth * total];
            let e = &spread[(position * channels_out + block * LANES) * total..][..LANES * total];
            correlate(level, v, e, total, first > 0, to);
        });
    }
    packed
}

/// Transforms the input and the gradient of a tile to place `at` of `total`.
#[inline(always)]
unsafe fn transform<S: Simd, F: Tiling>(
    tiles: &Tiles,
    tile: usize,
    input: &Bordered,
    gradient: &Bordered,
    [v, e]: [*mut f32; 2],
    total: usize,
    at: usize,
) {
    let Tiles { depth, channels_out, .. } = *tiles;
    let (x, g) = (input.values().as_ptr(), gradient.values().as_ptr());
    // SAFETY: the caller has checked all offsets.
    unsafe {
        for lanes in (0..depth).step_by(LANES) {
            let from = x.add(tiles.bordered(tile, depth) + lanes);
            let to = v.add(lanes * total + at * LANES);
            transform_input::<S, F>(from, tiles.row(depth), depth, to, depth * total);
        }
        for lanes in (0..channels_out).step_by(LANES) {
            let from = g.add(tiles.inside(tile, channels_out) + lanes);
            let to = e.add(lanes * total + at * LANES);
            spread_gradient::<S, F>(from, tiles.row(channels_out), channels_out, to, channels_out * total);
        }
    }
}

/// The transformed tiles of some images: positions, blocks of 16 channels, tiles, 16.
struct Group<'a> {
    tiles: Tiles,
    images: usize,
    v: Shared<'a>,
    e: Shared<'a>,
}

/// Memory that threads write at different places.
struct Shared<'a> {
    values: *mut f32,
    len: usize,
    lent: PhantomData<&'a mut [f32]>,
}

// SAFETY: `transform` writes only the tiles of its image, and nobody reads before all are written.
unsafe impl Sync for Shared<'_> {}

impl<'a> Shared<'a> {
    fn new(values: &'a mut [f32]) -> Self {
        Self { values: values.as_mut_ptr(), len: values.len(), lent: PhantomData }
    }
}

compiled_for_each_level! {
    /// Transforms the input and the gradient of an image of the batch, which is the `place`th of its group.
    fn transform_image<F: Tiling>(
        group: &Group<'_>,
        scratch: &mut Scratch,
        image: usize,
        place: usize,
        input: Load<'_>,
        gradient: Load<'_>,
    ) = transform_one_image
}

#[inline(always)]
unsafe fn transform_one_image<S: Simd, F: Tiling>(
    group: &Group<'_>,
    scratch: &mut Scratch,
    image: usize,
    place: usize,
    load_input: Load<'_>,
    load_gradient: Load<'_>,
) {
    let Group { tiles, images, v, e } = group;
    let Tiles { count, depth, channels_out, .. } = *tiles;
    let Scratch { input, gradient, .. } = scratch;
    tiles.load(image, load_input, depth, input);
    tiles.load(image, load_gradient, channels_out, gradient);
    let total = images * count;
    assert!(place < *images);
    assert!(F::POSITIONS * total * depth <= v.len && F::POSITIONS * total * channels_out <= e.len);
    for tile in 0..count {
        let at = place * count + tile;
        // SAFETY: the assertions cover every tile, channel and position; `Tiles::load` has seen that the images hold theirs.
        unsafe { transform::<S, F>(tiles, tile, input, gradient, [v.values, e.values], total, at) }
    }
}

compiled_for_each_level! {
    /// Multiplies one position of 16 output channels: `v` (blocks of 16 channels, tiles, 16) by `e` (tiles, 16).
    fn correlate(v: &[f32], e: &[f32], tiles: usize, adds: bool, to: &mut [f32]) = correlate_tiles
}

#[inline(always)]
unsafe fn correlate_tiles<S: Simd>(v: &[f32], e: &[f32], tiles: usize, adds: bool, to: &mut [f32]) {
    assert!(v.len() == to.len() / LANES * tiles && e.len() == LANES * tiles);
    let panels = v.chunks_exact(LANES * tiles).zip(to.chunks_exact_mut(LANES * LANES));
    for (panel, to) in panels {
        let product = Product {
            a: panel.as_ptr(),
            panels: 1,
            panel: 0,
            steps: tiles,
            b: e.as_ptr(),
            b_block: 0,
            to: to.as_mut_ptr(),
            to_block: 0,
            adds,
        };
        // SAFETY: a panel has 16 channels of all tiles, and `to` 16 rows.
        unsafe { multiply::<S, 1, 1, LANES>(product, LANES) }
    }
}
