//! The log of a task: its notes, its progress at intervals, and how it ended.
//!
//! All attempts at one key are in one file, which is kept even if they fail. Only the holder of the key's lock writes
//! to it. A task continues if its log cannot be written.

use std::fs::File;
use std::io::Write;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::pipeline::plan::TaskRef;
use crate::stages::Progress;
use crate::store::{self, StoreError};

/// The shortest time between two progress lines.
const PROGRESS_PERIOD: Duration = Duration::from_secs(10);

/// The log of one attempt at a task.
pub(super) struct TaskLog {
    started: Instant,
    state: Mutex<State>,
}

struct State {
    file: Option<File>,
    /// The time of the last progress line.
    last: Instant,
}

impl TaskLog {
    /// Begins the log of an attempt in the open log of its key.
    pub fn open(file: Result<File, StoreError>, task: &TaskRef, threads: usize) -> Self {
        let file = file.inspect_err(|error| tracing::debug!("{error}")).ok();
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

    /// Writes a progress line, unless the last one is recent.
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
    use std::io;

    use super::*;
    use crate::pipeline::plan::{Label, TaskId};
    use crate::store::{Key, Store};

    #[test]
    fn attempts_follow_each_other() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let lock = store.try_lock(&Key::of(&"key".into())).unwrap().unwrap();
        let task = TaskRef::from(Label { id: TaskId(0), stage: "trained".into(), axes: vec![] });
        for note in ["one", "two\nlines"] {
            let log = TaskLog::open(store.append_log(&lock), &task, 2);
            log.line(note);
            log.progress(&Progress::default());
        }
        let text = io::read_to_string(store.open_log(lock.key()).unwrap().unwrap()).unwrap();
        let lines: Vec<&str> = text.lines().map(|line| line.split_once("] ").unwrap().1).collect();
        assert!(lines[0].starts_with("started trained on ") && lines[0].ends_with(", 2 threads"), "{text}");
        assert_eq!((lines[1], lines.len(), &lines[3..]), ("one", 5, &["two", "lines"][..]));
    }

    #[test]
    fn an_unwritable_log_does_not_stop_a_task() {
        let task = TaskRef::from(Label { id: TaskId(0), stage: "trained".into(), axes: vec![] });
        TaskLog::open(Err(StoreError::SourceMissing("log".into())), &task, 1).line("note");
    }
}
