//! Stages: what a manifest's stage kinds are.
//!
//! A stage turns parameters and input artifacts into output artifacts. It knows files, but neither YAML nor the
//! store nor the terminal: the executor hands it a [`Context`] and commits what it leaves there.
//! Adding a kind is one file in `kinds/` and one line in its registry, [`all`].

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

pub use crate::train::{Observer, Progress};
pub use context::{Context, Outcome};
pub use error::StageError;
pub use kind::{Bound, Kind, Stage};
pub use kinds::all;
pub use ports::{Artifact, Input, Need, Output, ParamError};

#[cfg(test)]
pub(crate) mod tests;
