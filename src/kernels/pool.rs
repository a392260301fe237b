//! Buffers that are reused from step to step, so that training does not allocate memory.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Free buffers by length.
#[derive(Debug, Default)]
pub struct Pool(Mutex<HashMap<usize, Vec<Vec<f32>>>>);

impl Pool {
    /// A buffer of `len` arbitrary values.
    pub fn take(self: &Arc<Self>, len: usize) -> Pooled {
        let mut free = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let values = free.get_mut(&len).and_then(Vec::pop);
        Pooled { values: values.unwrap_or_else(|| vec![0.0; len]), pool: Arc::clone(self) }
    }
}

/// A buffer that returns to its pool.
#[derive(Debug)]
pub struct Pooled {
    values: Vec<f32>,
    pool: Arc<Pool>,
}

impl std::ops::Deref for Pooled {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.values
    }
}

impl std::ops::DerefMut for Pooled {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.values
    }
}

impl Drop for Pooled {
    fn drop(&mut self) {
        let mut free = self.pool.0.lock().unwrap_or_else(PoisonError::into_inner);
        free.entry(self.values.len()).or_default().push(std::mem::take(&mut self.values));
    }
}
