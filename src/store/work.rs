//! Private folders of running tasks.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::error::Tried;
use super::files::{files_below, list};
use super::hashing::{Watched, hash};
use super::layout::Layout;
use super::{Digest, Key, KeyLock, Store, StoreError};
use crate::files::Folder;

/// A private folder that a task writes its outputs to: each output is a file named after its port.
///
/// Dropping it removes the folder; after a crash the next [`Store::open`] does. Drop it before its lock: the next holder of
/// the lock may remove the folder.
#[derive(Debug)]
pub struct Work {
    root: Arc<Folder>,
    folder: Folder,
}

impl Work {
    /// Its path.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The folder.
    pub fn folder(&self) -> &Folder {
        &self.folder
    }

    /// The digest of the file that was written for an output port.
    pub fn digest(&self, port: &str) -> Result<Digest, StoreError> {
        let path = self.path().join(port);
        hash(&self.folder.read(&path).tried("read", &path)?, &path, &Watched::default())
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        if let Err(error) = self.root.remove_all(self.path()) {
            tracing::debug!("cannot remove {}: {error}", self.path().display());
        }
    }
}

impl Store {
    /// Creates a new work folder.
    pub fn work(&self, lock: &KeyLock) -> Result<Work, StoreError> {
        let parent = self.layout.work();
        let made = self.root.folder(&parent).and_then(|parent| {
            let path = parent.create_unique_folder(&format!("{}.", lock.key()))?;
            parent.folder(&path)
        });
        let folder = made.tried("create a work folder in", &parent)?;
        Ok(Work { root: Arc::clone(&self.root), folder })
    }

    /// Opens the checkpoint folder of a task, and creates it if it is missing. It outlives failed and killed attempts. The
    /// commit removes it.
    pub fn partial(&self, key: &Key) -> Result<Folder, StoreError> {
        let path = self.layout.partial(key);
        self.root.create_folder(&path).tried("create folder", &path)
    }

    /// The files of the checkpoint folder of a task, the last written first. Creates nothing; other processes may remove
    /// files meanwhile.
    pub fn checkpoints(&self, key: &Key) -> Vec<PathBuf> {
        let mut files = files_below(&self.root, &self.layout.partial(key)).unwrap_or_default();
        files.sort_by(|(path, facts), (other, others)| (others.modified, other).cmp(&(facts.modified, path)));
        files.into_iter().map(|(path, _)| path).collect()
    }

    /// Creates a run folder: `runs/<name>`, with a number appended if that exists.
    pub fn run_folder(&self, name: &str) -> Result<Folder, StoreError> {
        let runs = self.layout.runs();
        let folder = self.root.create_folder(&runs).tried("create folder", &runs)?;
        let (mut path, mut number) = (runs.join(name), 1);
        loop {
            match folder.new_folder(&path) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                    number += 1;
                    path = runs.join(format!("{name}-{number}"));
                }
                other => return other.and_then(|()| folder.folder(&path)).tried("create folder", &path),
            }
        }
    }

    /// Opens a run folder again, to write into it. A collector may have removed it meanwhile; then it is created.
    pub fn reopen_run_folder(&self, path: &Path) -> Result<Folder, StoreError> {
        self.root.create_folder(path).tried("create folder", path)
    }

    /// The path of a file in a run folder of a cache folder; `None` if there is no such file. No part of the path below the
    /// cache folder is a link.
    pub fn run_in(cache: &Path, run: &Path, file: &str) -> Option<PathBuf> {
        let run = Layout::below(cache).runs().join(run);
        let path = run.join(file);
        let folder = Folder::open(cache).and_then(|cache| cache.folder(&run)).ok()?;
        folder.read(&path).is_ok().then_some(path)
    }

    /// Removes the work folders of dead processes, if this user can.
    ///
    /// A live owner holds the lock of its key, so the folder may be removed by whoever gets the lock.
    pub(super) fn clean_work(&self) {
        for (path, _) in list(&self.root, &self.layout.work()).unwrap_or_default() {
            // The task that needs a lock that cannot be taken reports it.
            let Some(Ok(Some(_lock))) = owner(&path).map(|key| self.try_lock(&key)) else { continue };
            if let Err(error) = self.root.remove_all(&path) {
                tracing::debug!("cannot remove {}: {error}", path.display());
            }
        }
    }
}

/// The key of a work folder.
fn owner(folder: &Path) -> Option<Key> {
    folder.file_stem()?.to_str()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::json;

    use super::*;

    #[test]
    fn work_of_the_dead_is_removed_and_of_the_living_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let [dead, alive] = ["dead", "alive"].map(|name| Key::of(&json!(name)));

        let lock = store.try_lock(&dead).unwrap().unwrap();
        let dead = store.work(&lock).unwrap();
        let left_behind = dead.path().to_owned();
        std::mem::forget(dead);
        fs::write(left_behind.join("model"), "half").unwrap();
        drop(lock);

        let lock = store.try_lock(&alive).unwrap().unwrap();
        let in_use = store.work(&lock).unwrap();
        fs::write(in_use.path().join("model"), "half").unwrap();

        Store::open(folder.path()).unwrap();
        assert!(!left_behind.exists());
        assert!(in_use.path().join("model").exists());
    }

    #[test]
    fn runs_of_one_second_have_folders_of_their_own() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let names = [(); 3].map(|()| store.run_folder("20261123T084510Z-badnets").unwrap());
        let names = names.map(|path| path.path().file_name().unwrap().to_string_lossy().into_owned());
        let expected = ["", "-2", "-3"].map(|end| format!("20261123T084510Z-badnets{end}"));
        assert_eq!(names, expected);
    }

    #[test]
    fn work_goes_when_it_is_dropped_and_checkpoints_stay() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let key = Key::of(&json!("task"));
        let lock = store.try_lock(&key).unwrap().unwrap();
        let work = store.work(&lock).unwrap();
        let path = work.path().to_owned();
        fs::write(store.partial(&key).unwrap().path().join("epoch-1"), "weights").unwrap();
        drop((work, lock));
        assert!(!path.exists());
        assert!(Store::open(folder.path()).unwrap().partial(&key).unwrap().path().join("epoch-1").exists());
    }
}
