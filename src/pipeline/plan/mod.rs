//! From a manifest to the DAG of its tasks, and the labels and targets that name parts of it.
//!
//! `Manifest` -> [`plan`] -> [`Plan`]. All errors of a manifest are found here, before anything runs. Nothing here
//! reads the store.

mod binding;
mod classes;
pub(super) mod dag;
mod editor_schema;
pub(super) mod label;
mod planner;
mod stage_plan;
pub(super) mod target;
pub(super) mod task;
mod wiring;

pub use dag::{Plan, ResultsSpec};
pub use editor_schema::manifest_schema;
pub use label::{Label, TaskId, TaskRef};
pub use planner::plan;
pub use target::{Target, TargetError, fits};
pub use task::{Connection, Policy, Task};
