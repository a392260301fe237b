//! The surroundings of a training: its seed, its observer and its checkpoints.

use super::Observer;
use crate::files::Folder;

/// The seed, the observer and the checkpoints of a training.
#[derive(Clone, Copy)]
pub struct Session<'a> {
    /// Names the random streams.
    pub seed: u64,
    /// Receives the progress, and may stop the work.
    pub observer: &'a dyn Observer,
    /// The folder of the checkpoints. Each training needs its own folder.
    pub checkpoints: &'a Folder,
}
