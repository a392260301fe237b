//! Files that all other modules may use: files and folders that are written whole, names that become paths, and files of
//! tensors.
//!
//! Nothing here knows the purpose of a file. The atomic commit of a task's outputs belongs to the store.

pub mod names;
pub mod tensors;
mod whole;

pub use whole::{
    Durability, check_writable, create_whole, create_whole_folder, create_whole_with, write_whole,
    write_whole_with,
};
