//! How a run ended, task by task.

use std::sync::Arc;

use crate::pipeline::error::{RunError, TaskError};
use crate::pipeline::plan::{TaskId, TaskRef};
use crate::store::Record;

/// How a task ended.
#[derive(Debug)]
pub enum Ending {
    /// The store had its outputs.
    Cached(Arc<Record>),
    /// It ran, and its outputs are in the store.
    Finished(Arc<Record>),
    /// It failed.
    Failed(TaskError),
    /// The store does not have its outputs, and `--only` forbids computing them.
    Withheld,
    /// It depends on a task that failed or was withheld.
    Skipped {
        /// The failed or withheld task.
        ancestor: TaskId,
    },
    /// It was stopped or did not start, because the run was stopped or fails fast.
    Unfinished,
}

/// One execution of a plan: how every task ended.
#[derive(Debug)]
pub struct Run {
    tasks: Vec<(TaskRef, Ending)>,
    /// Whether the run was stopped.
    stopped: bool,
}

impl Ending {
    /// The record of the task's outputs, if it exists.
    pub fn record(&self) -> Option<&Record> {
        match self {
            Self::Cached(record) | Self::Finished(record) => Some(record),
            Self::Failed(_) | Self::Withheld | Self::Skipped { .. } | Self::Unfinished => None,
        }
    }
}

impl Run {
    /// Makes a run from the endings of its tasks, in the order of the plan.
    pub(super) fn new(tasks: Vec<(TaskRef, Ending)>, stopped: bool) -> Self {
        Self { tasks, stopped }
    }

    /// How a task ended.
    pub fn ending(&self, id: TaskId) -> &Ending {
        &self.tasks[id.0].1
    }

    /// How all tasks ended, in the order of the plan.
    pub fn endings(&self) -> impl ExactSizeIterator<Item = &Ending> {
        self.tasks.iter().map(|(_, ending)| ending)
    }

    /// The record of a task's outputs, if it exists.
    pub fn record(&self, id: TaskId) -> Option<&Record> {
        self.ending(id).record()
    }

    /// Checks that every task has a record. The error reports why not.
    pub fn complete(&self) -> Result<(), RunError> {
        let (mut failed, mut classes, mut withheld) = (vec![], vec![], vec![]);
        let (mut skipped, mut unfinished) = (0, 0);
        for (task, ending) in &self.tasks {
            match ending {
                Ending::Cached(_) | Ending::Finished(_) => {}
                Ending::Failed(error) => {
                    failed.push(task.clone());
                    classes.push(error.class());
                }
                Ending::Withheld => withheld.push(task.clone()),
                Ending::Skipped { .. } => skipped += 1,
                Ending::Unfinished => unfinished += 1,
            }
        }
        match classes.into_iter().max() {
            Some(class) if !self.stopped => Err(RunError::Failed { failed, skipped, unfinished, class }),
            _ if unfinished > 0 => Err(RunError::Stopped { unfinished, tasks: self.tasks.len() }),
            Some(class) => Err(RunError::Failed { failed, skipped, unfinished, class }),
            None if !withheld.is_empty() => Err(RunError::Withheld { tasks: withheld, skipped }),
            None => Ok(()),
        }
    }
}
