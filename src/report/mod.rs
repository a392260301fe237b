//! Reports: records and artifacts become files for people, such as pictures and tables.
//!
//! It reads what stages made and writes files that other programs open. It knows neither how the store keeps an
//! artifact nor the terminal: it gets paths, and returns what it wrote in words.

mod export;

pub use export::{ExportError, export};
