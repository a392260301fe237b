//! What a task says while it runs, kept in a file: notes, now and then how far it is, and how it ended.
//!
//! Attempts of one key follow each other in one file, and it stays whether they end well or not. Who holds the lock
//! of the key is the only one who writes to it. A log that cannot be written stops no task.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::pipeline::plan::TaskRef;
use crate::stages::Progress;
use crate::store;

/// The least time between two lines about progress.
const PROGRESS_PERIOD: Duration = Duration::from_secs(10);

/// The log of one attempt at a task.
pub(super) struct TaskLog {
    started: Instant,
    state: Mutex<State>,
}

struct State {
    file: Option<File>,
    /// When progress was last written.
    last: Instant,
}

impl TaskLog {
    /// Opens the log of a key at the beginning of an attempt.
    pub fn open(path: &Path, task: &TaskRef, threads: usize) -> Self {
        let folder = path.parent().map_or(Ok(()), fs::create_dir_all);
        let file = folder.and_then(|()| OpenOptions::new().append(true).create(true).open(path));
        let file = file.inspect_err(|error| tracing::debug!("{}: {error}", path.display())).ok();
        let started = Instant::now();
        let log = Self { started, state: Mutex::new(State { file, last: started }) };
        let (host, pid) = (store::host(), std::process::id());
        let plural = if threads == 1 { "" } else { "s" };
        log.line(&format!("started {task} on {host}, process {pid}, {threads} thread{plural}"));
        log
    }

    /// Writes a line, or several, with the time since the attempt began.
    pub fn line(&self, text: &str) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        self.write(&mut state, text, Instant::now());
    }

    /// Writes how far the task is, unless that was just written.
    pub fn progress(&self, progress: &Progress) {
        let (mut state, now) = (self.state.lock().unwrap_or_else(PoisonError::into_inner), Instant::now());
        if now.duration_since(state.last) >= PROGRESS_PERIOD {
            state.last = now;
            self.write(&mut state, &progress.to_string(), now);
        }
    }

    fn write(&self, state: &mut State, text: &str, now: Instant) {
        let Some(file) = &mut state.file else { return };
        let seconds = now.duration_since(self.started).as_secs_f64();
        let lines: String = text.lines().map(|line| format!("[{seconds:8.1}s] {line}\n")).collect();
        if let Err(error) = file.write_all(lines.as_bytes()) {
            tracing::debug!("the log of a task cannot be written: {error}");
            state.file = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::plan::{Label, TaskId};

    #[test]
    fn attempts_follow_each_other() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ab/key.log");
        let task = TaskRef::from(Label { id: TaskId(0), stage: "trained".into(), axes: vec![] });
        for note in ["one", "two\nlines"] {
            let log = TaskLog::open(&path, &task, 2);
            log.line(note);
            log.progress(&Progress::default());
        }
        let text = fs::read_to_string(&path).unwrap();
        let said: Vec<&str> = text.lines().map(|line| line.split_once("] ").unwrap().1).collect();
        assert!(said[0].starts_with("started trained on ") && said[0].ends_with(", 2 threads"), "{text}");
        assert_eq!((said[1], said.len(), &said[3..]), ("one", 5, &["two", "lines"][..]));
    }

    #[test]
    fn a_log_that_cannot_be_written_stops_nothing() {
        let task = TaskRef::from(Label { id: TaskId(0), stage: "trained".into(), axes: vec![] });
        TaskLog::open(Path::new("/proc/no/such/folder/key.log"), &task, 1).line("note");
    }
}
