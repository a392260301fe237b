//! What a run leaves for later: `run.json`, and files that its events go to. Written and read back by the same structs.

mod run_file;
pub mod sinks;
mod time;

pub use run_file::{
    Git, Machine, ManifestText, Program, RUN_FORMAT_VERSION, RunOutcome, RunRecord, RunSettings, TaskRecord,
    keys, task_records,
};
pub use time::Utc;
