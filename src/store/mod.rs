//! The store: artifacts and records, found by what determined them.
//!
//! An artifact is an immutable file named by the hash of what it holds ([`Digest`]). A record says which
//! artifacts and metrics a task made, and is filed under the hash of everything that determined them ([`Key`]).
//! Who computes a key holds its [`KeyLock`], writes in a private [`Work`] folder, and [commits](Store::commit);
//! who reads needs no lock. Any number of processes may share a store.
//!
//! ```text
//! lookup: miss -> lock -> lookup again -> work -> (write outputs) -> commit -> record
//! ```
//!
//! Housekeeping beside live runs: [`Store::sizes`], [`Store::verify`], [`Store::collect`].
//!
//! The store knows neither stages nor manifests, and nothing here prints.

pub mod canon;
mod commit;
mod digest;
mod error;
mod files;
mod gc;
mod inventory;
mod journal;
mod layout;
mod locks;
mod lookup;
mod memo;
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
pub use gc::{Collection, Policy};
pub use inventory::{Amount, Entry, Kept, Sizes};
pub use journal::{Failure, Journal, Past};
pub use locks::{Holder, KeyLock, host};
pub use lookup::{Damage, Fault, Lookup};
pub use records::{DraftOutput, Execution, FORMAT_VERSION, OutputRecord, Record, RecordDraft};
pub use verify::{Lost, Verification};
pub use work::Work;

use layout::Layout;
use memo::Memo;
use uses::Uses;

/// A folder of artifacts and records.
#[derive(Debug)]
pub struct Store {
    layout: Layout,
    /// Digests of the store's own artifacts.
    objects: Memo,
    /// Digests of files outside the store.
    sources: Memo,
    /// What this process uses, for the collector to see.
    uses: Uses,
}

impl Store {
    /// Opens the store in a cache folder, making what is missing, and removes what dead processes left in it.
    pub fn open(cache: &Path) -> Result<Self, StoreError> {
        let layout = Layout::create(cache)?;
        let memo = |name| Memo::new(layout.memo(name), layout.lock(&format!("{name}.memo")));
        let uses = Uses::new(layout.live(), layout.lock("gc"));
        let store = Self { objects: memo("objects"), sources: memo("sources"), uses, layout };
        store.clean_work()?;
        Ok(store)
    }

    /// Where an artifact is, if the store has it. The file is read-only and must stay as it is.
    pub fn object(&self, digest: &Digest) -> PathBuf {
        self.layout.object(digest)
    }

    /// Marks what is kept under a key as used by this process, as a lookup does, without looking at it.
    pub fn mark_used(&self, key: &Key) {
        drop(self.uses.using(key));
    }

    /// Where what a task says while it runs is kept: who holds the lock of its key appends to it.
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
