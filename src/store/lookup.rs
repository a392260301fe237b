//! Reads from the store. Every artifact is checked before it is used.

use std::fmt;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::error::Tried;
use super::files::remove;
use super::records::{self, Found, OutputRecord, Record};
use super::{Key, Store, StoreError};
use crate::files::Unfit;

/// The result of a lookup.
#[derive(Debug)]
pub enum Lookup {
    /// A record with all its artifacts, and all of them are intact.
    Hit(Box<Record>),
    /// No record.
    Miss,
    /// A record that cannot be used. It has been removed and the corrupt files have been set aside, so that the next
    /// lookup misses. The damages are for the user.
    Damaged(Vec<Damage>),
}

/// A file of the store that is corrupt or missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub fault: Fault,
    /// Where it is now; `None` if it was missing.
    pub set_aside: Option<PathBuf>,
}

/// What is wrong with a file of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is missing.
    Missing,
    /// An artifact with another size than in its record.
    Size {
        /// Bytes in the record.
        recorded: u64,
        /// Bytes of the file.
        found: u64,
    },
    /// An artifact whose hash is not its name.
    Content,
    /// Not a regular file, and the cause.
    Unfit(String),
    /// A record that cannot be read, and the cause.
    Record(String),
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` ", self.path.display())?;
        match &self.fault {
            Fault::Missing => f.write_str("is missing")?,
            Fault::Size { recorded, found } => write!(f, "has {found} bytes instead of {recorded}")?,
            Fault::Content => f.write_str("has other content than its name says")?,
            Fault::Unfit(why) => write!(f, "cannot be used: {why}")?,
            Fault::Record(why) => write!(f, "is a damaged record: {why}")?,
        }
        match &self.set_aside {
            Some(place) => write!(f, "; it was set aside as `{}`", place.display()),
            None => Ok(()),
        }
    }
}

impl Store {
    /// Looks up a key and checks its artifacts: each must exist and hash to its digest. The digests of files that have not
    /// changed since they were last hashed are remembered.
    ///
    /// Needs no lock: artifacts and records never change in place. [`Store::collect`] keeps the result as long as this
    /// store is open. Fails on a record of a newer format.
    pub fn lookup(&self, key: &Key) -> Result<Lookup, StoreError> {
        let _barrier = self.uses.using(key);
        let path = self.layout.record(key);
        let record = match records::read(&self.root, &path, key)? {
            Found::Nothing => return Ok(Lookup::Miss),
            Found::Damaged(why) => {
                let set_aside = Some(self.set_aside(&path)?);
                return Ok(Lookup::Damaged(vec![Damage { path, fault: Fault::Record(why), set_aside }]));
            }
            Found::Record(record) => record,
        };
        let damages: Vec<Damage> = record
            .outputs
            .iter()
            .filter_map(|output| self.check(output).transpose())
            .collect::<Result<_, _>>()?;
        if damages.is_empty() {
            self.touch(&path);
            return Ok(Lookup::Hit(record));
        }
        remove(&self.root, &path)?;
        Ok(Lookup::Damaged(damages))
    }

    /// Reads the record of a key without a check of its artifacts; `None` if it is missing or damaged. This is for reports
    /// about results; use [`Store::lookup`] to read artifacts.
    pub fn record(&self, key: &Key) -> Result<Option<Record>, StoreError> {
        match records::read(&self.root, &self.layout.record(key), key)? {
            Found::Record(record) => Ok(Some(*record)),
            Found::Nothing | Found::Damaged(_) => Ok(None),
        }
    }

    /// Checks an artifact, and sets it aside if it is corrupt.
    fn check(&self, output: &OutputRecord) -> Result<Option<Damage>, StoreError> {
        let path = self.object(&output.digest);
        let file = match self.root.read(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Ok(Some(Damage { path, fault: Fault::Missing, set_aside: None }));
            }
            Err(error) if Unfit::of(&error).is_some() => {
                let set_aside = Some(self.set_aside(&path)?);
                return Ok(Some(Damage { path, fault: Fault::Unfit(error.to_string()), set_aside }));
            }
            Err(error) => return Err(error).tried("read", &path),
        };
        let _begun = self.watched.begin(&path, output.size);
        let found = self.objects.hash_open(&file, &path, &self.watched)?;
        let fault = if found.size != output.size {
            Fault::Size { recorded: output.size, found: found.size }
        } else if found.digest != output.digest {
            Fault::Content
        } else {
            return Ok(None);
        };
        let set_aside = Some(self.set_aside(&path)?);
        Ok(Some(Damage { path, fault, set_aside }))
    }

    /// Moves a corrupt file to `v1/corrupt`; replaces an older file of the same name there.
    pub(super) fn set_aside(&self, path: &Path) -> Result<PathBuf, StoreError> {
        let place = self.layout.corrupt().join(path.file_name().unwrap_or_default());
        match self.root.rename(path, &place) {
            // Another process has set it aside meanwhile.
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(place),
            other => other.map(|()| place).tried("set aside", path),
        }
    }

    /// Marks a record as used now. Only the order of the collector depends on it, and a store may be read-only.
    fn touch(&self, record: &Path) {
        let touched = self.root.read(record).and_then(|file| file.set_modified(SystemTime::now()));
        if let Err(error) = touched {
            tracing::debug!("cannot touch {}: {error}", record.display());
        }
    }
}
