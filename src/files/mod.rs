//! Files that all other modules may use: the atomic replacement of a file, folders that no path leaves, and files of
//! tensors.
//!
//! Nothing here knows the purpose of a file. The atomic commit of a task's outputs belongs to the store.

mod beneath;
pub mod tensors;
mod whole;

pub use beneath::{Durability, Facts, Folder, Kind, TEMPORARY, Unfit, name_below};
pub use whole::{write_whole, write_whole_with};
