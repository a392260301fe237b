//! Estimates the memory that tasks need, for a run with a memory budget.
//!
//! Records come first. Their peaks are of a whole process, in which other tasks may have run. Among records of the same
//! stage with the same parameters, the smallest peak is the best estimate. Records of other stages of the kind may have
//! other sizes, so there the largest peak is safe. Estimates only decide when a task runs.

use std::collections::HashMap;

use serde_json::Value;

use crate::pipeline::plan::{Plan, Task, TaskId};
use crate::pipeline::state::Components;
use crate::store::{Entry, Record, Store, StoreError};

/// The memory of a task per byte of its inputs: as stored, decoded, and in use.
const PER_INPUT_BYTE: u64 = 3;
/// The bytes that a task needs besides its inputs: the program, a network, and the activations of a batch.
pub(in crate::pipeline) const AT_LEAST: u64 = 300 << 20;

/// The total memory of the running tasks.
#[derive(Debug)]
pub(in crate::pipeline) struct MemoryBudget {
    bytes: u64,
    /// By task: the peak by the records, in bytes.
    recorded: Vec<Option<u64>>,
}

impl MemoryBudget {
    /// Makes a budget for the tasks of a plan, with the peaks from all records.
    pub fn new(bytes: u64, plan: &Plan, store: &Store) -> Result<Self, StoreError> {
        let entries = store.entries()?;
        let peaks: Vec<Peak<'_>> = entries.iter().filter_map(Entry::record).filter_map(Peak::of).collect();
        let mut kinds: HashMap<&str, u64> = HashMap::new();
        for peak in &peaks {
            let greatest = kinds.entry(&peak.components.kind).or_default();
            *greatest = peak.bytes.max(*greatest);
        }
        let recorded = plan.tasks().map(|task| {
            let params = task.bound.params();
            let same = peaks.iter().filter(|peak| peak.is_of(plan, task, &params));
            let least = same.map(|peak| peak.bytes).min();
            least.or_else(|| kinds.get(task.kind).copied())
        });
        Ok(Self { bytes, recorded: recorded.collect() })
    }

    /// The size of the budget in bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The bytes that a task needs; never 0. The tasks that it needs have records.
    pub fn need<'r>(&self, task: &Task, record: impl Fn(TaskId) -> Option<&'r Record>) -> u64 {
        let recorded = self.recorded[task.id().0];
        recorded.unwrap_or_else(|| {
            AT_LEAST.saturating_add(PER_INPUT_BYTE.saturating_mul(input_bytes(task, record)))
        })
    }
}

/// The peak memory of a recorded task.
struct Peak<'a> {
    record: &'a Record,
    components: Components,
    bytes: u64,
}

impl<'a> Peak<'a> {
    /// The peak of a record, if it has one.
    fn of(record: &'a Record) -> Option<Self> {
        let bytes = record.exec.peak_bytes.filter(|&peak| peak > 0)?;
        Some(Self { record, components: Components::of(record).ok()?, bytes })
    }

    /// Whether the record was first computed for the stage of a task, with the same parameters.
    fn is_of(&self, plan: &Plan, task: &Task, params: &Value) -> bool {
        let stage = self.record.exec.task.split('@').next();
        self.record.exec.pipeline == plan.name()
            && stage == Some(&task.label.stage)
            && self.components.params == *params
    }
}

/// The total size of a task's inputs.
fn input_bytes<'r>(task: &Task, record: impl Fn(TaskId) -> Option<&'r Record>) -> u64 {
    let sizes = task.inputs.iter().filter_map(|connection| {
        let outputs = &record(connection.producer)?.outputs;
        let taken =
            outputs.iter().filter(|made| connection.artifacts.iter().any(|(_, port)| made.port == *port));
        Some(taken.fold(0, |sum: u64, made| sum.saturating_add(made.size)))
    });
    sizes.fold(0, u64::saturating_add)
}
