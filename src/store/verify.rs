//! Checking a whole store: every artifact is read and hashed, whatever is remembered about it.

use std::fs;

use rayon::prelude::*;

use super::error::Tried;
use super::files::hash_file;
use super::inventory::{Amount, Entry, Kept, Object};
use super::lookup::remove;
use super::{Damage, Fault, Key, Record, Store, StoreError};

/// What a check of a whole store found.
#[derive(Debug, Default)]
pub struct Verification {
    /// Records that were read.
    pub records: usize,
    /// Artifacts that were hashed.
    pub artifacts: Amount,
    /// What is bad; files that were there are set aside.
    pub damages: Vec<Damage>,
    /// Records that are gone: their tasks will run again.
    pub lost: Vec<Lost>,
    /// Records of a newer argd-pipe, which were left alone.
    pub newer: usize,
}

/// A record that could not be read, or lost an artifact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lost {
    /// Its key.
    pub key: Key,
    /// Its task, `pipeline/task`, if the record or a journal tells.
    pub task: Option<String>,
}

impl Store {
    /// Checks every artifact against its name and every record against its check sum and its artifacts. Bad files
    /// are set aside, and a record that lacks an artifact is removed, so that what is left is sound.
    ///
    /// Runs may go on meanwhile. `on_bytes` is told how many bytes were hashed, from any thread.
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

    /// Hashes an artifact and sets it aside if it is not what its name says. One that has gone is not missed here,
    /// but where a record names it.
    fn check_object(&self, object: &Object) -> Result<Option<Damage>, StoreError> {
        let path = object.path.clone();
        match hash_file(&path) {
            Ok(digest) if digest == object.digest => Ok(None),
            Ok(_) => {
                let set_aside = Some(self.set_aside(&path)?);
                Ok(Some(Damage { path, fault: Fault::Content, set_aside }))
            }
            Err(_) if !path.exists() => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn check_entry(&self, entry: Entry, found: &mut Verification) -> Result<(), StoreError> {
        found.records += 1;
        match entry.kept {
            Kept::Newer => found.newer += 1,
            Kept::Damaged(why) => {
                let set_aside = Some(self.set_aside(&entry.path)?);
                found.damages.push(Damage { path: entry.path, fault: Fault::Record(why), set_aside });
                found.lost.push(Lost { key: entry.key, task: None });
            }
            Kept::Record(record) => {
                let missing = self.missing(&record)?;
                // A record that a collector has just removed took its artifacts with it, in this order.
                if missing.is_empty() || !entry.path.try_exists().tried("read", &entry.path)? {
                    return Ok(());
                }
                remove(&entry.path)?;
                let known = |damage: &Damage| found.damages.iter().any(|other| other.path == damage.path);
                let new: Vec<Damage> = missing.into_iter().filter(|damage| !known(damage)).collect();
                found.damages.extend(new);
                found.lost.push(Lost { key: record.key, task: Some(record.name()) });
            }
        }
        Ok(())
    }

    /// The artifacts of a record that are not there, or not as long as it says.
    fn missing(&self, record: &Record) -> Result<Vec<Damage>, StoreError> {
        let mut missing = vec![];
        for output in &record.outputs {
            let path = self.object(&output.digest);
            let fault = match fs::metadata(&path) {
                Ok(metadata) if metadata.len() == output.size => continue,
                Ok(metadata) => Fault::Size { recorded: output.size, found: metadata.len() },
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => Fault::Missing,
                Err(error) => return Err(error).tried("read", &path),
            };
            missing.push(Damage { path, fault, set_aside: None });
        }
        Ok(missing)
    }
}
