//! The paths in the cache folder.
//!
//! ```text
//! v1/objects/ab/<digest>      artifacts, read-only, named by the hash of their content
//! v1/records/ab/<key>.json    records; a rename creates them, so none is ever incomplete
//! v1/work/<key>.<unique>/     private folders of running tasks, protected by the lock of the key
//! v1/partial/<key>/           checkpoints of unfinished tasks
//! v1/locks/<key>              one lock file per key; the kernel holds the lock itself
//! v1/logs/ab/<key>.log        logs of tasks, with every attempt
//! v1/journals/<name>.jsonl    the last result of every task of a pipeline; only for explanations, safe to delete
//! v1/corrupt/                 corrupt files
//! v1/runs/<time>-<name>/      run folders; nothing here needs them
//! v1/live/<unique>            the keys that each live process uses; locked as long as it lives
//! ```

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use super::error::Tried;
use super::files::create_folder;
use super::{Digest, Key, StoreError};

/// Tells backup programs to leave a folder out (<https://bford.info/cachedir/>).
const CACHEDIR_TAG: &str = "Signature: 8a477f597d28d172789f06886806bc55\n\
    # This folder is a cache of argd-pipe: all of it can be computed again.\n";

/// The extension of journals.
pub(super) const JOURNAL: &str = "jsonl";
/// The end of the names of the lock files of journals.
pub(super) const JOURNAL_LOCK: &str = ".journal";

/// Whether a file cannot be written by this user, or by nobody.
fn is_refused(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem)
}

/// The paths of a store.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    root: PathBuf,
}

impl Layout {
    /// Names the paths below `cache`.
    pub(super) fn below(cache: &Path) -> Self {
        Self { root: cache.join("v1") }
    }

    /// Creates the folders that are missing.
    pub(super) fn create(&self) -> Result<(), StoreError> {
        match self.create_all() {
            // It has been in use: others can write to it, or could.
            Err(StoreError::Io { source, .. }) if is_refused(&source) && self.root.is_dir() => Ok(()),
            other => other,
        }
    }

    fn create_all(&self) -> Result<(), StoreError> {
        for folder in
            ["objects", "records", "work", "partial", "locks", "logs", "journals", "corrupt", "live"]
        {
            create_folder(&self.root.join(folder))?;
        }
        let tag = self.root.join("CACHEDIR.TAG");
        if !tag.try_exists().tried("read", &tag)? {
            fs::write(&tag, CACHEDIR_TAG).tried("write", &tag)?;
        }
        Ok(())
    }

    /// The folder of all paths.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn objects(&self) -> PathBuf {
        self.root.join("objects")
    }

    pub(super) fn object(&self, digest: &Digest) -> PathBuf {
        self.objects().join(digest.shard()).join(digest.to_string())
    }

    pub(super) fn records(&self) -> PathBuf {
        self.root.join("records")
    }

    pub(super) fn record(&self, key: &Key) -> PathBuf {
        self.records().join(key.shard()).join(format!("{key}.json"))
    }

    pub(super) fn work(&self) -> PathBuf {
        self.root.join("work")
    }

    pub(super) fn partials(&self) -> PathBuf {
        self.root.join("partial")
    }

    pub(super) fn partial(&self, key: &Key) -> PathBuf {
        self.partials().join(key.to_string())
    }

    pub(super) fn locks(&self) -> PathBuf {
        self.root.join("locks")
    }

    pub(super) fn lock(&self, name: &str) -> PathBuf {
        self.locks().join(name)
    }

    pub(super) fn logs(&self) -> PathBuf {
        self.root.join("logs")
    }

    pub(super) fn log(&self, key: &Key) -> PathBuf {
        self.logs().join(key.shard()).join(format!("{key}.log"))
    }

    pub(super) fn journals(&self) -> PathBuf {
        self.root.join("journals")
    }

    pub(super) fn journal(&self, name: &str) -> PathBuf {
        self.journals().join(format!("{name}.{JOURNAL}"))
    }

    /// The lock of the journal of a pipeline.
    pub(super) fn journal_lock(&self, name: &str) -> PathBuf {
        self.lock(&format!("{name}{JOURNAL_LOCK}"))
    }

    pub(super) fn corrupt(&self) -> PathBuf {
        self.root.join("corrupt")
    }

    pub(super) fn runs(&self) -> PathBuf {
        self.root.join("runs")
    }

    pub(super) fn live(&self) -> PathBuf {
        self.root.join("live")
    }

    /// The memos that older versions kept in the cache. Nothing reads them.
    pub(super) fn old_memos(&self) -> [PathBuf; 2] {
        ["sources.memo", "objects.memo"].map(|name| self.root.join(name))
    }
}
