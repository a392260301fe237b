//! Where things are kept below the cache folder.
//!
//! ```text
//! v1/objects/ab/<digest>      artifacts, read-only, named by what they hold
//! v1/records/ab/<key>.json    what a task made; a record is there or it is not, never half
//! v1/work/<key>.<unique>/     private folders of running tasks; their owners hold the lock of the key
//! v1/partial/<key>/           checkpoints of tasks that did not end
//! v1/locks/<key>              one lock file per key; the lock itself is the kernel's
//! v1/logs/ab/<key>.log        what stages said, attempt after attempt
//! v1/journals/<name>.jsonl    what became of the tasks of a pipeline last; only explains, safe to delete
//! v1/corrupt/                 what failed its check
//! v1/runs/<time>-<name>/      what was run; not needed by anything here
//! v1/live/<unique>            what each live process uses; locked as long as it lives
//! v1/*.memo                   digests by file identity, only to save hashing; safe to delete
//! ```

use std::fs;
use std::path::{Path, PathBuf};

use super::error::Tried;
use super::files::create_folder;
use super::{Digest, Key, StoreError};

/// Tells backup programs to leave a folder out (<https://bford.info/cachedir/>).
const CACHEDIR_TAG: &str = "Signature: 8a477f597d28d172789f06886806bc55\n\
    # This folder is a cache of argd-pipe: all of it can be computed again.\n";

/// The extension of journals.
pub(super) const JOURNAL: &str = "jsonl";
/// How the names of the locks of journals end.
pub(super) const JOURNAL_LOCK: &str = ".journal";

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

    /// Names the paths below `cache`, and makes the folders that are missing.
    pub(super) fn create(cache: &Path) -> Result<Self, StoreError> {
        let layout = Self::below(cache);
        for folder in
            ["objects", "records", "work", "partial", "locks", "logs", "journals", "corrupt", "live"]
        {
            create_folder(&layout.root.join(folder))?;
        }
        let tag = layout.root.join("CACHEDIR.TAG");
        if !tag.try_exists().tried("read", &tag)? {
            fs::write(&tag, CACHEDIR_TAG).tried("write", &tag)?;
        }
        Ok(layout)
    }

    /// Everything is below it.
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

    pub(super) fn memo(&self, name: &str) -> PathBuf {
        self.root.join(format!("{name}.memo"))
    }
}
