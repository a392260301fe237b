//! Stages: the stage kinds of manifests.
//!
//! A stage turns parameters and input artifacts into output artifacts. It uses files, but not YAML, the store or the
//! terminal: the executor gives it a [`Context`] and commits its outputs. To add a kind, add a file in `kinds/` and a
//! line in its registry, [`all`].

mod baseline;
mod context;
mod convert;
mod error;
mod kind;
mod kinds;
mod measure;
pub mod metrics;
mod ports;
mod require;
mod training;

pub use crate::train::{Observer, Progress, Unit};
pub use context::{Context, Outcome};
pub use error::StageError;
pub use kind::{Bound, Kind, Stage};
pub use kinds::all;
pub use ports::{Artifact, Input, Need, Output, ParamError};
pub use require::why_not_valid;

#[cfg(test)]
pub(crate) mod tests;
