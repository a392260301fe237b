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
mod work;

use std::path::{Path, PathBuf};

pub use commit::{FAIL_POINT_VARIABLE, FAIL_POINTS};
pub use digest::{Digest, Key, NotAHash};
pub use error::{StoreError, disk_is_full};
pub use flock::host;
pub use gc::{Collection, Policy};
pub use inventory::{Amount, Entry, Kept, Sizes};
pub use journal::{Failure, Journal, Past};
pub use locks::{Holder, KeyLock};
pub use lookup::{Damage, Fault, Lookup};
pub use records::{DraftOutput, Execution, FORMAT_VERSION, OutputRecord, Record, RecordDraft};
pub use uses::UnreadableMark;
pub use verify::{Lost, Verification};
pub use work::Work;

use layout::Layout;
use memo::Memo;
use own::OwnFile;
use uses::Uses;

/// A folder of artifacts and records.
#[derive(Debug)]
pub struct Store {
    layout: Layout,
    /// Digests of the store's own artifacts.
    objects: Memo,
    /// Digests of files outside the store.
    sources: Memo,
    /// The keys that this process uses, for the collector.
    uses: Uses,
}

impl Store {
    /// Opens the store in a cache folder to write to it. Creates missing folders, and removes the work folders of dead
    /// processes. A store that cannot be written serves what it has.
    pub fn open(cache: &Path) -> Result<Self, StoreError> {
        Layout::below(cache).create()?;
        let store = Self::look(cache);
        store.clean_work();
        Ok(store)
    }

    /// Opens the store in a cache folder to look at it. The folder may be missing: then the store is empty.
    pub fn look(cache: &Path) -> Self {
        let layout = Layout::below(cache);
        let memo = |name| Memo::new(OwnFile::of_cache(cache, name));
        let uses = Uses::new(layout.live(), layout.lock("gc"));
        Self { objects: memo("objects.memo"), sources: memo("sources.memo"), uses, layout }
    }

    /// The path of an artifact, if the store has it. The file is read-only and must not change.
    pub fn object(&self, digest: &Digest) -> PathBuf {
        self.layout.object(digest)
    }

    /// Marks a key as used by this process, as a lookup does, but reads nothing.
    pub fn mark_used(&self, key: &Key) {
        drop(self.uses.using(key));
    }

    /// The path of the log of a task. The holder of the lock of its key appends to it.
    pub fn log(&self, key: &Key) -> PathBuf {
        self.layout.log(key)
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
