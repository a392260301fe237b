//! The transforms of whole tiles, 16 channels at a time: columns first, then rows.
//!
//! The functions work on raw pointers; their callers have checked all offsets. `step`: values from one position to the
//! next.

use super::tiling::{Line, Tiling};
use crate::kernels::simd::{LANES, Simd};

/// Transforms the columns of a tile with `$line`, and then the rows: `$from` x `$from` values to `$to` x `$to`. It is a
/// macro because closures would not be compiled for the level of the function around them.
macro_rules! transform {
    ($line:expr, $from:expr => $to:expr, |$y:ident, $x:ident| $load:expr, |$i:ident, $j:ident, $value:ident| $store:expr) => {{
        let mut columns: [Line<S>; 6] = [[S::splat(0.0); 6]; 6];
        for ($x, column) in columns.iter_mut().enumerate().take($from) {
            for ($y, value) in column.iter_mut().enumerate().take($from) {
                *value = $load;
            }
            *column = $line(*column);
        }
        for $i in 0..$to {
            let mut row: Line<S> = [S::splat(0.0); 6];
            for (value, column) in row.iter_mut().zip(&columns).take($from) {
                *value = column[$i];
            }
            for ($j, $value) in $line(row).into_iter().enumerate().take($to) {
                $store;
            }
        }
    }};
}

/// `B' d B`.
#[inline(always)]
pub(super) unsafe fn transform_input<S: Simd, F: Tiling>(
    d: *const f32,
    row: usize,
    pitch: usize,
    to: *mut f32,
    step: usize,
) {
    // SAFETY: the caller has checked all offsets; so below.
    unsafe {
        transform!(
            F::input::<S>, F::INPUT => F::INPUT,
            |y, x| S::load(d.add(y * row + x * pitch)),
            |i, j, value| S::store(to.add((i * F::INPUT + j) * step), value)
        );
    }
}

/// The pixels that a tile covers: all of them, or fewer at the end of an image.
#[derive(Clone, Copy)]
pub(super) struct Covered {
    pub rows: usize,
    pub columns: usize,
}

/// `A' m A`, plus an addend if there is one, onto the pixels of the output.
#[inline(always)]
pub(super) unsafe fn transform_output<S: Simd, F: Tiling>(
    m: *const f32,
    step: usize,
    addend: *const f32,
    y: *mut f32,
    row: usize,
    pitch: usize,
    covered: Covered,
) {
    // SAFETY: as above.
    unsafe {
        transform!(
            F::output::<S>, F::INPUT => F::SIDE,
            |i, j| S::load(m.add((i * F::INPUT + j) * step)),
            |i, x, value| if i < covered.rows && x < covered.columns {
                let at = i * row + x * pitch;
                let sum = if addend.is_null() { value } else { S::add(value, S::load(addend.add(at))) };
                S::store(y.add(at), sum);
            }
        );
    }
}

/// `A e A'`.
#[inline(always)]
pub(super) unsafe fn spread_gradient<S: Simd, F: Tiling>(
    e: *const f32,
    row: usize,
    pitch: usize,
    to: *mut f32,
    step: usize,
) {
    // SAFETY: as above.
    unsafe {
        transform!(
            F::spread::<S>, F::SIDE => F::INPUT,
            |y, x| S::load(e.add(y * row + x * pitch)),
            |i, j, value| S::store(to.add((i * F::INPUT + j) * step), value)
        );
    }
}

/// `G g G'` for 16 kernels, of which `taps` has the nine values.
#[inline(always)]
pub(super) unsafe fn transform_kernel<S: Simd, F: Tiling>(
    taps: &[[f32; LANES]; 9],
    to: *mut f32,
    step: usize,
) {
    // SAFETY: as above.
    unsafe {
        transform!(
            F::kernel::<S>, 3 => F::INPUT,
            |y, x| S::load(taps[3 * y + x].as_ptr()),
            |i, j, value| S::store(to.add((i * F::INPUT + j) * step), value)
        );
    }
}

/// `G' m G` for 16 kernels.
#[inline(always)]
pub(super) unsafe fn gather_kernel<S: Simd, F: Tiling>(
    m: *const f32,
    step: usize,
    taps: &mut [[f32; LANES]; 9],
) {
    // SAFETY: as above.
    unsafe {
        transform!(
            F::gather::<S>, F::INPUT => 3,
            |i, j| S::load(m.add((i * F::INPUT + j) * step)),
            |y, x, value| S::store(taps[3 * y + x].as_mut_ptr(), value)
        );
    }
}
