//! Files that all other modules may use: opening files that others wrote, files and folders that are written whole,
//! folders that no path leaves, names that become paths, and files of tensors.
//!
//! Nothing here knows the purpose of a file. The atomic commit of a task's outputs belongs to the store.

mod beneath;
pub mod names;
mod open;
pub mod tensors;
mod whole;

pub use beneath::{Durability, Facts, Folder, Kind, TEMPORARY, Unfit, name_below};
pub use open::{open_regular, open_regular_or_inherited, read_limited, read_regular};
pub use whole::{
    check_writable, create_whole, create_whole_folder, create_whole_with, write_whole, write_whole_with,
};
