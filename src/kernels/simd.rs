//! Sixteen `f32` lanes in the registers of each [`Level`](super::Level), and the macro that compiles a kernel for
//! all of them.

/// Channels that one vector holds.
pub const LANES: usize = 16;

/// Sixteen lanes and the operations of kernels on them.
///
/// # Safety
/// The methods must run on a processor that has the instructions; [`compiled_for_each_level`] ensures this. Pointers
/// must be valid for 16 values, with any alignment.
pub trait Simd {
    /// Sixteen lanes.
    type V: Copy;
    /// The number of accumulators that fit into the registers, with one weight and one input value.
    const TILE: usize;
    /// The rows of a product of matrices whose sums fit into the registers, and the blocks of 16 columns in each.
    const ROWS: usize;
    const BLOCKS: usize;
    unsafe fn splat(value: f32) -> Self::V;
    unsafe fn load(from: *const f32) -> Self::V;
    unsafe fn store(to: *mut f32, v: Self::V);
    /// `a * b + c`, rounded once.
    unsafe fn fma(a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn sub(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn mul(a: Self::V, b: Self::V) -> Self::V;
    /// The larger of `a` and 0. NaN stays NaN, so that a diverged network is detected.
    unsafe fn relu(a: Self::V) -> Self::V;
    /// `a` where `gate > 0`, else 0.
    unsafe fn where_positive(gate: Self::V, a: Self::V) -> Self::V;
}

/// Lanes as an array: correct on all processors, fast where the compiler vectorizes.
pub(super) struct Portable;

impl Simd for Portable {
    type V = [f32; LANES];
    const TILE: usize = 4;
    const ROWS: usize = 4;
    const BLOCKS: usize = 1;

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self::V {
        [value; LANES]
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self::V {
        // SAFETY: the caller vouches for 16 readable values.
        unsafe { from.cast::<Self::V>().read_unaligned() }
    }

    #[inline(always)]
    unsafe fn store(to: *mut f32, v: Self::V) {
        // SAFETY: the caller vouches for 16 writable values.
        unsafe { to.cast::<Self::V>().write_unaligned(v) }
    }

    #[inline(always)]
    unsafe fn fma(a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        std::array::from_fn(|i| a[i].mul_add(b[i], c[i]))
    }

    #[inline(always)]
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V {
        std::array::from_fn(|i| a[i] + b[i])
    }

    #[inline(always)]
    unsafe fn sub(a: Self::V, b: Self::V) -> Self::V {
        std::array::from_fn(|i| a[i] - b[i])
    }

    #[inline(always)]
    unsafe fn mul(a: Self::V, b: Self::V) -> Self::V {
        std::array::from_fn(|i| a[i] * b[i])
    }

    #[inline(always)]
    unsafe fn relu(a: Self::V) -> Self::V {
        std::array::from_fn(|i| if a[i] < 0.0 { 0.0 } else { a[i] })
    }

    #[inline(always)]
    unsafe fn where_positive(gate: Self::V, a: Self::V) -> Self::V {
        std::array::from_fn(|i| if gate[i] > 0.0 { a[i] } else { 0.0 })
    }
}

#[cfg(target_arch = "x86_64")]
pub(super) use x86::{Avx2, Avx512};

#[cfg(target_arch = "x86_64")]
mod x86 {
    // SAFETY, for every block below: the trait's contract is that the processor has the instructions and that
    // pointers are good for 16 values; loads and stores are the unaligned ones.
    #![allow(clippy::undocumented_unsafe_blocks)]

    use std::arch::x86_64::*;

    use super::Simd;

    /// Lanes as two 256-bit registers.
    pub(in super::super) struct Avx2;

    impl Simd for Avx2 {
        type V = (__m256, __m256);
        const TILE: usize = 6;
        const ROWS: usize = 6;
        const BLOCKS: usize = 1;

        #[inline(always)]
        unsafe fn splat(value: f32) -> Self::V {
            unsafe { (_mm256_set1_ps(value), _mm256_set1_ps(value)) }
        }

        #[inline(always)]
        unsafe fn load(from: *const f32) -> Self::V {
            unsafe { (_mm256_loadu_ps(from), _mm256_loadu_ps(from.add(8))) }
        }

        #[inline(always)]
        unsafe fn store(to: *mut f32, v: Self::V) {
            unsafe {
                _mm256_storeu_ps(to, v.0);
                _mm256_storeu_ps(to.add(8), v.1);
            }
        }

        #[inline(always)]
        unsafe fn fma(a: Self::V, b: Self::V, c: Self::V) -> Self::V {
            unsafe { (_mm256_fmadd_ps(a.0, b.0, c.0), _mm256_fmadd_ps(a.1, b.1, c.1)) }
        }

        #[inline(always)]
        unsafe fn add(a: Self::V, b: Self::V) -> Self::V {
            unsafe { (_mm256_add_ps(a.0, b.0), _mm256_add_ps(a.1, b.1)) }
        }

        #[inline(always)]
        unsafe fn sub(a: Self::V, b: Self::V) -> Self::V {
            unsafe { (_mm256_sub_ps(a.0, b.0), _mm256_sub_ps(a.1, b.1)) }
        }

        #[inline(always)]
        unsafe fn mul(a: Self::V, b: Self::V) -> Self::V {
            unsafe { (_mm256_mul_ps(a.0, b.0), _mm256_mul_ps(a.1, b.1)) }
        }

        #[inline(always)]
        unsafe fn relu(a: Self::V) -> Self::V {
            // If one of the two operands is NaN, the instruction returns the second.
            unsafe { (_mm256_max_ps(_mm256_setzero_ps(), a.0), _mm256_max_ps(_mm256_setzero_ps(), a.1)) }
        }

        #[inline(always)]
        unsafe fn where_positive(gate: Self::V, a: Self::V) -> Self::V {
            unsafe {
                let zero = _mm256_setzero_ps();
                let masks =
                    (_mm256_cmp_ps::<_CMP_GT_OQ>(gate.0, zero), _mm256_cmp_ps::<_CMP_GT_OQ>(gate.1, zero));
                (_mm256_and_ps(masks.0, a.0), _mm256_and_ps(masks.1, a.1))
            }
        }
    }

    /// Lanes as one 512-bit register.
    pub(in super::super) struct Avx512;

    impl Simd for Avx512 {
        type V = __m512;
        const TILE: usize = 12;
        const ROWS: usize = 14;
        const BLOCKS: usize = 2;

        #[inline(always)]
        unsafe fn splat(value: f32) -> Self::V {
            unsafe { _mm512_set1_ps(value) }
        }

        #[inline(always)]
        unsafe fn load(from: *const f32) -> Self::V {
            unsafe { _mm512_loadu_ps(from) }
        }

        #[inline(always)]
        unsafe fn store(to: *mut f32, v: Self::V) {
            unsafe { _mm512_storeu_ps(to, v) }
        }

        #[inline(always)]
        unsafe fn fma(a: Self::V, b: Self::V, c: Self::V) -> Self::V {
            unsafe { _mm512_fmadd_ps(a, b, c) }
        }

        #[inline(always)]
        unsafe fn add(a: Self::V, b: Self::V) -> Self::V {
            unsafe { _mm512_add_ps(a, b) }
        }

        #[inline(always)]
        unsafe fn sub(a: Self::V, b: Self::V) -> Self::V {
            unsafe { _mm512_sub_ps(a, b) }
        }

        #[inline(always)]
        unsafe fn mul(a: Self::V, b: Self::V) -> Self::V {
            unsafe { _mm512_mul_ps(a, b) }
        }

        #[inline(always)]
        unsafe fn relu(a: Self::V) -> Self::V {
            unsafe { _mm512_max_ps(_mm512_setzero_ps(), a) }
        }

        #[inline(always)]
        unsafe fn where_positive(gate: Self::V, a: Self::V) -> Self::V {
            unsafe { _mm512_maskz_mov_ps(_mm512_cmp_ps_mask::<_CMP_GT_OQ>(gate, _mm512_setzero_ps()), a) }
        }
    }
}

/// Writes a safe function `$name(level, ...)` that runs the generic kernel `$kernel::<S>` compiled for `level`.
macro_rules! compiled_for_each_level {
    ($(#[$doc:meta])* $visible:vis fn $name:ident$(<$g:ident: $bound:path>)?($($arg:ident: $type:ty),* $(,)?) = $kernel:ident) => {
        $(#[$doc])*
        // A kernel has as many operands as its formula.
        #[allow(clippy::too_many_arguments)]
        $visible fn $name$(<$g: $bound>)?(level: $crate::kernels::Level, $($arg: $type),*) {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx2,fma")]
                #[allow(clippy::too_many_arguments)]
                unsafe fn avx512$(<$g: $bound>)?($($arg: $type),*) {
                    // SAFETY: compiled for the instructions that `Avx512` uses.
                    unsafe { $kernel::<$crate::kernels::simd::Avx512$(, $g)?>($($arg),*) }
                }
                #[target_feature(enable = "avx2,fma")]
                #[allow(clippy::too_many_arguments)]
                unsafe fn avx2$(<$g: $bound>)?($($arg: $type),*) {
                    // SAFETY: compiled for the instructions that `Avx2` uses.
                    unsafe { $kernel::<$crate::kernels::simd::Avx2$(, $g)?>($($arg),*) }
                }
                use $crate::kernels::Level;
                let fma = is_x86_feature_detected!("fma");
                match level {
                    Level::Avx512 if fma && is_x86_feature_detected!("avx512f") => {
                        // SAFETY: the processor has the instructions.
                        return unsafe { avx512$(::<$g>)?($($arg),*) };
                    }
                    Level::Avx2 if fma && is_x86_feature_detected!("avx2") => {
                        // SAFETY: the processor has the instructions.
                        return unsafe { avx2$(::<$g>)?($($arg),*) };
                    }
                    _ => {}
                }
            }
            let _ = level;
            // SAFETY: `Portable` needs no special instructions.
            unsafe { $kernel::<$crate::kernels::simd::Portable$(, $g)?>($($arg),*) }
        }
    };
}
pub(super) use compiled_for_each_level;
