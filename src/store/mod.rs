//! The store: artifacts and records.
//!
//! An artifact is an immutable file, named by the hash of its content ([`Digest`]). A record lists the artifacts and the
//! metrics of a task. Its name is the hash of everything that determines them ([`Key`]). A process that computes a key
//! holds its [`KeyLock`], writes to a private [`Work`] folder, and [commits](Store::commit). Readers need no lock. Any
//! number of processes can share a store.
//!
//! ```text
//! lookup: miss -> lock -> lookup again -> work -> (write outputs) -> commit -> record
//! ```
//!
//! Maintenance that is safe during runs: [`Store::sizes`], [`Store::verify`], [`Store::collect`].
//!
//! The store knows neither stages nor manifests, and nothing here prints.

pub mod canon;
mod commit;
mod digest;
mod error;
mod files;
mod flock;
mod gc;
mod hashing;
mod inventory;
mod journal;
mod layout;
mod locks;
mod lookup;
mod memo;
mod own;
mod records;
mod sources;
mod traces;
mod uses;
mod verify;
mod waits;
mod walk;
mod work;

use std::fs::File;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use commit::{FAIL_POINT_VARIABLE, FAIL_POINTS};
pub use digest::{Digest, Key, NotAHash};
pub use error::{StoreError, disk_is_full};
pub use flock::{Holder, Wait, host};
pub use gc::{Collection, Policy};
pub use hashing::{Begun, HashWatch};
pub use inventory::{Amount, Entry, Kept, Sizes};
pub use journal::{Failure, Journal, Past};
pub use locks::KeyLock;
pub use lookup::{Damage, Fault, Lookup};
pub use records::{DraftOutput, Execution, FORMAT_VERSION, OutputRecord, Record, RecordDraft};
pub use sources::{Change, Source};
pub use uses::UnreadableMark;
pub use verify::{Lost, Verification};
pub use work::Work;

use crate::files::{Folder, Unfit};
use error::Tried;
use files::{move_away, unless_gone};
use hashing::{Watched, hash};
use layout::Layout;
use memo::Memo;
use own::OwnFile;
use uses::Uses;

/// A folder of artifacts and records.
#[derive(Debug)]
pub struct Store {
    layout: Layout,
    /// The open folder of all paths.
    root: Arc<Folder>,
    /// Digests of the store's own artifacts.
    objects: Memo,
    /// Digests of files outside the store.
    sources: Memo,
    /// The keys that this process uses, for the collector.
    uses: Uses,
    /// Receives the progress of hashing.
    watched: Watched,
}

impl Store {
    /// Opens the store in a cache folder to write to it. Creates missing folders, and removes the work folders of dead
    /// processes. The path of the cache folder may lead through links; no link below it is followed. A store that cannot
    /// be written serves what it has.
    pub fn open(cache: &Path) -> Result<Self, StoreError> {
        let layout = Layout::below(cache);
        let root = layout.create(cache)?;
        let store = Self::at(cache, layout, root);
        store.clean_work();
        Ok(store)
    }

    /// Opens the store in a cache folder to look at it. Creates nothing: if the cache does not exist, the store is empty.
    pub fn look(cache: &Path) -> Result<Self, StoreError> {
        let layout = Layout::below(cache);
        let root = layout.open(cache)?;
        Ok(Self::at(cache, layout, root))
    }

    fn at(cache: &Path, layout: Layout, root: Folder) -> Self {
        let root = Arc::new(root);
        let memo = |name| Memo::new(OwnFile::of_cache(cache, name));
        Self {
            objects: memo("objects.memo"),
            sources: memo("sources.memo"),
            uses: Uses::new(Arc::clone(&root), layout.live(), layout.lock("gc")),
            watched: Watched::default(),
            layout,
            root,
        }
    }

    /// Lets `watch` receive the progress of hashing, and stop it.
    pub fn watch(&mut self, watch: Arc<dyn HashWatch>) {
        self.watched = Watched::by(watch);
    }

    /// Reports all hashing to the watch as parts of one work, until the result is dropped.
    pub fn begin_hashing(&self) -> Begun<'_> {
        self.watched.begin(self.layout.root(), 0)
    }

    /// The path of an artifact, if the store has it. The file is read-only and must not change. Read it through
    /// [`Store::artifact`].
    pub fn object(&self, digest: &Digest) -> PathBuf {
        self.layout.object(digest)
    }

    /// The path of an artifact that the store has, to read it now. It is a regular file, and no part of its path below the
    /// cache folder is a link.
    pub fn artifact(&self, digest: &Digest) -> Result<PathBuf, StoreError> {
        let path = self.object(digest);
        self.root.read(&path).tried("read", &path)?;
        Ok(path)
    }

    /// The size of an artifact; `None` if the store does not have it.
    pub fn artifact_size(&self, digest: &Digest) -> Option<u64> {
        self.root.facts(&self.object(digest)).ok().map(|facts| facts.bytes)
    }

    /// Whether the store has an artifact and its content matches its digest. The file is read, even if its digest is
    /// remembered.
    pub fn is_intact(&self, digest: &Digest) -> Result<bool, StoreError> {
        let path = self.object(digest);
        let Some(file) = unless_gone(self.root.read(&path)).tried("read", &path)? else { return Ok(false) };
        Ok(hash(&file, &path, &self.watched)? == *digest)
    }

    /// Marks a key as used by this process, as a lookup does, but reads nothing.
    pub fn mark_used(&self, key: &Key) -> Result<(), StoreError> {
        self.uses.using(key, &self.watched).map(drop)
    }

    /// The path of the log of a task.
    pub fn log(&self, key: &Key) -> PathBuf {
        self.layout.log(key)
    }

    /// Opens the log of a task to read it; `None` if it has none.
    pub fn open_log(&self, key: &Key) -> Result<Option<File>, StoreError> {
        let path = self.log(key);
        unless_gone(self.root.read(&path)).tried("read", &path)
    }

    /// Opens the log of a task to append to it, and creates it if it is missing.
    pub fn append_log(&self, lock: &KeyLock) -> Result<File, StoreError> {
        let path = self.log(lock.key());
        match self.root.new_folder(path.parent().unwrap_or(self.root.path())) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
            other => other,
        }
        .and_then(|()| self.append_in_place(&path))
        .tried("write", &path)
    }

    /// Opens a log to append to it. A folder or a FIFO in its place is set aside. A link there stays and is an error: who
    /// planted it had a purpose.
    fn append_in_place(&self, log: &Path) -> io::Result<File> {
        match self.root.append(log) {
            Err(error) if Unfit::of(&error) == Some(&Unfit::NotAFile) => {
                let place = self.layout.corrupt().join(log.file_name().unwrap_or_default());
                move_away(&self.root, log, &place)?;
                self.root.append(log)
            }
            other => other,
        }
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.objects.save();
        self.sources.save();
    }
}

#[cfg(test)]
mod tests;
