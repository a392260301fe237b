//! Network architectures by name, the model artifact, and the import and export of models.
//!
//! A model is a [`Spec`] with [`Weights`]. Nothing here trains or tests a model; `nn` computes networks.

mod architectures;
mod entry;
mod export;
mod import;
mod layout;
mod model;
mod pytorch;
mod spec;

pub use architectures::{Architecture, FAMILIES, Family, Known, UnknownArchitecture, names};
pub use export::{ExportError, Format, export, write};
#[doc(hidden)]
pub use import::read_small_tensors;
pub use import::{ImportError, import};
pub use model::{Model, ModelError, Weights};
pub use spec::Spec;
