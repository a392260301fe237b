//! Weights to and from the positions: blocks of 16 output channels, each (positions, input channels, 16).

use std::sync::Arc;

use rayon::prelude::*;

use super::ConvShape;
use super::tiling::Tiling;
use super::transforms::{gather_kernel, transform_kernel};
use crate::kernels::pool::Pool;
use crate::kernels::simd::{LANES, Simd, compiled_for_each_level};
use crate::kernels::{Level, padded};

/// The nine taps of 16 kernels.
type Taps = [[f32; LANES]; 9];

/// Packs a weight for the forward pass.
pub(super) fn forward<F: Tiling>(level: Level, shape: &ConvShape, weight: &[f32], packed: &mut [f32]) {
    let ConvShape { cin, pitch, cout, .. } = *shape;
    pack::<F>(level, pitch, packed, |block, ci, taps| {
        let lanes = LANES.min(cout - block * LANES);
        for (tap, to) in taps.iter_mut().enumerate().filter(|_| ci < cin) {
            to[..lanes].copy_from_slice(&weight[(tap * cin + ci) * cout + block * LANES..][..lanes]);
        }
    });
}

/// Packs a weight for the input gradient: as for the forward pass of the kernel rotated by 180 degrees, with input and
/// output exchanged.
pub(super) fn backward<F: Tiling>(level: Level, shape: &ConvShape, weight: &[f32], packed: &mut [f32]) {
    let ConvShape { cin, cout, .. } = *shape;
    pack::<F>(level, padded(cout), packed, |block, co, taps| {
        let inputs = block * LANES..cin.min((block + 1) * LANES);
        for (tap, to) in taps.iter_mut().enumerate().filter(|_| co < cout) {
            for (to, ci) in to.iter_mut().zip(inputs.clone()) {
                *to = weight[((8 - tap) * cin + ci) * cout + co];
            }
        }
    });
}

/// Transforms the kernels that `read` puts into zeros: it gets a block of 16 outputs and an input.
fn pack<F: Tiling>(
    level: Level,
    depth: usize,
    packed: &mut [f32],
    read: impl Fn(usize, usize, &mut Taps) + Sync,
) {
    packed.par_chunks_exact_mut(F::POSITIONS * depth * LANES).enumerate().for_each(|(block, packed)| {
        for k in 0..depth {
            let mut taps = [[0.0; LANES]; 9];
            read(block, k, &mut taps);
            transform::<F>(level, &taps, &mut packed[k * LANES..], depth * LANES);
        }
    });
}

/// Adds a packed gradient to one in the layout (kernel, kernel, in, out).
pub(super) fn gather<F: Tiling>(
    level: Level,
    pool: &Arc<Pool>,
    shape: &ConvShape,
    packed: &[f32],
    of_weight: &mut [f32],
) {
    let ConvShape { cin, pitch, cout, .. } = *shape;
    // By block of 16 output channels: (kernel, kernel, in, 16).
    let mut blocks = pool.take(9 * cin * padded(cout));
    let step = pitch * LANES;
    let by_block =
        packed.par_chunks_exact(F::POSITIONS * step).zip(blocks.par_chunks_exact_mut(9 * cin * LANES));
    by_block.for_each(|(packed, block)| {
        for ci in 0..cin {
            let mut taps = [[0.0; LANES]; 9];
            gather_taps::<F>(level, &packed[ci * LANES..], step, &mut taps);
            for (tap, values) in taps.iter().enumerate() {
                block[(tap * cin + ci) * LANES..][..LANES].copy_from_slice(values);
            }
        }
    });
    for (at, to) in of_weight.chunks_exact_mut(cout).enumerate() {
        for (block, to) in to.chunks_mut(LANES).enumerate() {
            let from = &blocks[(block * 9 * cin + at) * LANES..];
            to.iter_mut().zip(from).for_each(|(to, from)| *to += from);
        }
    }
}

compiled_for_each_level! {
    /// Writes 16 transformed kernels, one position every `step` values.
    fn transform<F: Tiling>(taps: &Taps, to: &mut [f32], step: usize) = transform_taps
}

#[inline(always)]
unsafe fn transform_taps<S: Simd, F: Tiling>(taps: &Taps, to: &mut [f32], step: usize) {
    assert!((F::POSITIONS - 1) * step + LANES <= to.len(), "weight too short");
    // SAFETY: the assertion covers all positions.
    unsafe { transform_kernel::<S, F>(taps, to.as_mut_ptr(), step) }
}

compiled_for_each_level! {
    /// Reads 16 transformed kernels.
    fn gather_taps<F: Tiling>(from: &[f32], step: usize, taps: &mut Taps) = gather_taps_of
}

#[inline(always)]
unsafe fn gather_taps_of<S: Simd, F: Tiling>(from: &[f32], step: usize, taps: &mut Taps) {
    assert!((F::POSITIONS - 1) * step + LANES <= from.len(), "weight gradient too short");
    // SAFETY: the assertion covers all positions.
    unsafe { gather_kernel::<S, F>(from.as_ptr(), step, taps) }
}
