//! Measures the peak memory of the process while a task runs.
//!
//! Tasks share the process, so a peak includes all tasks that ran at the same time. The kernel keeps one peak per
//! process (`VmHWM`, proc(5)), and it can be reset. Before a reset, the current peak is passed to the running tasks.

use std::collections::HashMap;
use std::fs;
use std::sync::{Mutex, PoisonError};

use crate::pipeline::plan::TaskId;

/// The peaks of running tasks, in bytes.
#[derive(Debug, Default)]
pub(super) struct PeakMemory {
    running: Mutex<HashMap<TaskId, u64>>,
}

impl PeakMemory {
    /// Starts measuring for a task.
    pub fn start(&self, id: TaskId) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(peak) = peak() {
            running.values_mut().for_each(|known| *known = peak.max(*known));
        }
        // 5 resets the peak to the memory in use now. If that is not allowed, peaks count from the start of the
        // process.
        let _ = fs::write("/proc/self/clear_refs", "5");
        running.insert(id, 0);
    }

    /// Stops measuring for a task. Returns the peak since its start, if the system reports it.
    pub fn stop(&self, id: TaskId) -> Option<u64> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let known = running.remove(&id)?;
        Some(peak()?.max(known))
    }
}

/// The most memory that the process has had since the last reset, in bytes.
fn peak() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peak_outlives_the_reset_by_another_task() {
        const BYTES: usize = 64 << 20;
        let memory = PeakMemory::default();
        memory.start(TaskId(0));
        drop(std::hint::black_box(vec![1u8; BYTES]));
        memory.start(TaskId(1));
        let first = memory.stop(TaskId(0)).unwrap();
        assert!(first >= BYTES as u64, "{first}");
        assert!(memory.stop(TaskId(1)).is_some());
        assert_eq!(memory.stop(TaskId(1)), None, "it no longer runs");
    }
}
