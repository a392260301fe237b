//! Collects the other files of runs: run folders, journals and lock files. No result needs them.

use std::collections::HashSet;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::error::Tried;
use super::files::{files_below, list};
use super::flock::{remove_unless_held, try_lock_file};
use super::gc::{is_unused, last_written};
use super::inventory::{Amount, amount};
use super::journal::Journal;
use super::layout::JOURNAL_LOCK;
use super::{Collection, Key, Policy, Store, StoreError};
use crate::files::{Kind, TEMPORARY};

/// A file that was not written for this long is not being written any more.
const HALF_WRITTEN: Duration = Duration::from_secs(3600);

/// How many of the newest run folders are kept, unless the policy removes them by age.
pub(super) const RUNS: usize = 100;
/// The most bytes of these. The newest is always kept.
pub(super) const RUN_BYTES: u64 = 512 << 20;

impl Store {
    /// Removes the files of runs. Locks come last, because the other steps create some.
    pub(super) fn collect_traces(
        &self,
        policy: &Policy,
        now: SystemTime,
        done: &HashSet<Key>,
        collection: &mut Collection,
    ) -> Result<(), StoreError> {
        self.collect_runs(policy, now, collection)?;
        self.collect_journals(policy, now, done, collection)?;
        self.collect_half_written(policy, now, collection)?;
        self.layout.old_memos().iter().try_for_each(|memo| self.delete(memo, policy))?;
        self.collect_locks(policy, collection)
    }

    /// Removes run folders except the newest, which are limited in number and size, and, by the policy, old ones. A run that
    /// is not finished writes its file again at the end.
    fn collect_runs(
        &self,
        policy: &Policy,
        now: SystemTime,
        collection: &mut Collection,
    ) -> Result<(), StoreError> {
        let folders = self.run_folders()?;
        let mut bytes = 0;
        for (at, folder) in folders.iter().rev().enumerate() {
            let files = files_below(&self.root, folder)?;
            bytes += amount(&files).bytes;
            let is_new = at == 0 || (at < RUNS && bytes <= RUN_BYTES);
            let old = last_written(&files).is_some_and(|written| is_unused(written, policy, now));
            let kept = folder.file_name().is_some_and(|name| policy.kept_runs.contains(name));
            if kept || (is_new && !old) {
                continue;
            }
            if !policy.dry_run {
                match self.root.remove_all(folder) {
                    // The run has just ended and written its file.
                    Err(error) if error.kind() == ErrorKind::DirectoryNotEmpty => continue,
                    removed => removed.tried("remove", folder)?,
                }
            }
            collection.runs += Amount::of(amount(&files).bytes);
        }
        Ok(())
    }

    /// The run folders, the newest last: their names begin with the time.
    fn run_folders(&self) -> Result<Vec<PathBuf>, StoreError> {
        let listed = list(&self.root, &self.layout.runs())?.into_iter();
        let folders = listed.filter(|(_, facts)| facts.kind == Kind::Folder).map(|(path, _)| path);
        let mut folders: Vec<PathBuf> = folders.collect();
        folders.sort();
        Ok(folders)
    }

    /// By the policy, removes the journals of pipelines without results. A run creates its journal again.
    fn collect_journals(
        &self,
        policy: &Policy,
        now: SystemTime,
        done: &HashSet<Key>,
        collection: &mut Collection,
    ) -> Result<(), StoreError> {
        for (path, facts) in files_below(&self.root, &self.layout.journals())? {
            let old = is_unused(facts.modified, policy, now);
            let Some(pipeline) = path.file_stem().and_then(|name| name.to_str()) else { continue };
            if !old
                || is_temporary(&path)
                || Journal::load(&self.root, path.clone()).0.keys().any(|key| done.contains(&key))
            {
                continue;
            }
            // A lock that cannot be taken keeps the journal.
            let Ok(Some(_lock)) = try_lock_file(&self.root, &self.layout.journal_lock(pipeline)) else {
                continue;
            };
            self.delete(&path, policy)?;
            collection.journals += Amount::of(facts.bytes);
        }
        Ok(())
    }

    /// Removes the files that killed processes left half written.
    fn collect_half_written(
        &self,
        policy: &Policy,
        now: SystemTime,
        collection: &mut Collection,
    ) -> Result<(), StoreError> {
        let mut folders = self.run_folders()?;
        folders.extend([self.layout.root().to_owned(), self.layout.journals()]);
        for folder in folders {
            for (path, facts) in list(&self.root, &folder)? {
                let left = now.duration_since(facts.modified).is_ok_and(|age| age > HALF_WRITTEN);
                if is_temporary(&path) && left {
                    self.delete(&path, policy)?;
                    collection.half_written += Amount::of(facts.bytes);
                }
            }
        }
        Ok(())
    }

    /// Removes the lock files of keys and journals that nobody holds. The other lock files are few, and the collector holds
    /// one of them.
    fn collect_locks(&self, policy: &Policy, collection: &mut Collection) -> Result<(), StoreError> {
        for (path, facts) in files_below(&self.root, &self.layout.locks())? {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let passes = name.parse::<Key>().is_ok() || name.ends_with(JOURNAL_LOCK);
            if passes && remove_unless_held(&self.root, &path, policy.dry_run)? {
                collection.locks += Amount::of(facts.bytes);
            }
        }
        Ok(())
    }
}

/// Whether a process writes the file before it renames it.
fn is_temporary(path: &Path) -> bool {
    path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(TEMPORARY))
}
