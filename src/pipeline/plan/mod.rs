//! From a manifest to the DAG of tasks that it stands for, and the ways to name parts of it.
//!
//! `Manifest` -> [`plan`] -> [`Plan`]. Everything that can be wrong with a manifest is found here, before anything
//! runs. Nothing here reads the store.

mod binding;
pub(super) mod dag;
mod editor_schema;
pub(super) mod label;
mod planner;
pub(super) mod target;
pub(super) mod task;
mod wiring;

pub use dag::{Plan, ResultsSpec};
pub use editor_schema::manifest_schema;
pub use label::{Label, TaskId, TaskRef};
pub use planner::plan;
pub use target::{Target, TargetError, fits};
pub use task::{Connection, Policy, Task};
