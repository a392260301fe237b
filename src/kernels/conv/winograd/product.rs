//! A product of matrices with its sums in registers.
//!
//! Each output is one chain of fused multiply-adds in the order of the inner dimension, whatever the blocking. So all
//! levels, numbers of tiles at a time and numbers of threads give the same bits.

use crate::kernels::simd::{LANES, Simd};

/// The operands of a product of matrices `a` (rows, inner) by `b` (inner, 16 or more) to `to` (rows, 16 or more).
///
/// The inner dimension is cut into panels: `a` jumps between them, `b` does not.
#[derive(Clone, Copy)]
pub(super) struct Product {
    pub a: *const f32,
    /// Panels of `a`, their distance, and the steps in each.
    pub panels: usize,
    pub panel: usize,
    pub steps: usize,
    pub b: *const f32,
    /// From 16 columns of `b` to the next.
    pub b_block: usize,
    pub to: *mut f32,
    /// From 16 columns of `to` to the next.
    pub to_block: usize,
    /// Whether to add to `to`.
    pub adds: bool,
}

/// `rows` rows of a product, by `BLOCKS` times 16 columns. `ROW`: values from one row of `a` to the next, `STEP`: from one
/// step to the next.
#[inline(always)]
pub(super) unsafe fn multiply<S: Simd, const BLOCKS: usize, const ROW: usize, const STEP: usize>(
    mut product: Product,
    rows: usize,
) {
    macro_rules! by_number {
        ($rows:ident: $($few:literal)* ; $($many:literal)*) => {
            match $rows {
                $($few => rows_of::<S, $few, BLOCKS, ROW, STEP>(&product),)*
                _ if S::ROWS > 6 => match $rows {
                    $($many => rows_of::<S, $many, BLOCKS, ROW, STEP>(&product),)*
                    _ => unreachable!("as many rows as fit into the registers"),
                },
                _ => unreachable!("as many rows as fit into the registers"),
            }
        };
    }
    let mut left = rows;
    while left > 0 {
        // As even as possible: fewer rows at the end would leave the processor waiting for its sums.
        let now = left.div_ceil(left.div_ceil(S::ROWS));
        // SAFETY: the caller has checked all offsets.
        unsafe {
            by_number!(now: 1 2 3 4 5 6; 7 8 9 10 11 12 13 14);
            product.a = product.a.add(now * ROW);
            product.to = product.to.add(now * LANES);
        }
        left -= now;
    }
}

#[inline(always)]
unsafe fn rows_of<S: Simd, const ROWS: usize, const BLOCKS: usize, const ROW: usize, const STEP: usize>(
    product: &Product,
) {
    // SAFETY: the caller has checked all offsets.
    unsafe {
        let mut sums = [[S::splat(0.0); BLOCKS]; ROWS];
        let mut b = product.b;
        for panel in 0..product.panels {
            let mut a = product.a.add(panel * product.panel);
            for _ in 0..product.steps {
                let mut columns = [S::splat(0.0); BLOCKS];
                for (block, columns) in columns.iter_mut().enumerate() {
                    *columns = S::load(b.add(block * product.b_block));
                }
                for (row, sums) in sums.iter_mut().enumerate() {
                    let value = S::splat(*a.add(row * ROW));
                    for (sum, &columns) in sums.iter_mut().zip(&columns) {
                        *sum = S::fma(value, columns, *sum);
                    }
                }
                a = a.add(STEP);
                b = b.add(LANES);
            }
        }
        for (row, sums) in sums.iter().enumerate() {
            for (block, &sum) in sums.iter().enumerate() {
                let to = product.to.add(row * LANES + block * product.to_block);
                S::store(to, if product.adds { S::add(S::load(to), sum) } else { sum });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::simd::Portable;
    use crate::rng;

    /// As many registers as AVX-512 has, on any processor.
    struct Wide;

    // SAFETY of the calls: `Portable` needs no special instructions, and the pointers are the caller's.
    #[allow(clippy::undocumented_unsafe_blocks)]
    impl Simd for Wide {
        type V = <Portable as Simd>::V;
        const TILE: usize = 12;
        const ROWS: usize = 14;
        const BLOCKS: usize = 2;
        unsafe fn splat(value: f32) -> Self::V {
            unsafe { Portable::splat(value) }
        }
        unsafe fn load(from: *const f32) -> Self::V {
            unsafe { Portable::load(from) }
        }
        unsafe fn store(to: *mut f32, v: Self::V) {
            unsafe { Portable::store(to, v) }
        }
        unsafe fn fma(a: Self::V, b: Self::V, c: Self::V) -> Self::V {
            unsafe { Portable::fma(a, b, c) }
        }
        unsafe fn add(a: Self::V, b: Self::V) -> Self::V {
            unsafe { Portable::add(a, b) }
        }
        unsafe fn sub(a: Self::V, b: Self::V) -> Self::V {
            unsafe { Portable::sub(a, b) }
        }
        unsafe fn mul(a: Self::V, b: Self::V) -> Self::V {
            unsafe { Portable::mul(a, b) }
        }
        unsafe fn relu(a: Self::V) -> Self::V {
            unsafe { Portable::relu(a) }
        }
        unsafe fn where_positive(gate: Self::V, a: Self::V) -> Self::V {
            unsafe { Portable::where_positive(gate, a) }
        }
    }

    /// Two panels of 16 steps, by 32 columns.
    fn product<S: Simd, const BLOCKS: usize>(rows: usize) -> Vec<f32> {
        const DEPTH: usize = 2 * LANES;
        let mut stream = rng::stream(3, "product", 0, 0);
        let mut random = |len: usize| (0..len).map(|_| stream.between(-1.0, 1.0)).collect::<Vec<f32>>();
        let (a, b, mut to) = (random(DEPTH * rows), random(2 * DEPTH * LANES), random(2 * rows * LANES));
        let mut product = Product {
            a: a.as_ptr(),
            panels: 2,
            panel: rows * LANES,
            steps: LANES,
            b: b.as_ptr(),
            b_block: DEPTH * LANES,
            to: to.as_mut_ptr(),
            to_block: rows * LANES,
            adds: true,
        };
        for _ in (0..2).step_by(BLOCKS) {
            // SAFETY: the operands have the sizes that the product names.
            unsafe {
                multiply::<S, BLOCKS, LANES, 1>(product, rows);
                product.b = product.b.wrapping_add(BLOCKS * product.b_block);
                product.to = product.to.wrapping_add(BLOCKS * product.to_block);
            }
        }
        to
    }

    #[test]
    fn any_number_of_registers_gives_the_same_bits() {
        for rows in 1..=30 {
            let expected = product::<Portable, 1>(rows);
            assert!(product::<Portable, 2>(rows) == expected, "{rows} rows, two blocks");
            assert!(product::<Wide, 1>(rows) == expected, "{rows} rows, more registers");
            assert!(product::<Wide, 2>(rows) == expected, "{rows} rows, more registers and two blocks");
        }
    }
}
