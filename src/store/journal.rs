//! Journals: the last result of every task of a pipeline, by name.
//!
//! When the key of a task changes, only its name leads to its older record. A journal has one JSON object per line; the
//! last line of a task counts. Lines are appended in one write. Results never depend on a journal: without it, or without
//! one of its lines, only explanations are missing.

use std::collections::HashMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::error::Tried;
use super::files::{files_below, replace};
use super::flock::try_lock_file;
use super::layout::JOURNAL;
use super::{Key, Store, StoreError};
use crate::files::{Folder, Unfit, read_limited};

/// The last result and the last failure of a task.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Past {
    /// The key of its last record.
    pub done: Option<Key>,
    /// How it failed, unless it has succeeded since.
    pub failed: Option<Failure>,
}

/// How a task failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Its key, if that was known.
    pub key: Option<Key>,
    /// When, in seconds since 1970.
    pub at: u64,
    /// The message and the hint.
    pub message: String,
}

/// The most bytes of a journal. One of 200,000 tasks has about 40 MB, and is shortened before it has five times as many.
const LARGEST: u64 = 512 << 20;

/// A line of a journal.
#[derive(Debug, Serialize, Deserialize)]
struct Line {
    task: String,
    at: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<Key>,
    /// Whether it failed, and how.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    failed: Option<String>,
}

/// The last result of every task of a pipeline.
#[derive(Debug)]
pub struct Journal {
    root: Arc<Folder>,
    file: PathBuf,
    past: HashMap<String, Past>,
    /// Lines that are not saved yet.
    unsaved: String,
}

impl Store {
    /// Reads the journal of a pipeline. If it cannot be read, it counts as empty.
    pub fn journal(&self, pipeline: &str) -> Journal {
        let (mut journal, lines) = Journal::load(&self.root, self.layout.journal(pipeline));
        if lines > 4 * journal.past.len() + 100
            && let Err(error) = journal.shorten(&self.layout.journal_lock(pipeline))
        {
            tracing::debug!("{error}");
        }
        journal
    }

    /// The names (`pipeline/task`) of the tasks in all journals, by the keys of their records.
    pub(super) fn journaled(&self) -> Result<HashMap<Key, String>, StoreError> {
        let mut tasks = HashMap::new();
        let mut files = files_below(&self.root, &self.layout.journals())?;
        // A process that was killed may have left a file half written, under another name.
        files.retain(|(path, _)| path.extension().is_some_and(|extension| extension == JOURNAL));
        for (path, _) in files {
            let Some(pipeline) = path.file_stem().map(|name| name.to_string_lossy().into_owned()) else {
                continue;
            };
            let done = |(task, past): (String, Past)| Some((past.done?, format!("{pipeline}/{task}")));
            tasks.extend(Journal::load(&self.root, path).0.past.into_iter().filter_map(done));
        }
        Ok(tasks)
    }
}

impl Journal {
    /// Reads a file; returns the journal and the number of lines.
    pub(super) fn load(root: &Arc<Folder>, file: PathBuf) -> (Self, usize) {
        let root = Arc::clone(root);
        let mut journal = Self { root, past: HashMap::new(), unsaved: String::new(), file };
        let lines = journal.read();
        (journal, lines)
    }

    /// The keys of the last records of its tasks.
    pub(super) fn keys(&self) -> impl Iterator<Item = Key> + '_ {
        self.past.values().filter_map(|past| past.done)
    }

    /// The last result and the last failure of a task.
    pub fn past(&self, task: &str) -> Option<&Past> {
        self.past.get(task)
    }

    /// Adds that a task has a record, unless the journal has that.
    pub fn done(&mut self, task: &str, key: Key) {
        let known = |past: &Past| past.done == Some(key) && past.failed.is_none();
        if !self.past(task).is_some_and(known) {
            self.note(Line { task: task.to_owned(), at: now(), key: Some(key), failed: None });
        }
    }

    /// Adds that a task failed.
    pub fn failed(&mut self, task: &str, key: Option<Key>, message: &str) {
        self.note(Line { task: task.to_owned(), at: now(), key, failed: Some(message.to_owned()) });
    }

    /// Appends the new lines to the file. A failure is harmless, so it is only logged.
    pub fn save(&mut self) {
        let text = std::mem::take(&mut self.unsaved);
        if text.is_empty() {
            return;
        }
        let saved = match self.root.append(&self.file) {
            // A link or a FIFO is in its place, and counts as an empty journal.
            Err(error) if Unfit::of(&error).is_some() => replace(&self.root, &self.file, &text),
            open => open.and_then(|mut file| file.write_all(text.as_bytes())).tried("write", &self.file),
        };
        if let Err(error) = saved {
            tracing::debug!("{error}");
        }
    }

    fn note(&mut self, line: Line) {
        if let Ok(text) = serde_json::to_string(&line) {
            self.unsaved += &text;
            self.unsaved.push('\n');
        }
        self.learn(line);
    }

    fn learn(&mut self, Line { task, at, key, failed }: Line) {
        let past = self.past.entry(task).or_default();
        match failed {
            Some(message) => past.failed = Some(Failure { key, at, message }),
            None => *past = Past { done: key, failed: None },
        }
    }

    /// Reads the file, and returns the number of lines. Invalid lines are skipped.
    fn read(&mut self) -> usize {
        let bytes = self.root.read(&self.file).and_then(|file| read_limited(file, LARGEST));
        let bytes =
            bytes.inspect_err(|error| tracing::debug!("cannot read `{}`: {error}", self.file.display()));
        let bytes = bytes.unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        let lines = text.lines().filter_map(|line| serde_json::from_str(line).ok());
        lines.for_each(|line| self.learn(line));
        text.lines().count()
    }

    /// Replaces the file by one with only the last lines of each task.
    fn shorten(&mut self, lock: &Path) -> Result<(), StoreError> {
        let Some(_lock) = try_lock_file(&self.root, lock)? else { return Ok(()) };
        let mut text = String::new();
        for (task, past) in &self.past {
            let done = past.done.map(|key| Line { task: task.clone(), at: 0, key: Some(key), failed: None });
            let failed = past.failed.clone().map(|Failure { key, at, message }| Line {
                task: task.clone(),
                at,
                key,
                failed: Some(message),
            });
            for line in done.into_iter().chain(failed) {
                text +=
                    &serde_json::to_string(&line).map_err(std::io::Error::from).tried("write", &self.file)?;
                text.push('\n');
            }
        }
        replace(&self.root, &self.file, &text)
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::json;

    use super::*;

    fn key(name: &str) -> Key {
        Key::of(&json!(name))
    }

    #[test]
    fn what_became_of_a_task_last_counts() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let mut journal = store.journal("p");
        assert_eq!(journal.past("a"), None);
        journal.done("a", key("one"));
        journal.failed("a", Some(key("two")), "the disk is full\nhint: make room");
        journal.done("b", key("three"));
        journal.failed("c", None, "no such file");
        journal.failed("b", None, "no such file");
        journal.done("b", key("three"));
        journal.save();

        let again = store.journal("p");
        assert_eq!(again.past, journal.past);
        let a = again.past("a").unwrap();
        assert_eq!(a.done, Some(key("one")), "a failure does not undo what was done before");
        assert_eq!(a.failed.as_ref().unwrap().key, Some(key("two")));
        assert_eq!(again.past("b"), Some(&Past { done: Some(key("three")), failed: None }));
        assert_eq!(store.journal("other").past("a"), None);
    }

    #[test]
    fn what_is_known_is_not_written_again_and_nonsense_is_skipped() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let mut journal = store.journal("p");
        journal.done("a", key("one"));
        journal.save();
        journal.done("a", key("one"));
        assert_eq!(journal.unsaved, "");
        fs::write(&journal.file, fs::read_to_string(&journal.file).unwrap() + "{\"task\": \"a").unwrap();
        assert_eq!(store.journal("p").past, journal.past);
    }

    #[test]
    fn a_long_journal_is_shortened_to_what_counts() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let mut journal = store.journal("p");
        for round in 0..200 {
            journal.done("a", key(&round.to_string()));
        }
        journal.failed("a", None, "no such file");
        journal.save();
        let read = store.journal("p");
        assert_eq!(read.past, journal.past);
        assert_eq!(fs::read_to_string(&journal.file).unwrap().lines().count(), 2);
        assert_eq!(store.journal("p").past, journal.past);
    }
}
