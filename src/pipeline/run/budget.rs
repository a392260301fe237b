//! How much memory tasks need, by estimate, for a run that is to stay within a budget.
//!
//! What records say comes first. Their peaks are of a whole process, in which other tasks may have run: of several
//! that are of the same stage with the same parameters, the least is nearest to what the task needs. Those of other
//! stages of the kind may be of other sizes: there the greatest is the safe one. Estimates decide when a task runs, and
//! nothing else.

use std::collections::HashMap;

use serde_json::Value;

use crate::pipeline::plan::{Plan, Task, TaskId};
use crate::pipeline::state::Components;
use crate::store::{Entry, Record, Store, StoreError};

/// How many times the bytes of its inputs a task may need: as they are in the store, decoded, and at work.
const PER_INPUT_BYTE: u64 = 3;
/// What a task needs beside its inputs, bytes: the program, a network, and the activations of a batch.
pub(in crate::pipeline) const AT_LEAST: u64 = 300 << 20;

/// The memory that running tasks may need together.
#[derive(Debug)]
pub(in crate::pipeline) struct MemoryBudget {
    bytes: u64,
    /// By task: the peak by the records, in bytes.
    recorded: Vec<Option<u64>>,
}

impl MemoryBudget {
    /// A budget for the tasks of a plan; looks for the peaks of earlier tasks in all records.
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

    /// How much there is.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// How many bytes a task needs; never 0. What it needs has records.
    pub fn need<'r>(&self, task: &Task, record: impl Fn(TaskId) -> Option<&'r Record>) -> u64 {
        let recorded = self.recorded[task.id().0];
        recorded.unwrap_or_else(|| {
            AT_LEAST.saturating_add(PER_INPUT_BYTE.saturating_mul(input_bytes(task, record)))
        })
    }
}

/// How much memory a record says that its task took.
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

/// What the artifacts that a task gets take together.
fn input_bytes<'r>(task: &Task, record: impl Fn(TaskId) -> Option<&'r Record>) -> u64 {
    let sizes = task.inputs.iter().filter_map(|connection| {
        let outputs = &record(connection.producer)?.outputs;
        let taken =
            outputs.iter().filter(|made| connection.artifacts.iter().any(|(_, port)| made.port == *port));
        Some(taken.map(|made| made.size).sum::<u64>())
    });
    sizes.sum()
}
