//! Reports: records and artifacts become files for people, such as pictures and tables.
//!
//! It reads artifacts and writes files that other programs open. It does not use the store or the terminal: it gets
//! paths, and returns a description of the written files.

mod export;

pub use export::{Export, ExportError, export};
