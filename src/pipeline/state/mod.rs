//! What is known of a plan without running it: keys and their components, what the store has, why a result is stale,
//! and whether results are the locked ones.
//!
//! `Plan` -> [`survey`] -> [`Survey`]; `status` asks the journal of earlier runs besides. Nothing here runs a stage or
//! knows of events.

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
