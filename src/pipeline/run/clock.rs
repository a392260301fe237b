//! Times a task over all its attempts, for its record.
//!
//! The seconds of earlier attempts are kept beside the checkpoints that the next attempt resumes from. So the commit, which
//! removes the checkpoints, also ends the count. A file that cannot be written only costs seconds in the record.

use std::io::{self, Read};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::files::{Durability, Folder};
use crate::store::{self, Execution};

/// The name of the file in the folder of checkpoints.
const FILE: &str = "seconds";

/// At most so many seconds of an attempt are lost when it is killed.
const PERIOD: Duration = Duration::from_secs(10);

/// No task takes longer. A file of others may name any number.
const LONGEST: f64 = 1e9;

/// Times an attempt, and adds the earlier ones.
pub(super) struct Clock<'a> {
    /// The folder of the checkpoints.
    folder: &'a Folder,
    /// The seconds of earlier attempts.
    before: f64,
    started: SystemTime,
    running: Instant,
    kept: Mutex<Instant>,
}

impl<'a> Clock<'a> {
    /// Starts the clock of an attempt whose checkpoints are in `folder`.
    pub fn start(folder: &'a Folder) -> Self {
        let file = folder.read(&folder.path().join(FILE));
        let text = file.and_then(|file| io::read_to_string(file.take(64)));
        let before = text.ok().and_then(|text| text.trim_end().parse().ok());
        let before = before.filter(|seconds| (0.0..LONGEST).contains(seconds)).unwrap_or(0.0);
        let now = Instant::now();
        Self { folder, before, started: SystemTime::now(), running: now, kept: Mutex::new(now) }
    }

    /// The seconds of all attempts.
    fn seconds(&self) -> f64 {
        self.before + self.running.elapsed().as_secs_f64()
    }

    /// Keeps the seconds for the next attempt, unless this was done a moment ago.
    pub fn tick(&self) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.elapsed() >= PERIOD {
            *kept = Instant::now();
            self.keep();
        }
    }

    /// Keeps the seconds for the next attempt.
    pub fn keep(&self) {
        let text = format!("{}\n", self.seconds());
        let file = self.folder.path().join(FILE);
        if let Err(error) = self.folder.write_whole(&file, Durability::Unsynced, text.as_bytes()) {
            tracing::debug!("cannot write {}: {error}", file.display());
        }
    }

    /// What the record says about the execution.
    pub fn stop(self, threads: usize) -> Execution {
        Execution {
            host: store::host(),
            started: self.started.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs(),
            seconds: self.seconds(),
            threads,
            argd_version: env!("CARGO_PKG_VERSION").to_owned(),
            ..Execution::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn attempts_add_up() {
        let outer = tempfile::tempdir().unwrap();
        let folder = Folder::open(outer.path()).unwrap();
        for (text, before) in [("100.5\n", 100.5), ("", 0.0), ("-1", 0.0), ("1e300", 0.0), ("NaN", 0.0)] {
            fs::write(folder.path().join(FILE), text).unwrap();
            assert_eq!(Clock::start(&folder).before, before, "{text}");
        }
        fs::write(folder.path().join(FILE), "100").unwrap();
        let second = Clock::start(&folder);
        second.tick();
        assert_eq!(fs::read_to_string(folder.path().join(FILE)).unwrap(), "100", "a moment ago");
        second.keep();
        let third = Clock::start(&folder);
        assert!((100.0..160.0).contains(&third.before));
        let seconds = third.stop(1).seconds;
        assert!((100.0..160.0).contains(&seconds), "{seconds}");
    }
}
