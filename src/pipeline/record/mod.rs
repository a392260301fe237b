//! The files of a run: `run.json`, and the files of its events. The same structs write and read them.

mod git;
mod run_file;
pub mod sinks;
mod time;

pub use git::Git;
pub use run_file::{
    Machine, ManifestText, Program, RUN_FORMAT_VERSION, RunOutcome, RunRecord, RunSettings, TaskRecord, keys,
};
pub use time::Utc;
