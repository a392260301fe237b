//! Reads from the store. Every artifact is checked before it is used.

use std::fmt;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::error::Tried;
use super::files::{is_damage, move_away, remove};
use super::records::{self, Found, OutputRecord, Record};
use super::{Key, Store, StoreError};

/// The result of a lookup.
#[derive(Debug)]
pub enum Lookup {
    /// A record with all its artifacts, and all of them are intact.
    Hit(Box<Record>),
    /// No record.
    Miss,
    /// A record that cannot be used. It has been removed and the corrupt files have been set aside, so that the next
    /// lookup misses, unless the store cannot be written. The damages are for the user.
    Damaged(Vec<Damage>),
}

/// A file of the store that is corrupt or missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub fault: Fault,
    /// Where it is now; `None` if it was missing, or could not be moved.
    pub set_aside: Option<PathBuf>,
    /// Why it could not be moved, if so.
    pub stays: Option<String>,
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
    /// An artifact that cannot be read, or is not a regular file, and the cause.
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
        match (&self.set_aside, &self.stays) {
            (Some(place), _) => write!(f, "; it was set aside as `{}`", place.display()),
            (None, Some(why)) => write!(f, "; it could not be set aside: {why}"),
            (None, None) => Ok(()),
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
        let _barrier = self.uses.using(key, &self.watched)?;
        let path = self.layout.record(key);
        let record = match records::read(&self.root, &path, key)? {
            Found::Nothing => return Ok(Lookup::Miss),
            Found::Damaged(why) => {
                return Ok(Lookup::Damaged(vec![self.set_aside(path, Fault::Record(why))]));
            }
            Found::Record(record) => record,
        };
        let mut damages = vec![];
        for output in &record.outputs {
            match self.check(output)? {
                Checked::Sound => {}
                Checked::Damaged(damage) => damages.push(damage),
                Checked::Misstated(why) => {
                    return Ok(Lookup::Damaged(vec![self.set_aside(path, Fault::Record(why))]));
                }
            }
        }
        if damages.is_empty() {
            self.touch(&path);
            return Ok(Lookup::Hit(record));
        }
        self.forget(&path);
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
    fn check(&self, output: &OutputRecord) -> Result<Checked, StoreError> {
        let path = self.object(&output.digest);
        let _begun = self.watched.begin(&path, output.size);
        let found = self.root.read(&path).tried("read", &path);
        let fault = match found.and_then(|file| self.objects.hash_open(&file, &path, &self.watched)) {
            Ok(found) if found.digest == output.digest => {
                let lie = (found.size != output.size).then(|| misstated(output, found.size));
                return Ok(lie.map_or(Checked::Sound, Checked::Misstated));
            }
            Ok(found) if found.size != output.size => {
                Fault::Size { recorded: output.size, found: found.size }
            }
            Ok(_) => Fault::Content,
            Err(StoreError::Io { source, .. }) if source.kind() == ErrorKind::NotFound => Fault::Missing,
            Err(StoreError::Io { source, .. }) if is_damage(&source) => Fault::Unfit(source.to_string()),
            Err(error) => return Err(error),
        };
        Ok(Checked::Damaged(self.set_aside(path, fault)))
    }

    /// Moves a corrupt file, or what has taken its place, to `v1/corrupt`; replaces an older file of the same name there.
    /// A file that cannot be moved stays.
    pub(super) fn set_aside(&self, path: PathBuf, fault: Fault) -> Damage {
        if fault == Fault::Missing {
            return Damage { path, fault, set_aside: None, stays: None };
        }
        let place = self.layout.corrupt().join(path.file_name().unwrap_or_default());
        let (set_aside, stays) = match move_away(&self.root, &path, &place) {
            Ok(()) => (Some(place), None),
            Err(error) => (None, Some(error.to_string())),
        };
        Damage { path, fault, set_aside, stays }
    }

    /// Removes a record that lacks an artifact. If it stays, the next lookup finds the damage again.
    pub(super) fn forget(&self, record: &Path) {
        if let Err(error) = remove(&self.root, record) {
            tracing::debug!("{error}");
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

/// What the check of an artifact found.
enum Checked {
    /// It is what its record says.
    Sound,
    /// It is corrupt or missing.
    Damaged(Damage),
    /// It is sound, but its record gives another size: the record is damaged. Other records may name the artifact, too.
    Misstated(String),
}

/// Why a record is damaged that gives another size than that of a sound artifact.
pub(super) fn misstated(output: &OutputRecord, found: u64) -> String {
    format!("its output `{}` has {found} bytes, not {}", output.port, output.size)
}
