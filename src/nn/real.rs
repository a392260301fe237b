//! Shared code of operations on f32 and f64 tensors.

use candle_core::{CpuStorage, Layout, Result, WithDType, bail};

/// A float with a square root.
pub(super) trait Real: WithDType {
    /// The square root.
    fn root(self) -> Self;
}

impl Real for f32 {
    fn root(self) -> Self {
        self.sqrt()
    }
}

impl Real for f64 {
    fn root(self) -> Self {
        self.sqrt()
    }
}

/// A tensor's values, in order.
///
/// # Errors
///
/// A tensor of another type, or one whose values are not contiguous.
pub(super) fn values<'a, T: Real>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [T]> {
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&storage.as_slice::<T>()?[start..end]),
        None => bail!("a tensor that is not contiguous"),
    }
}
