//! Collecting garbage: making room without taking anything that a live run, or a kept manifest, needs.
//!
//! Records go first, then the artifacts that no record names any more: what is killed in between leaves misses and
//! clutter, never a record without its artifacts. How live runs are spared is told in [`super::uses`]; a manifest
//! is kept by looking its tasks up in the same [`Store`] before, which marks what it uses, and a run by marking its keys.

use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::error::Tried;
use super::files::files_below;
use super::inventory::{Amount, Entry, Kept, amount, referenced};
use super::lookup::remove;
use super::{Digest, Key, Store, StoreError};

/// What may go. Without limits, only what no record names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// Results that were not used for longer than this may go, and checkpoints, logs, runs and journals that were not
    /// written.
    pub unused_for: Option<Duration>,
    /// Results may go, those that were not used for longest first, until the artifacts take no more bytes.
    pub max_bytes: Option<u64>,
    /// Runs whose folders stay, by the folders' names.
    pub kept_runs: HashSet<OsString>,
    /// Only tell what would go.
    pub dry_run: bool,
}

/// What went, or would go.
#[derive(Debug, Default)]
pub struct Collection {
    /// The results, in the order in which they were chosen.
    pub records: Vec<Entry>,
    /// Artifacts.
    pub artifacts: Amount,
    /// Checkpoints of tasks that are done, or were given up.
    pub checkpoints: Amount,
    /// Logs of results that went, and of tasks that were given up.
    pub logs: Amount,
    /// What had failed its check.
    pub corrupt: Amount,
    /// The folders of runs.
    pub runs: Amount,
    /// Journals that name no result which is kept.
    pub journals: Amount,
    /// Lock files that nobody holds.
    pub locks: Amount,
    /// Results that were spared only because a live run or a kept manifest uses them.
    pub spared: usize,
    /// What the artifacts that stay take.
    pub left: Amount,
}

impl Store {
    /// Makes room by a policy. Lookups and commits of live runs wait meanwhile.
    ///
    /// Fails on records of a newer format: which artifacts they name is not known.
    pub fn collect(&self, policy: &Policy) -> Result<Collection, StoreError> {
        let _barrier = self.uses.shut_out()?;
        let now = SystemTime::now();
        let entries = self.entries()?;
        if let Some(Entry { path, .. }) = entries.iter().find(|entry| matches!(entry.kept, Kept::Newer)) {
            return Err(StoreError::CannotCollect { path: path.clone() });
        }
        let Choice { stay, go, spared } = choose(entries, policy, &self.uses.in_use()?, now);
        let done = stay.iter().map(|entry| entry.key).collect();
        let mut collection = Collection { spared, ..Collection::default() };
        for entry in &go {
            delete(&entry.path, policy)?;
        }
        collection.records = go;
        self.collect_artifacts(policy, &referenced(&stay), &mut collection)?;
        self.collect_checkpoints(policy, now, &done, &mut collection)?;
        self.collect_logs(policy, now, &done, &mut collection)?;
        self.collect_corrupt(policy, &mut collection)?;
        self.collect_traces(policy, now, &done, &mut collection)?;
        Ok(collection)
    }

    /// Takes the artifacts that no record names.
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
                delete(&object.path, policy)?;
                collection.artifacts += Amount::of(object.bytes);
            }
        }
        Ok(())
    }

    /// Takes checkpoints of tasks that are done, and by the policy of those that were given up. Whoever computes a
    /// key holds its lock.
    fn collect_checkpoints(
        &self,
        policy: &Policy,
        now: SystemTime,
        done: &HashSet<Key>,
        collection: &mut Collection,
    ) -> Result<(), StoreError> {
        let partials = self.layout.partials();
        for entry in fs::read_dir(&partials).tried("read folder", &partials)? {
            let path = entry.tried("read folder", &partials)?.path();
            let Some(key) = path.file_name().and_then(|name| name.to_str()?.parse::<Key>().ok()) else {
                continue;
            };
            let Some(_lock) = self.try_lock(&key)? else { continue };
            let files = files_below(&path)?;
            let given_up = last_written(&files).is_some_and(|written| is_unused(written, policy, now));
            if !given_up && !done.contains(&key) {
                continue;
            }
            if !policy.dry_run {
                fs::remove_dir_all(&path).tried("remove", &path)?;
            }
            collection.checkpoints += amount(&files);
        }
        Ok(())
    }

    /// Takes the logs of results that go, and by the policy of tasks that have no result; not of those that run.
    fn collect_logs(
        &self,
        policy: &Policy,
        now: SystemTime,
        done: &HashSet<Key>,
        collection: &mut Collection,
    ) -> Result<(), StoreError> {
        let gone: HashSet<Key> = collection.records.iter().map(|entry| entry.key).collect();
        for (path, metadata) in files_below(&self.layout.logs())? {
            let Some(key) = path.file_stem().and_then(|name| name.to_str()?.parse::<Key>().ok()) else {
                continue;
            };
            let given_up = || metadata.modified().is_ok_and(|written| is_unused(written, policy, now));
            if done.contains(&key) || !(gone.contains(&key) || given_up()) {
                continue;
            }
            let Some(_lock) = self.try_lock(&key)? else { continue };
            delete(&path, policy)?;
            collection.logs += Amount::of(metadata.len());
        }
        Ok(())
    }

    /// Takes what failed its check.
    fn collect_corrupt(&self, policy: &Policy, collection: &mut Collection) -> Result<(), StoreError> {
        let files = files_below(&self.layout.corrupt())?;
        files.iter().try_for_each(|(path, _)| delete(path, policy))?;
        collection.corrupt = amount(&files);
        Ok(())
    }
}

/// When the last of some files was written.
pub(super) fn last_written(files: &[(PathBuf, Metadata)]) -> Option<SystemTime> {
    files.iter().filter_map(|(_, metadata)| metadata.modified().ok()).max()
}

pub(super) fn delete(path: &Path, policy: &Policy) -> Result<(), StoreError> {
    if policy.dry_run { Ok(()) } else { remove(path) }
}

/// Which records stay and which go.
struct Choice {
    stay: Vec<Entry>,
    go: Vec<Entry>,
    /// How many stay only because they are in use.
    spared: usize,
}

/// Chooses among records. Those in use, and then the last used, stay longest; what is no record goes.
fn choose(entries: Vec<Entry>, policy: &Policy, in_use: &HashSet<Key>, now: SystemTime) -> Choice {
    let (mut stay, mut free): (Vec<Entry>, Vec<Entry>) =
        entries.into_iter().partition(|entry| in_use.contains(&entry.key));
    // The key makes the order of equals the same everywhere.
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

/// Whether the policy gives up what was last used then. A time in the future, of a clock that was set back, is now.
pub(super) fn is_unused(used: SystemTime, policy: &Policy, now: SystemTime) -> bool {
    policy.unused_for.is_some_and(|limit| now.duration_since(used).unwrap_or_default() > limit)
}

/// What the artifacts of some records take together; each counts once.
struct Room {
    bytes: u64,
    names: HashMap<Digest, usize>,
}

impl Room {
    fn of<'a>(entries: impl Iterator<Item = &'a Entry>) -> Self {
        let mut room = Self { bytes: 0, names: HashMap::new() };
        for output in entries.filter_map(Entry::record).flat_map(|record| &record.outputs) {
            let names = room.names.entry(output.digest).or_default();
            *names += 1;
            if *names == 1 {
                room.bytes += output.size;
            }
        }
        room
    }

    fn give_up(&mut self, entry: &Entry) {
        for output in entry.record().iter().flat_map(|record| &record.outputs) {
            if let Some(names) = self.names.get_mut(&output.digest) {
                *names -= 1;
                if *names == 0 {
                    self.bytes -= output.size;
                }
            }
        }
    }
}
