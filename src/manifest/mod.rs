//! The manifest: YAML text becomes a [`Manifest`], in which every value knows where it is written.
//!
//! The way of the data: text -> tree of [`Node`]s (`text`) -> `--set` applied -> variables filled in -> [`Matrix`],
//! [`StageDef`]s and [`Results`] (`read`). Later, [`Manifest::instantiate`] gives the parameters of a stage in a cell, and
//! [`schema::check`] checks them against a JSON Schema. A [`Draft`] collects the errors of all these steps.
//!
//! Nothing here knows stage kinds or the store, and nothing prints.

mod diagnostic;
mod document;
mod draft;
mod read;
pub mod schema;
pub mod suggest;
mod text;

pub use diagnostic::{Diagnostic, Errors, Related};
pub use document::Manifest;
pub use draft::{Draft, LoadError};
pub use read::matrix::{Axis, AxisValue, Cell, Matrix};
pub use read::overrides::{OVERRIDE_SOURCE, Override, OverrideError};
pub use read::stage::{Results, StageDef};
pub use text::budget::{MAX_CELLS, MAX_DEPTH, MAX_EXPANDED_BYTES, MAX_EXPANDED_NODES, MAX_FILE_BYTES};
pub use text::node::{Entry, Node, NodeKind};
pub use text::source::{Place, Source, Span, Spanned};
pub use text::template::Template;

#[cfg(test)]
mod tests;
