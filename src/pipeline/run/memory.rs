//! How much memory the process has used at most while a task ran.
//!
//! Tasks share the process, so this is the peak of all that ran at the time, not of the task alone. The kernel keeps
//! one peak per process (`VmHWM`, proc(5)), which can be reset: whoever resets it first hands what it says to the
//! tasks that are running.

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
    /// A task starts.
    pub fn start(&self, id: TaskId) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(peak) = peak() {
            running.values_mut().for_each(|known| *known = peak.max(*known));
        }
        // 5 resets the peak to what is in use now. Where that is not allowed, peaks are those since the start.
        let _ = fs::write("/proc/self/clear_refs", "5");
        running.insert(id, 0);
    }

    /// A task ends; returns the peak since it started, where the system tells.
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
        assert_eq!(memory.stop(TaskId(1)), None, "it is not running any more");
    }
}
