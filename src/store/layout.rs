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

use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use super::error::Tried;
use super::files::{is_refused, unless_gone};
use super::{Digest, Key, StoreError};
use crate::files::Folder;

/// Tells backup programs to leave a folder out (<https://bford.info/cachedir/>).
const CACHEDIR_TAG: &str = "Signature: 8a477f597d28d172789f06886806bc55\n\
    # This folder is a cache of argd-pipe: all of it can be computed again.\n";

/// The folders that a store always has.
const FOLDERS: [&str; 9] =
    ["objects", "records", "work", "partial", "locks", "logs", "journals", "corrupt", "live"];

/// The extension of journals.
pub(super) const JOURNAL: &str = "jsonl";
/// The end of the names of the lock files of journals.
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

    /// Opens the folder of all paths, and creates missing folders. The path of `cache` may lead through links, because
    /// the user named it. No link below it is followed.
    ///
    /// A cache that this user cannot write is opened as it is.
    pub(super) fn create(&self, cache: &Path) -> Result<Folder, StoreError> {
        let cache = Folder::create(cache).tried("open the cache folder", cache)?;
        let root = cache.create_folder(&self.root).tried("create folder", &self.root)?;
        match self.fill(&root) {
            Err(StoreError::Io { source, .. }) if is_refused(&source) => Ok(root),
            filled => filled.map(|()| root),
        }
    }

    fn fill(&self, root: &Folder) -> Result<(), StoreError> {
        for folder in FOLDERS {
            let path = self.root.join(folder);
            root.create_folder(&path).tried("create folder", &path)?;
        }
        let runs = self.runs();
        unless_gone(root.folder(&runs)).tried("open folder", &runs)?;
        let tag = self.root.join("CACHEDIR.TAG");
        match root.create_new(&tag).and_then(|mut file| file.write_all(CACHEDIR_TAG.as_bytes())) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
            written => written.tried("write", &tag),
        }
    }

    /// Opens the folder of all paths as it is. If the cache does not exist, everything in it is missing.
    pub(super) fn open(&self, cache: &Path) -> Result<Folder, StoreError> {
        let root = unless_gone(Folder::open(cache).and_then(|cache| cache.folder(&self.root)));
        let Some(root) = root.tried("open the cache folder", cache)? else {
            return Ok(Folder::missing(&self.root));
        };
        for folder in FOLDERS.map(|folder| self.root.join(folder)).into_iter().chain([self.runs()]) {
            unless_gone(root.folder(&folder)).tried("open folder", &folder)?;
        }
        Ok(root)
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
