//! The state of a plan before it runs: keys and their components, cached results, why a result is stale, and whether
//! results match the lock file.
//!
//! `Plan` -> [`survey`] -> [`Survey`]. `status` also reads the journal of earlier runs. Nothing here runs a stage or
//! emits events.

mod components;
pub(super) mod key;
mod lockfile;
mod recompute;
mod stale;
mod status;
pub(super) mod survey;

pub use components::{Components, Inputs};
pub use key::Keyed;
pub use lockfile::{Lock, Mismatch};
pub use recompute::Again;
pub use stale::StaleReason;
pub use status::{Standing, Status, TaskStatus, status};
pub use survey::{Counts, OnDamage, State, Survey, survey};
