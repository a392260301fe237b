//! Private folders of running tasks.

use std::fs::{self, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::error::Tried;
use super::files::{create_folder, files_below};
use super::layout::Layout;
use super::{Key, KeyLock, Store, StoreError};

/// A private folder that a task writes its outputs to: each output is a file named after its port.
///
/// Dropping it removes the folder; after a crash the next [`Store::open`] does. Drop it before its lock: the next holder of
/// the lock may remove the folder.
#[derive(Debug)]
pub struct Work(TempDir);

impl Work {
    /// The folder.
    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Store {
    /// Creates a new work folder.
    pub fn work(&self, lock: &KeyLock) -> Result<Work, StoreError> {
        let parent = self.layout.work();
        // Whoever shares the cache can remove what a crash leaves.
        let shared = Permissions::from_mode(0o777);
        let prefix = format!("{}.", lock.key());
        let folder = tempfile::Builder::new().prefix(&prefix).permissions(shared).tempdir_in(&parent);
        folder.map(Work).tried("create a work folder in", &parent)
    }

    /// Creates the checkpoint folder of a task, unless it exists. It outlives failed and killed attempts. The commit removes
    /// it.
    pub fn partial(&self, key: &Key) -> Result<PathBuf, StoreError> {
        let path = self.layout.partial(key);
        create_folder(&path)?;
        Ok(path)
    }

    /// The files of the checkpoint folder of a task, the last written first. Creates nothing; other processes may remove
    /// files meanwhile.
    pub fn checkpoints(&self, key: &Key) -> Vec<PathBuf> {
        let mut files = files_below(&self.layout.partial(key)).unwrap_or_default();
        files.sort_by_cached_key(|(path, metadata)| (metadata.modified().ok(), path.clone()));
        files.into_iter().rev().map(|(path, _)| path).collect()
    }

    /// Creates a run folder: `runs/<name>`, with a number appended if that exists.
    pub fn run_folder(&self, name: &str) -> Result<PathBuf, StoreError> {
        let runs = self.layout.runs();
        create_folder(&runs)?;
        let (mut path, mut number) = (runs.join(name), 1);
        loop {
            match fs::create_dir(&path) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                    number += 1;
                    path = runs.join(format!("{name}-{number}"));
                }
                other => return other.map(|()| path.clone()).tried("create folder", &path),
            }
        }
    }

    /// The path of a run folder in a cache folder; neither must exist.
    pub fn run_in(cache: &Path, name: &Path) -> PathBuf {
        Layout::below(cache).runs().join(name)
    }

    /// Removes the work folders of dead processes, if this user can.
    ///
    /// A live owner holds the lock of its key, so the folder may be removed by whoever gets the lock.
    pub(super) fn clean_work(&self) {
        let folders = fs::read_dir(self.layout.work()).into_iter().flatten().flatten();
        for path in folders.map(|entry| entry.path()) {
            let Some(Ok(Some(_lock))) = owner(&path).map(|key| self.try_lock(&key)) else { continue };
            if let Err(error) = fs::remove_dir_all(&path) {
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
    use serde_json::json;

    use super::*;

    #[test]
    fn work_of_the_dead_is_removed_and_of_the_living_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let [dead, alive] = ["dead", "alive"].map(|name| Key::of(&json!(name)));

        let lock = store.try_lock(&dead).unwrap().unwrap();
        let left_behind = store.work(&lock).unwrap().0.keep();
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
        let names = names.map(|path| path.file_name().unwrap().to_string_lossy().into_owned());
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
        fs::write(store.partial(&key).unwrap().join("epoch-1"), "weights").unwrap();
        drop((work, lock));
        assert!(!path.exists());
        assert!(Store::open(folder.path()).unwrap().partial(&key).unwrap().join("epoch-1").exists());
    }
}
