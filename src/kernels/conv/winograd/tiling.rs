//! The transforms to and from the positions: the constant matrices A, B and G of each algorithm, expanded.
//!
//! Each function transforms one line of a tile, 16 channels at a time; a tile is transformed by columns and then by rows.
//! Lines have six values, of which an algorithm uses its first ones. Every transform is one fixed expression, so that all
//! levels give the same bits.

use crate::kernels::simd::Simd;

/// A line of a tile.
pub type Line<S> = [<S as Simd>::V; 6];

/// The matrices of a Winograd algorithm for 3x3 kernels.
pub trait Tiling: std::fmt::Debug + Send + Sync + 'static {
    /// Rows and columns of a tile's output. Its input has two more of each.
    const SIDE: usize;
    /// Rows and columns of a tile's input.
    const INPUT: usize = Self::SIDE + 2;
    /// Values of a transformed tile in one channel.
    const POSITIONS: usize = Self::INPUT * Self::INPUT;
    /// `B' d`.
    unsafe fn input<S: Simd>(d: Line<S>) -> Line<S>;
    /// `A' m`.
    unsafe fn output<S: Simd>(m: Line<S>) -> Line<S>;
    /// `A e`.
    unsafe fn spread<S: Simd>(e: Line<S>) -> Line<S>;
    /// `G g`.
    unsafe fn kernel<S: Simd>(g: Line<S>) -> Line<S>;
    /// `G' m`.
    unsafe fn gather<S: Simd>(m: Line<S>) -> Line<S>;
}

/// F(2x2, 3x3): 16 multiplications for four pixels, where the direct sum takes 36. The points are 0, 1, -1 and infinity.
#[derive(Debug)]
pub struct Two;

impl Tiling for Two {
    const SIDE: usize = 2;

    #[inline(always)]
    unsafe fn input<S: Simd>(d: Line<S>) -> Line<S> {
        // SAFETY: the caller runs at the level of `S`; so below.
        unsafe {
            let zero = S::splat(0.0);
            [S::sub(d[0], d[2]), S::add(d[1], d[2]), S::sub(d[2], d[1]), S::sub(d[1], d[3]), zero, zero]
        }
    }

    #[inline(always)]
    unsafe fn output<S: Simd>(m: Line<S>) -> Line<S> {
        // SAFETY: as above.
        unsafe {
            let zero = S::splat(0.0);
            let (y0, y1) = (S::add(S::add(m[0], m[1]), m[2]), S::sub(S::sub(m[1], m[2]), m[3]));
            [y0, y1, zero, zero, zero, zero]
        }
    }

    #[inline(always)]
    unsafe fn spread<S: Simd>(e: Line<S>) -> Line<S> {
        // SAFETY: as above.
        unsafe {
            let zero = S::splat(0.0);
            [e[0], S::add(e[0], e[1]), S::sub(e[0], e[1]), S::sub(zero, e[1]), zero, zero]
        }
    }

    #[inline(always)]
    unsafe fn kernel<S: Simd>(g: Line<S>) -> Line<S> {
        // SAFETY: as above.
        unsafe {
            let (zero, half) = (S::splat(0.0), S::splat(0.5));
            let plus = S::mul(half, S::add(S::add(g[0], g[1]), g[2]));
            let minus = S::mul(half, S::add(S::sub(g[0], g[1]), g[2]));
            [g[0], plus, minus, g[2], zero, zero]
        }
    }

    #[inline(always)]
    unsafe fn gather<S: Simd>(m: Line<S>) -> Line<S> {
        // SAFETY: as above.
        unsafe {
            let (zero, half) = (S::splat(0.0), S::splat(0.5));
            let even = S::mul(half, S::add(m[1], m[2]));
            let odd = S::mul(half, S::sub(m[1], m[2]));
            [S::add(m[0], even), odd, S::add(even, m[3]), zero, zero, zero]
        }
    }
}

/// F(4x4, 3x3): 36 multiplications for 16 pixels, where the direct sum takes 144. The points are 0, 3/4, -3/4, 3/2, -3/2
/// and infinity: the error is less than three times that of the direct sum.
#[derive(Debug)]
pub struct Four;

/// The two positive points, and their squares.
const A: f32 = 0.75;
const B: f32 = 1.5;
const A2: f32 = A * A;
const B2: f32 = B * B;
/// The denominators of the kernel's rows, inverted.
const N0: f32 = 1.0 / (A2 * B2);
const NA: f32 = 1.0 / (2.0 * A2 * (A2 - B2));
const NB: f32 = 1.0 / (2.0 * B2 * (B2 - A2));

impl Tiling for Four {
    const SIDE: usize = 4;

    #[inline(always)]
    unsafe fn input<S: Simd>(d: Line<S>) -> Line<S> {
        // SAFETY: the caller runs at the level of `S`; so below.
        unsafe {
            let (sum, product) = (S::splat(-A2 - B2), S::splat(A2 * B2));
            let (less_a2, less_b2) = (S::splat(-A2), S::splat(-B2));
            let (even_a, odd_a) = (S::fma(less_b2, d[2], d[4]), S::fma(less_b2, d[1], d[3]));
            let (even_b, odd_b) = (S::fma(less_a2, d[2], d[4]), S::fma(less_a2, d[1], d[3]));
            [
                S::fma(product, d[0], S::fma(sum, d[2], d[4])),
                S::fma(S::splat(A), odd_a, even_a),
                S::fma(S::splat(-A), odd_a, even_a),
                S::fma(S::splat(B), odd_b, even_b),
                S::fma(S::splat(-B), odd_b, even_b),
                S::fma(product, d[1], S::fma(sum, d[3], d[5])),
            ]
        }
    }

    #[inline(always)]
    unsafe fn output<S: Simd>(m: Line<S>) -> Line<S> {
        // SAFETY: as above.
        unsafe {
            let zero = S::splat(0.0);
            let (even_a, odd_a) = (S::add(m[1], m[2]), S::sub(m[1], m[2]));
            let (even_b, odd_b) = (S::add(m[3], m[4]), S::sub(m[3], m[4]));
            [
                S::add(m[0], S::add(even_a, even_b)),
                S::fma(S::splat(A), odd_a, S::mul(S::splat(B), odd_b)),
                S::fma(S::splat(A2), even_a, S::mul(S::splat(B2), even_b)),
                S::fma(S::splat(A2 * A), odd_a, S::fma(S::splat(B2 * B), odd_b, m[5])),
                zero,
                zero,
            ]
        }
    }

    #[inline(always)]
    unsafe fn spread<S: Simd>(e: Line<S>) -> Line<S> {
        // SAFETY: as above.
        unsafe {
            let even_a = S::fma(S::splat(A2), e[2], e[0]);
            let odd_a = S::fma(S::splat(A), e[1], S::mul(S::splat(A2 * A), e[3]));
            let even_b = S::fma(S::splat(B2), e[2], e[0]);
            let odd_b = S::fma(S::splat(B), e[1], S::mul(S::splat(B2 * B), e[3]));
            [
                e[0],
                S::add(even_a, odd_a),
                S::sub(even_a, odd_a),
                S::add(even_b, odd_b),
                S::sub(even_b, odd_b),
                e[3],
            ]
        }
    }

    #[inline(always)]
    unsafe fn kernel<S: Simd>(g: Line<S>) -> Line<S> {
        // SAFETY: as above.
        unsafe {
            let even = |x2: f32, n: f32| S::fma(S::splat(x2 * n), g[2], S::mul(S::splat(n), g[0]));
            let odd = |x: f32, n: f32| S::mul(S::splat(x * n), g[1]);
            let (even_a, odd_a) = (even(A2, NA), odd(A, NA));
            let (even_b, odd_b) = (even(B2, NB), odd(B, NB));
            [
                S::mul(S::splat(N0), g[0]),
                S::add(even_a, odd_a),
                S::sub(even_a, odd_a),
                S::add(even_b, odd_b),
                S::sub(even_b, odd_b),
                g[2],
            ]
        }
    }

    #[inline(always)]
    unsafe fn gather<S: Simd>(m: Line<S>) -> Line<S> {
        // SAFETY: as above.
        unsafe {
            let zero = S::splat(0.0);
            let (even_a, odd_a) = (S::add(m[1], m[2]), S::sub(m[1], m[2]));
            let (even_b, odd_b) = (S::add(m[3], m[4]), S::sub(m[3], m[4]));
            let both = |a: f32, x: S::V, b: f32, y: S::V| S::fma(S::splat(a), x, S::mul(S::splat(b), y));
            [
                S::fma(S::splat(N0), m[0], both(NA, even_a, NB, even_b)),
                both(A * NA, odd_a, B * NB, odd_b),
                S::add(both(A2 * NA, even_a, B2 * NB, even_b), m[5]),
                zero,
                zero,
                zero,
            ]
        }
    }
}
