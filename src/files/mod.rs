//! Files that all other modules may use: opening files that others wrote, the atomic replacement of a file, and files of
//! tensors.
//!
//! Nothing here knows the purpose of a file. The atomic commit of a task's outputs belongs to the store.

mod open;
pub mod tensors;
mod whole;

pub use open::{open_regular, open_regular_or_inherited, read_regular};
pub use whole::{Durability, write_whole, write_whole_with};
