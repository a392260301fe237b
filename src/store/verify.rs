//! Checks a whole store: every artifact is read and hashed, even if its digest is remembered.

use std::io::ErrorKind;
use std::path::Path;

use rayon::prelude::*;

use super::error::Tried;
use super::files::{is_damage, unless_gone};
use super::hashing::hash;
use super::inventory::{Amount, Entry, Kept, Object};
use super::lookup::misstated;
use super::{Damage, Fault, Key, Record, Store, StoreError};
use crate::files::{Kind, Unfit};

/// The result of a check of a whole store.
#[derive(Debug, Default)]
pub struct Verification {
    /// Records that were read.
    pub records: usize,
    /// Artifacts that were hashed.
    pub artifacts: Amount,
    /// Corrupt or missing files; corrupt ones are set aside.
    pub damages: Vec<Damage>,
    /// Removed records: their tasks will run again.
    pub lost: Vec<Lost>,
    /// Records of a newer argd-pipe, which were skipped.
    pub newer: usize,
}

/// A removed record: it could not be read, or one of its artifacts is corrupt or missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lost {
    /// Its key.
    pub key: Key,
    /// Its task, `pipeline/task`, if the record or a journal names it.
    pub task: Option<String>,
}

impl Store {
    /// Checks every artifact against its name, and every record against its check sum and its artifacts. Corrupt files are
    /// set aside, and records that lack an artifact are removed, so that all remaining records are valid.
    ///
    /// Runs can continue meanwhile. `on_bytes` receives the number of hashed bytes, from any thread.
    pub fn verify(&self, on_bytes: &(dyn Fn(u64) + Sync)) -> Result<Verification, StoreError> {
        let objects = self.objects()?;
        let check = |object: &Object| {
            let damage = self.check_object(object);
            on_bytes(object.bytes);
            damage.transpose()
        };
        let mut found = Verification {
            artifacts: objects.iter().map(|object| Amount::of(object.bytes)).sum(),
            damages: objects.par_iter().filter_map(check).collect::<Result<_, _>>()?,
            ..Verification::default()
        };
        found.damages.sort_by(|a, b| a.path.cmp(&b.path));
        for entry in self.entries()? {
            self.check_entry(entry, &mut found)?;
        }
        if found.lost.iter().any(|lost| lost.task.is_none()) {
            let mut tasks = self.journaled()?;
            let unnamed = found.lost.iter_mut().filter(|lost| lost.task.is_none());
            unnamed.for_each(|lost| lost.task = tasks.remove(&lost.key));
        }
        Ok(found)
    }

    /// Hashes an artifact, and sets it aside if its hash is not its name. A missing artifact is reported where a record
    /// names it.
    fn check_object(&self, object: &Object) -> Result<Option<Damage>, StoreError> {
        let path = object.path.clone();
        let found = self.root.read(&path).tried("read", &path);
        let fault = match found.and_then(|file| hash(&file, &path, &self.watched)) {
            Ok(digest) if digest == object.digest => return Ok(None),
            Ok(_) => Fault::Content,
            Err(StoreError::Io { source, .. }) if source.kind() == ErrorKind::NotFound => return Ok(None),
            Err(StoreError::Io { source, .. }) if is_damage(&source) => Fault::Unfit(source.to_string()),
            Err(error) => return Err(error),
        };
        Ok(Some(self.set_aside(path, fault)))
    }

    fn check_entry(&self, entry: Entry, found: &mut Verification) -> Result<(), StoreError> {
        found.records += 1;
        match entry.kept {
            Kept::Newer => found.newer += 1,
            Kept::Damaged(why) => {
                found.damages.push(self.set_aside(entry.path, Fault::Record(why)));
                found.lost.push(Lost { key: entry.key, task: None });
            }
            Kept::Record(record) => {
                let mut missing = self.missing(&entry.path, &record)?;
                // A collector may have removed the record just now, and then its artifacts.
                let there = unless_gone(self.root.facts(&entry.path)).tried("read", &entry.path)?;
                if missing.is_empty() || there.is_none() {
                    return Ok(());
                }
                match missing.iter().position(|damage| damage.path == entry.path) {
                    Some(at) => found.damages.push(self.set_aside(entry.path, missing.swap_remove(at).fault)),
                    None => {
                        self.forget(&entry.path);
                        let known =
                            |damage: &Damage| found.damages.iter().any(|other| other.path == damage.path);
                        missing.retain(|damage| !known(damage));
                        found.damages.extend(missing);
                    }
                }
                found.lost.push(Lost { key: record.key, task: Some(record.name()) });
            }
        }
        Ok(())
    }

    /// The artifacts of a record that are missing. Every artifact has been checked: if one has another size than the record
    /// gives, the record is damaged.
    fn missing(&self, place: &Path, record: &Record) -> Result<Vec<Damage>, StoreError> {
        let mut missing = vec![];
        for output in &record.outputs {
            let path = self.object(&output.digest);
            let (path, fault) = match unless_gone(self.root.facts(&path)) {
                Ok(Some(facts)) if facts.kind != Kind::File => {
                    (path, Fault::Unfit(Unfit::NotAFile.to_string()))
                }
                Ok(Some(facts)) if facts.bytes == output.size => continue,
                Ok(Some(facts)) => (place.to_owned(), Fault::Record(misstated(output, facts.bytes))),
                Ok(None) => (path, Fault::Missing),
                Err(error) if is_damage(&error) => (path, Fault::Unfit(error.to_string())),
                Err(error) => return Err(error).tried("read", &path),
            };
            missing.push(Damage { path, fault, set_aside: None, stays: None });
        }
        Ok(missing)
    }
}
