//! From a manifest to results: the plan, the keys, and the scheduler that runs what the store does not have.
//!
//! `Manifest` -> [`plan`] -> [`Plan`] -> [`survey`] -> [`Survey`] -> [`run`] -> [`Run`] -> [`results::Table`]. Commands
//! differ only in how far along that line they go: `plan` stops at the survey, `status` asks of it why, `results`
//! reads rows from it, `run` goes to the end. What happens on the way is told as [`Event`]s; nothing here prints, knows YAML or knows what a
//! stage kind does.

mod binding;
mod budget;
mod compare;
mod ending;
mod error;
mod events;
mod executor;
mod key;
mod lock;
mod manifest_schema;
mod memory;
mod plan;
mod planner;
pub mod provenance;
mod recompute;
pub mod results;
mod scheduler;
mod sheet;
pub mod sinks;
mod stale;
mod status;
mod survey;
mod target;
mod task;
mod task_log;
mod utc;
mod view;
mod wiring;

pub use compare::{Change, CompareError, Comparison, Pair, compare};
pub use ending::{Ending, Run};
pub use error::{Class, RunError, TaskError};
pub use events::Event;
pub use key::Keyed;
pub use lock::{Lock, Mismatch};
pub use manifest_schema::manifest_schema;
pub use plan::{Plan, ResultsSpec};
pub use planner::plan;
pub use recompute::Again;
pub use scheduler::{Settings, run};
pub use stale::StaleReason;
pub use status::{Standing, Status, TaskStatus, status};
pub use survey::{Counts, State, Survey, survey};
pub use target::{Target, TargetError, fits};
pub use task::{Connection, Label, Policy, Task, TaskId, TaskRef};
pub use utc::Utc;
pub use view::NoView;

#[cfg(test)]
mod tests;
