//! Running a plan: what the store does not have becomes a job, and an executor does it.
//!
//! `Plan` -> survey -> ready tasks -> `JobSpec` -> [`Executor`] -> [`Run`]. One dispatcher owns the state of the run;
//! what happens is reported as [`Event`]s. Nothing here prints.

mod budget;
mod event;
mod executor;
mod memory;
mod outcome;
mod scheduler;
mod task_log;

#[cfg(test)]
pub(super) use budget::{AT_LEAST, MemoryBudget};
pub use event::Event;
pub use executor::{Ended, Executor, Line, Local, OnReport, Process, Report};
pub use outcome::{Ending, Run};
pub use scheduler::{Settings, run};
