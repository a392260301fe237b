//! The ground floor's files: one file in place of another, and files of tensors.
//!
//! Nothing here knows what a file is for. The order of steps that makes a task's outputs appear together is the
//! store's own.

pub mod tensors;
mod whole;

pub use whole::{Durability, write_whole, write_whole_with};
