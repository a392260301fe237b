//! Who does jobs: the threads of this process, or processes of their own.
//!
//! A job is data and so is all that an executor reports about it; where the job is done changes no result. An executor
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

/// Does jobs. One executor serves all tasks of a run, from a thread each.
pub trait Executor: Sync {
    /// Does a job and returns how it ended; until then, `report` gets what happens.
    ///
    /// # Errors
    /// Whatever keeps the task from a result. A panic of the stage is one of them.
    fn execute(&self, job: &JobSpec, report: &OnReport<'_>) -> Result<Ended, TaskError>;
}

/// Takes what an executor reports about a job.
pub type OnReport<'a> = dyn Fn(Report) + Sync + 'a;

/// What an executor reports about a job that it does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Report {
    /// It runs now.
    Started {
        /// Under this key.
        started: Key,
    },
    /// Something happened.
    Event(Event),
}

/// How a job ended, unless it failed.
#[derive(Debug)]
pub enum Ended {
    /// The store had it after all.
    Cached(Arc<Record>),
    /// It ran and was committed.
    Finished(Arc<Record>),
    /// Another process computes it, and the job did not wait, or not any longer.
    Busy,
    /// It ran and was asked to stop.
    Stopped,
}
