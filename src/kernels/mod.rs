//! Kernels for the CPU: convolution of NHWC batches; normalization, residual sums and attention maps of one image.
//!
//! They know only plain `f32` slices: no graphs, no tensors. A convolution distributes its batch among the threads of the
//! current pool; everything else is distributed by the caller, image by image.
//!
//! **Exactness.** The order of every sum depends only on the shapes, and every product is a fused multiply-add, so the
//! results are the same bits at every [`Level`] and for any number of threads. Vectors run over output channels (never
//! over a sum), 16 at a time; activations are stored with their channels padded by zeros to a multiple of [`LANES`].

pub mod conv;
pub mod image;
pub mod pointwise;
pub mod pool;
mod simd;

use std::sync::OnceLock;

pub use simd::LANES;

/// The widest instructions that the kernels may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// x86-64 with AVX-512F.
    Avx512,
    /// x86-64 with AVX2 and FMA.
    Avx2,
    /// Any processor.
    Portable,
}

impl Level {
    /// The name that [`Level::VARIABLE`] takes.
    pub fn name(self) -> &'static str {
        match self {
            Self::Avx512 => "avx512",
            Self::Avx2 => "avx2",
            Self::Portable => "portable",
        }
    }

    /// The environment variable that forces a level.
    pub const VARIABLE: &'static str = "ARGD_PIPE_SIMD";

    /// The best level of this processor, or the one that the environment forces. It is read once.
    pub fn current() -> Self {
        static LEVEL: OnceLock<Level> = OnceLock::new();
        *LEVEL.get_or_init(|| Self::forced().ok().flatten().unwrap_or(Self::available()[0]))
    }

    /// The level that the environment forces, if it does.
    ///
    /// # Errors
    ///
    /// A level that is unknown, or that this processor does not have.
    pub fn forced() -> Result<Option<Self>, String> {
        let Ok(forced) = std::env::var(Self::VARIABLE) else { return Ok(None) };
        let available = Self::available();
        let names: Vec<_> = available.iter().map(|level| level.name()).collect();
        let found = available.iter().find(|level| level.name() == forced).copied();
        let wrong = || format!("{} is `{forced}`; this processor has {}", Self::VARIABLE, names.join(", "));
        found.map(Some).ok_or_else(wrong)
    }

    /// The levels that this processor has, best first.
    pub fn available() -> Vec<Self> {
        #[cfg(target_arch = "x86_64")]
        {
            let fma = is_x86_feature_detected!("fma");
            let mut levels = vec![];
            if fma && is_x86_feature_detected!("avx512f") {
                levels.push(Self::Avx512);
            }
            if fma && is_x86_feature_detected!("avx2") {
                levels.push(Self::Avx2);
            }
            levels.push(Self::Portable);
            levels
        }
        #[cfg(not(target_arch = "x86_64"))]
        vec![Self::Portable]
    }
}

/// `channels` rounded up to whole vectors.
pub const fn padded(channels: usize) -> usize {
    channels.next_multiple_of(LANES)
}
