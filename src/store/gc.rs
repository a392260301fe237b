//! Garbage collection: removes unused files and old results, but nothing that a live run or a kept manifest needs.
//!
//! Records are removed first, then the artifacts that no record names. So a kill in between never leaves a record without
//! its artifacts. [`super::uses`] explains how the collector knows what live runs use. To keep a manifest, look up its
//! tasks in the same [`Store`] first: each lookup marks its key as used. To keep a run, mark its keys.

use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::error::Tried;
use super::files::{files_below, list, remove};
use super::inventory::{Amount, Entry, Kept, amount, referenced};
use super::uses::{InUse, UnreadableMark};
use super::{Digest, Key, Store, StoreError};
use crate::files::{Facts, Kind};

/// What may be removed. Without limits: only files that no record needs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// Remove results that were not used for longer than this, and checkpoints, logs, runs and journals that were not
    /// written for longer.
    pub unused_for: Option<Duration>,
    /// Remove results, the longest unused first, until the artifacts take at most this many bytes.
    pub max_bytes: Option<u64>,
    /// The names of run folders to keep.
    pub kept_runs: HashSet<OsString>,
    /// Only report what would be removed.
    pub dry_run: bool,
}

/// What was removed, or would be removed.
#[derive(Debug, Default)]
pub struct Collection {
    /// The results, in the order of their removal.
    pub records: Vec<Entry>,
    /// Artifacts.
    pub artifacts: Amount,
    /// Checkpoints of finished or abandoned tasks.
    pub checkpoints: Amount,
    /// Logs of removed results and of abandoned tasks.
    pub logs: Amount,
    /// Corrupt files.
    pub corrupt: Amount,
    /// Run folders.
    pub runs: Amount,
    /// Journals that name no kept result.
    pub journals: Amount,
    /// Files that killed processes left half written.
    pub half_written: Amount,
    /// Lock files that nobody holds.
    pub locks: Amount,
    /// Results that were kept only because a live run or a kept manifest uses them.
    pub spared: usize,
    /// Marks of use that could not be read. If there is one, no result was removed.
    pub unreadable: Vec<UnreadableMark>,
    /// The remaining artifacts.
    pub left: Amount,
}

impl Store {
    /// Removes files by a policy. Lookups and commits of live runs wait until it is done.
    ///
    /// Fails on records of a newer format, because their artifacts are not known.
    pub fn collect(&self, policy: &Policy) -> Result<Collection, StoreError> {
        let _barrier = self.uses.shut_out(&self.watched)?;
        let now = SystemTime::now();
        let entries = self.entries()?;
        if let Some(Entry { path, .. }) = entries.iter().find(|entry| matches!(entry.kept, Kept::Newer)) {
            return Err(StoreError::CannotCollect { path: path.clone() });
        }
        let InUse { keys, unreadable } = self.uses.in_use()?;
        // Without all marks, it is not known which results are in use.
        let Choice { stay, go, spared } = match unreadable.as_slice() {
            [] => choose(entries, policy, &keys, now),
            _ => Choice { stay: entries, go: vec![], spared: 0 },
        };
        let done = stay.iter().map(|entry| entry.key).collect();
        let mut collection = Collection { spared, unreadable, ..Collection::default() };
        for entry in &go {
            self.delete(&entry.path, policy)?;
        }
        collection.records = go;
        self.collect_artifacts(policy, &referenced(&stay), &mut collection)?;
        self.collect_checkpoints(policy, now, &done, &mut collection)?;
        self.collect_logs(policy, now, &done, &mut collection)?;
        self.collect_corrupt(policy, &mut collection)?;
        self.collect_traces(policy, now, &done, &mut collection)?;
        Ok(collection)
    }

    /// Removes the artifacts that no record names.
    fn collect_artifacts(
        &self,
        policy: &Policy,
        named: &HashSet<Digest>,
        collection: &mut Collection,
    ) -> Result<(), StoreError> {
        for object in self.objects()? {
            if named.contains(&object.digest) {
                collection.left += Amount::of(object.bytes);
            } else {
                self.delete(&object.path, policy)?;
                collection.artifacts += Amount::of(object.bytes);
            }
        }
        Ok(())
    }

    /// Removes checkpoints of finished tasks and, by the policy, of abandoned ones. Checkpoints of running tasks are
    /// protected by the lock of their key.
    fn collect_checkpoints(
        &self,
        policy: &Policy,
        now: SystemTime,
        done: &HashSet<Key>,
        collection: &mut Collection,
    ) -> Result<(), StoreError> {
        let partials = self.layout.partials();
        for (path, facts) in list(&self.root, &partials)? {
            let named = path.file_name().and_then(|name| name.to_str()?.parse::<Key>().ok());
            let Some(key) = named.filter(|_| facts.kind == Kind::Folder) else { continue };
            // A lock of another user that cannot be opened may be held.
            let Ok(Some(_lock)) = self.try_lock(&key) else { continue };
            let files = files_below(&self.root, &path)?;
            let given_up = last_written(&files).is_some_and(|written| is_unused(written, policy, now));
            if !given_up && !done.contains(&key) {
                continue;
            }
            if !policy.dry_run {
                self.root.remove_all(&path).tried("remove", &path)?;
            }
            collection.checkpoints += amount(&files);
        }
        Ok(())
    }

    /// Removes the logs of removed results and, by the policy, of tasks without a result. Logs of running tasks stay.
    fn collect_logs(
        &self,
        policy: &Policy,
        now: SystemTime,
        done: &HashSet<Key>,
        collection: &mut Collection,
    ) -> Result<(), StoreError> {
        let gone: HashSet<Key> = collection.records.iter().map(|entry| entry.key).collect();
        for (path, facts) in files_below(&self.root, &self.layout.logs())? {
            let Some(key) = path.file_stem().and_then(|name| name.to_str()?.parse::<Key>().ok()) else {
                continue;
            };
            let given_up = || is_unused(facts.modified, policy, now);
            if done.contains(&key) || !(gone.contains(&key) || given_up()) {
                continue;
            }
            // A lock of another user that cannot be opened may be held.
            let Ok(Some(_lock)) = self.try_lock(&key) else { continue };
            self.delete(&path, policy)?;
            collection.logs += Amount::of(facts.bytes);
        }
        Ok(())
    }

    /// Removes corrupt files.
    fn collect_corrupt(&self, policy: &Policy, collection: &mut Collection) -> Result<(), StoreError> {
        let corrupt = self.layout.corrupt();
        let files = files_below(&self.root, &corrupt)?;
        list(&self.root, &corrupt)?.iter().try_for_each(|(path, _)| self.delete(path, policy))?;
        collection.corrupt = amount(&files);
        Ok(())
    }

    /// Removes a file, unless nothing is to be removed.
    pub(super) fn delete(&self, path: &Path, policy: &Policy) -> Result<(), StoreError> {
        if policy.dry_run { Ok(()) } else { remove(&self.root, path) }
    }
}

/// The latest time at which one of the files was written.
pub(super) fn last_written(files: &[(PathBuf, Facts)]) -> Option<SystemTime> {
    files.iter().map(|(_, facts)| facts.modified).max()
}

/// The records to keep and the records to remove.
struct Choice {
    stay: Vec<Entry>,
    go: Vec<Entry>,
    /// How many are kept only because they are in use.
    spared: usize,
}

/// Chooses the records to remove. Records in use always stay, and the longest unused go first. Damaged records go, too.
fn choose(entries: Vec<Entry>, policy: &Policy, in_use: &HashSet<Key>, now: SystemTime) -> Choice {
    let (mut stay, mut free): (Vec<Entry>, Vec<Entry>) =
        entries.into_iter().partition(|entry| in_use.contains(&entry.key));
    // The key makes the order the same everywhere, even for equal times.
    free.sort_by_key(|entry| (entry.used, entry.key));
    let (mut go, young): (Vec<Entry>, Vec<Entry>) =
        free.into_iter().partition(|entry| is_unused(entry.used, policy, now) || entry.record().is_none());
    let mut room = Room::of(stay.iter().chain(&young));
    let too_much = |room: &Room| policy.max_bytes.is_some_and(|max| room.bytes > max);
    let used = stay.len();
    for entry in young {
        if too_much(&room) {
            room.give_up(&entry);
            go.push(entry);
        } else {
            stay.push(entry);
        }
    }
    let old = stay[..used].iter().filter(|entry| is_unused(entry.used, policy, now)).count();
    Choice { spared: if too_much(&room) { used } else { old }, stay, go }
}

/// Whether the policy removes what was last used at this time. A time in the future counts as now: a clock was set back.
pub(super) fn is_unused(used: SystemTime, policy: &Policy, now: SystemTime) -> bool {
    policy.unused_for.is_some_and(|limit| now.duration_since(used).unwrap_or_default() > limit)
}

/// The bytes of the artifacts of some records; a shared artifact counts once.
struct Room {
    bytes: u64,
    /// By artifact: its size, and the number of records that name it.
    named: HashMap<Digest, (u64, usize)>,
}

impl Room {
    fn of<'a>(entries: impl Iterator<Item = &'a Entry>) -> Self {
        let mut room = Self { bytes: 0, named: HashMap::new() };
        for output in entries.filter_map(Entry::record).flat_map(|record| &record.outputs) {
            let (size, records) = room.named.entry(output.digest).or_insert((output.size, 0));
            if *records == 0 {
                room.bytes = room.bytes.saturating_add(*size);
            }
            *records += 1;
        }
        room
    }

    fn give_up(&mut self, entry: &Entry) {
        for output in entry.record().iter().flat_map(|record| &record.outputs) {
            if let Some((size, records)) = self.named.get_mut(&output.digest) {
                *records -= 1;
                if *records == 0 {
                    self.bytes = self.bytes.saturating_sub(*size);
                }
            }
        }
    }
}
