//! Files that all other modules may use: the atomic replacement of a file, and files of tensors.
//!
//! Nothing here knows the purpose of a file. The atomic commit of a task's outputs belongs to the store.

pub mod tensors;
mod whole;

pub use whole::{Durability, write_whole, write_whole_with};
