//! The products of matrices at one position: tiles by channels, and for the weight's gradient channels by channels.
//!
//! The functions work on raw pointers; their callers have checked all offsets.

use crate::kernels::simd::{LANES, Simd};

/// A product of matrices: `v` (tiles, depth) by `w` (depth, 16) to `m` (tiles, 16).
#[inline(always)]
pub(super) unsafe fn multiply<S: Simd>(
    v: *const f32,
    w: *const f32,
    depth: usize,
    tiles: usize,
    m: *mut f32,
) {
    let mut at = 0;
    // SAFETY: the caller has checked all offsets.
    unsafe {
        while tiles - at >= S::TILE {
            let (v, m) = (v.add(at * depth), m.add(at * LANES));
            match S::TILE {
                12 => multiply_tiles::<S, 12>(v, w, depth, m),
                6 => multiply_tiles::<S, 6>(v, w, depth, m),
                _ => multiply_tiles::<S, 4>(v, w, depth, m),
            }
            at += S::TILE;
        }
        while tiles - at >= 4 {
            multiply_tiles::<S, 4>(v.add(at * depth), w, depth, m.add(at * LANES));
            at += 4;
        }
        while tiles > at {
            multiply_tiles::<S, 1>(v.add(at * depth), w, depth, m.add(at * LANES));
            at += 1;
        }
    }
}

/// `N` tiles by 16 output channels, accumulated in registers.
#[inline(always)]
unsafe fn multiply_tiles<S: Simd, const N: usize>(v: *const f32, w: *const f32, depth: usize, m: *mut f32) {
    // SAFETY: the caller has checked all offsets.
    unsafe {
        let mut sums = [S::splat(0.0); N];
        for k in 0..depth {
            let weight = S::load(w.add(k * LANES));
            for (n, sum) in sums.iter_mut().enumerate() {
                *sum = S::fma(S::splat(*v.add(n * depth + k)), weight, *sum);
            }
        }
        for (n, &sum) in sums.iter().enumerate() {
            S::store(m.add(n * LANES), sum);
        }
    }
}

/// Adds a product of matrices: `v` transposed (depth, tiles) by `e` (tiles, 16 of `pitch`) onto `w` (depth, 16).
#[inline(always)]
pub(super) unsafe fn correlate<S: Simd>(
    v: *const f32,
    depth: usize,
    e: *const f32,
    pitch: usize,
    tiles: usize,
    w: *mut f32,
) {
    let mut at = 0;
    // SAFETY: the caller has checked all offsets; `depth` is a multiple of 16, so nothing is left over.
    unsafe {
        while depth - at >= 12 && S::TILE >= 12 {
            correlate_channels::<S, 12>(v.add(at), depth, e, pitch, tiles, w.add(at * LANES));
            at += 12;
        }
        while depth - at >= 12 || !(depth - at).is_multiple_of(4) {
            correlate_channels::<S, 6>(v.add(at), depth, e, pitch, tiles, w.add(at * LANES));
            at += 6;
        }
        while depth > at {
            correlate_channels::<S, 4>(v.add(at), depth, e, pitch, tiles, w.add(at * LANES));
            at += 4;
        }
    }
}

/// `N` input channels by 16 output channels, accumulated in registers over the tiles.
#[inline(always)]
unsafe fn correlate_channels<S: Simd, const N: usize>(
    v: *const f32,
    depth: usize,
    e: *const f32,
    pitch: usize,
    tiles: usize,
    w: *mut f32,
) {
    // SAFETY: the caller has checked all offsets.
    unsafe {
        let mut sums = [S::splat(0.0); N];
        for tile in 0..tiles {
            let gradient = S::load(e.add(tile * pitch));
            for (n, sum) in sums.iter_mut().enumerate() {
                *sum = S::fma(S::splat(*v.add(tile * depth + n)), gradient, *sum);
            }
        }
        for (n, &sum) in sums.iter().enumerate() {
            let to = w.add(n * LANES);
            S::store(to, S::add(S::load(to), sum));
        }
    }
}
