//! Runs a plan: each task without a cached result becomes a job, and an executor computes it.
//!
//! `Plan` -> survey -> ready tasks -> `JobSpec` -> [`Executor`] -> [`Run`]. One dispatcher owns the state of the run
//! and reports [`Event`]s. Nothing here prints.

mod budget;
mod clock;
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
