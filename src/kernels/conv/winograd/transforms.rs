//! The transforms to and from the 16 positions: the constant matrices A, B and G of the algorithm, expanded.
//!
//! The functions on raw pointers work on one tile and 16 channels; their callers have checked all offsets.

use crate::kernels::simd::Simd;

/// Values of a transformed tile in one channel.
pub(super) const POSITIONS: usize = 16;

/// `G g G'`.
pub(super) fn transform_kernel(g: &[f32; 9]) -> [f32; POSITIONS] {
    let expand = |a: f32, b: f32, c: f32| [a, 0.5 * (a + b + c), 0.5 * (a - b + c), c];
    let columns: [[f32; 4]; 3] = std::array::from_fn(|x| expand(g[x], g[3 + x], g[6 + x]));
    let rows: [[f32; 4]; 4] = std::array::from_fn(|y| expand(columns[0][y], columns[1][y], columns[2][y]));
    std::array::from_fn(|i| rows[i / 4][i % 4])
}

/// `G' m G`.
pub(super) fn gather_kernel(m: &[f32; POSITIONS]) -> [f32; 9] {
    let reduce = |m: [f32; 4]| [m[0] + 0.5 * (m[1] + m[2]), 0.5 * (m[1] - m[2]), 0.5 * (m[1] + m[2]) + m[3]];
    let columns: [[f32; 3]; 4] = std::array::from_fn(|x| reduce([m[x], m[4 + x], m[8 + x], m[12 + x]]));
    let rows: [[f32; 3]; 3] =
        std::array::from_fn(|y| reduce([columns[0][y], columns[1][y], columns[2][y], columns[3][y]]));
    std::array::from_fn(|i| rows[i / 3][i % 3])
}

/// `B' d B` of one tile and 16 channels; `step`: values from one position to the next.
#[inline(always)]
pub(super) unsafe fn transform_input<S: Simd>(
    d: *const f32,
    row: usize,
    pitch: usize,
    to: *mut f32,
    step: usize,
) {
    // SAFETY: the caller has checked all offsets.
    unsafe {
        for i in 0..4 {
            let mut t = [S::splat(0.0); 4];
            for (column, t) in t.iter_mut().enumerate() {
                let d = |y: usize| S::load(d.add(y * row + column * pitch));
                *t = match i {
                    0 => S::sub(d(0), d(2)),
                    1 => S::add(d(1), d(2)),
                    2 => S::sub(d(2), d(1)),
                    _ => S::sub(d(1), d(3)),
                };
            }
            let to = to.add(4 * i * step);
            S::store(to, S::sub(t[0], t[2]));
            S::store(to.add(step), S::add(t[1], t[2]));
            S::store(to.add(2 * step), S::sub(t[2], t[1]));
            S::store(to.add(3 * step), S::sub(t[1], t[3]));
        }
    }
}

/// `A' m A` of one tile and 16 channels, onto four pixels of the output.
#[inline(always)]
pub(super) unsafe fn transform_output<S: Simd>(
    m: *const f32,
    step: usize,
    addend: *const f32,
    y: *mut f32,
    row: usize,
    pitch: usize,
) {
    // SAFETY: the caller has checked all offsets.
    unsafe {
        for i in 0..2 {
            let mut s = [S::splat(0.0); 4];
            for (column, s) in s.iter_mut().enumerate() {
                let m = |y: usize| S::load(m.add((4 * y + column) * step));
                *s = match i {
                    0 => S::add(S::add(m(0), m(1)), m(2)),
                    _ => S::sub(S::sub(m(1), m(2)), m(3)),
                };
            }
            let pixels = [S::add(S::add(s[0], s[1]), s[2]), S::sub(S::sub(s[1], s[2]), s[3])];
            for (column, pixel) in pixels.into_iter().enumerate() {
                let at = i * row + column * pitch;
                let sum = if addend.is_null() { pixel } else { S::add(pixel, S::load(addend.add(at))) };
                S::store(y.add(at), sum);
            }
        }
    }
}

/// `A e A'` of one tile and 16 channels; `step`: values from one position to the next.
#[inline(always)]
pub(super) unsafe fn spread_gradient<S: Simd>(
    e: *const f32,
    row: usize,
    pitch: usize,
    to: *mut f32,
    step: usize,
) {
    // SAFETY: the caller has checked all offsets.
    unsafe {
        let (top, bottom) =
            ([S::load(e), S::load(e.add(pitch))], [S::load(e.add(row)), S::load(e.add(row + pitch))]);
        let zero = S::splat(0.0);
        for i in 0..4 {
            let mut t = [zero; 2];
            for (column, t) in t.iter_mut().enumerate() {
                *t = match i {
                    0 => top[column],
                    1 => S::add(top[column], bottom[column]),
                    2 => S::sub(top[column], bottom[column]),
                    _ => S::sub(zero, bottom[column]),
                };
            }
            let to = to.add(4 * i * step);
            S::store(to, t[0]);
            S::store(to.add(step), S::add(t[0], t[1]));
            S::store(to.add(2 * step), S::sub(t[0], t[1]));
            S::store(to.add(3 * step), S::sub(zero, t[1]));
        }
    }
}
