//! From a manifest to results, in six modules: `plan` (the DAG of tasks), `state` (keys, cached results, why a result
//! is stale), `run` (the scheduler and its executors), `forecast` (how long it takes), [`results`] (tables), and
//! [`record`] (the files of a run).
//!
//! `Manifest` -> [`plan()`] -> [`Plan`] -> [`survey`] -> [`Survey`] -> [`run()`] -> [`Run`] -> [`results::Table`].
//! Commands differ only in how far they follow that line: `plan` stops at the survey, `status` explains it, `results`
//! reads rows from it, and `run` follows it to the end. Imports point up that line and never down. Progress is reported
//! as [`Event`]s. Nothing here prints, knows YAML or knows what a stage kind does.

mod error;
mod forecast;
mod job;
mod plan;
pub mod record;
pub mod results;
mod run;
mod state;

pub use error::{Class, RunError, TaskError};
pub use forecast::{Estimate, Forecast};
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
