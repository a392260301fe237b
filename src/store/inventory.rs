//! Lists the records and artifacts of a store, and measures their sizes.

use std::cmp::Reverse;
use std::collections::HashSet;
use std::iter::Sum;
use std::ops::AddAssign;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;

use super::files::{files_below, places_below};
use super::records::{self, Found};
use super::{Digest, Key, Record, Store, StoreError};
use crate::files::{Facts, Folder, Kind};

/// The file of a record.
#[derive(Debug)]
pub struct Entry {
    /// The key in its name.
    pub key: Key,
    /// The file.
    pub path: PathBuf,
    /// When it was last used, by the times of the file; not before it was computed.
    pub used: SystemTime,
    /// Its content.
    pub kept: Kept,
}

/// The content of the file of a record.
#[derive(Debug)]
pub enum Kept {
    /// A record.
    Record(Box<Record>),
    /// A damaged record, and the cause.
    Damaged(String),
    /// A record of a format that only a newer argd-pipe reads.
    Newer,
}

impl Entry {
    /// The record, if it can be read.
    pub fn record(&self) -> Option<&Record> {
        match &self.kept {
            Kept::Record(record) => Some(record),
            Kept::Damaged(_) | Kept::Newer => None,
        }
    }
}

/// A number of files, and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Amount {
    /// How many.
    pub files: usize,
    /// Their bytes.
    pub bytes: u64,
}

impl Amount {
    pub(super) fn of(bytes: u64) -> Self {
        Self { files: 1, bytes }
    }
}

impl AddAssign for Amount {
    fn add_assign(&mut self, other: Self) {
        self.files += other.files;
        // A record of others may name any size.
        self.bytes = self.bytes.saturating_add(other.bytes);
    }
}

impl Sum for Amount {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::default(), |mut sum, amount| {
            sum += amount;
            sum
        })
    }
}

/// How much space a store takes, and for what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Sizes {
    /// Records.
    pub records: Amount,
    /// Artifacts that a record names.
    pub artifacts: Amount,
    /// Artifacts that no record names: left by crashes or by removed records.
    pub unused: Amount,
    /// Checkpoints of unfinished tasks.
    pub checkpoints: Amount,
    /// Logs of tasks.
    pub logs: Amount,
    /// Corrupt files that were set aside.
    pub corrupt: Amount,
    /// Everything else: journals, run folders, work folders, locks.
    pub others: Amount,
}

impl Sizes {
    /// All of it.
    pub fn all(&self) -> Amount {
        let &Self { records, artifacts, unused, checkpoints, logs, corrupt, others } = self;
        [records, artifacts, unused, checkpoints, logs, corrupt, others].into_iter().sum()
    }

    /// The bytes of all artifacts, named by a record or not.
    pub fn all_artifacts(&self) -> u64 {
        self.artifacts.bytes.saturating_add(self.unused.bytes)
    }
}

/// An artifact's file.
#[derive(Debug)]
pub(super) struct Object {
    pub(super) digest: Digest,
    pub(super) path: PathBuf,
    pub(super) bytes: u64,
}

impl Store {
    /// Reads all records in the order of their keys; does not check artifacts.
    pub fn entries(&self) -> Result<Vec<Entry>, StoreError> {
        let files = places_below(&self.root, &self.layout.records())?;
        let entries = files.into_iter().filter_map(|(path, facts)| {
            let key = path.file_name()?.to_str()?.strip_suffix(".json")?.parse().ok()?;
            entry(&self.root, key, path, &facts).transpose()
        });
        let mut entries = entries.collect::<Result<Vec<_>, _>>()?;
        entries.sort_by_key(|entry| entry.key);
        Ok(entries)
    }

    /// Reads the records that were used last, the newest first, at most `limit`. Skips those that cannot be read.
    pub fn newest_records(&self, limit: usize) -> Result<Vec<Record>, StoreError> {
        let mut files = places_below(&self.root, &self.layout.records())?;
        files.sort_by_key(|(_, facts)| Reverse(facts.modified));
        let record = |(path, _): (PathBuf, Facts)| {
            let key: Key = path.file_name()?.to_str()?.strip_suffix(".json")?.parse().ok()?;
            match records::read(&self.root, &path, &key) {
                Ok(Found::Record(record)) => Some(*record),
                _ => None,
            }
        };
        Ok(files.into_iter().take(limit).filter_map(record).collect())
    }

    /// Lists every artifact.
    pub(super) fn objects(&self) -> Result<Vec<Object>, StoreError> {
        let files = places_below(&self.root, &self.layout.objects())?;
        let object = |(path, facts): (PathBuf, Facts)| {
            let digest = path.file_name()?.to_str()?.parse().ok()?;
            let bytes = if facts.kind == Kind::File { facts.bytes } else { 0 };
            Some(Object { digest, bytes, path })
        };
        Ok(files.into_iter().filter_map(object).collect())
    }

    /// Measures how much space the store takes.
    pub fn sizes(&self) -> Result<Sizes, StoreError> {
        let used = referenced(&self.entries()?);
        let of = |folder: &Path| files_below(&self.root, folder).map(|files| amount(&files));
        let mut sizes = Sizes {
            records: of(&self.layout.records())?,
            checkpoints: of(&self.layout.partials())?,
            logs: of(&self.layout.logs())?,
            corrupt: of(&self.layout.corrupt())?,
            ..Sizes::default()
        };
        for object in self.objects()? {
            let of = if used.contains(&object.digest) { &mut sizes.artifacts } else { &mut sizes.unused };
            *of += Amount::of(object.bytes);
        }
        let known = sizes.all();
        let all = of(self.layout.root())?;
        // Other processes may write meanwhile.
        sizes.others = Amount {
            files: all.files.saturating_sub(known.files),
            bytes: all.bytes.saturating_sub(known.bytes),
        };
        Ok(sizes)
    }
}

/// Reads the file of a record; `None` if it has been removed meanwhile.
fn entry(root: &Folder, key: Key, path: PathBuf, facts: &Facts) -> Result<Option<Entry>, StoreError> {
    let kept = match records::read(root, &path, &key) {
        Ok(Found::Nothing) => return Ok(None),
        Ok(Found::Record(record)) => Kept::Record(record),
        Ok(Found::Damaged(why)) => Kept::Damaged(why),
        Err(StoreError::NewerFormat { .. }) => Kept::Newer,
        Err(error) => return Err(error),
    };
    let mut used = facts.modified;
    // Otherwise a cache that was copied without its times would seem to be from 1970.
    if let Kept::Record(record) = &kept {
        used = used.max(UNIX_EPOCH + Duration::from_secs(record.exec.started.min(u32::MAX.into())));
    }
    Ok(Some(Entry { key, path, used, kept }))
}

/// The artifacts that records name.
pub(super) fn referenced(entries: &[Entry]) -> HashSet<Digest> {
    let records = entries.iter().filter_map(Entry::record);
    records.flat_map(|record| record.outputs.iter().map(|output| output.digest)).collect()
}

/// The number of files, and their bytes.
pub(super) fn amount(files: &[(PathBuf, Facts)]) -> Amount {
    files.iter().map(|(_, facts)| Amount::of(facts.bytes)).sum()
}
