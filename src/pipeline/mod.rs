//! From a manifest to results, in five stories: `plan` (the DAG of tasks), `state` (keys, what the store
//! has, why a result is stale), `run` (the scheduler and its executors), [`results`] (tables), and [`record`]
//! (what a run leaves for later).
//!
//! `Manifest` -> [`plan()`] -> [`Plan`] -> [`survey`] -> [`Survey`] -> [`run()`] -> [`Run`] -> [`results::Table`].
//! Commands differ only in how far along that line they go: `plan` stops at the survey, `status` asks it why, `results`
//! reads rows from it, `run` goes to the end. Imports go up that line and never down. What happens on the way is
//! reported as [`Event`]s; nothing here prints, knows YAML or knows what a stage kind does.

mod error;
mod job;
mod plan;
pub mod record;
pub mod results;
mod run;
mod state;
mod whole_file;

pub use error::{Class, RunError, TaskError};
pub use job::{BoundJob, JobSpec, Made, Resources, Site, perform};
pub use plan::{
    Connection, Label, Plan, Policy, ResultsSpec, Target, TargetError, Task, TaskId, TaskRef, fits,
    manifest_schema, plan,
};
pub use run::{Ended, Ending, Event, Executor, Line, Local, OnReport, Process, Report, Run, Settings, run};
pub use state::{
    Again, Components, Counts, Inputs, Keyed, Lock, Mismatch, OnDamage, StaleReason, Standing, State, Status,
    Survey, TaskStatus, status, survey,
};

#[cfg(test)]
mod tests;
