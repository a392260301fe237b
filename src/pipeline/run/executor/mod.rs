//! Executors compute jobs: in threads of this process, or in separate processes.
//!
//! A job is data, and so is every report about it. Where a job is computed does not change its result. An executor
//! never touches the state of the run.

mod local;
mod process;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::event::Event;
use crate::pipeline::error::TaskError;
use crate::pipeline::job::JobSpec;
use crate::store::{Key, Record};

pub use local::Local;
pub use process::{Line, Process};

/// Computes jobs. One executor serves all tasks of a run, each from its own thread.
pub trait Executor: Sync {
    /// Computes a job and returns how it ended. Meanwhile, `report` receives its reports.
    ///
    /// # Errors
    /// If the task has no result. A panic of the stage is also an error.
    fn execute(&self, job: &JobSpec, report: &OnReport<'_>) -> Result<Ended, TaskError>;
}

/// Receives an executor's reports about a job.
pub type OnReport<'a> = dyn Fn(Report) + Sync + 'a;

/// An executor's report about a running job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Report {
    /// The job has started.
    Started {
        /// Its key.
        started: Key,
    },
    /// An event of the job.
    Event(Event),
}

/// How a job ended, unless it failed.
#[derive(Debug)]
pub enum Ended {
    /// The store already had the result.
    Cached(Arc<Record>),
    /// It ran and was committed.
    Finished(Arc<Record>),
    /// Another process computes the result, and the job does not wait for it.
    Busy,
    /// It ran and was stopped.
    Stopped,
}
