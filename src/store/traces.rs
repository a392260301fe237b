//! Collects the other files of runs: run folders, journals and lock files. No result needs them.

use std::collections::HashSet;
use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::time::SystemTime;

use super::error::Tried;
use super::files::{files_below, unless_gone};
use super::flock::{remove_unless_held, try_lock_file};
use super::gc::{delete, is_unused, last_written};
use super::inventory::{Amount, amount};
use super::journal::Journal;
use super::layout::JOURNAL_LOCK;
use super::{Collection, Key, Policy, Store, StoreError};

/// How many of the newest run folders are kept, unless the policy removes them by age.
pub(super) const RUNS: usize = 100;

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
        self.layout.old_memos().iter().try_for_each(|memo| delete(memo, policy))?;
        self.collect_locks(policy, collection)
    }

    /// Removes run folders except the newest and, by the policy, old ones. A run that is not finished writes its file
    /// again at the end.
    fn collect_runs(
        &self,
        policy: &Policy,
        now: SystemTime,
        collection: &mut Collection,
    ) -> Result<(), StoreError> {
        let folders = self.run_folders()?;
        let beyond = folders.len().saturating_sub(RUNS);
        for (at, folder) in folders.iter().enumerate() {
            let files = files_below(folder)?;
            let old = last_written(&files).is_some_and(|written| is_unused(written, policy, now));
            let kept = folder.file_name().is_some_and(|name| policy.kept_runs.contains(name));
            if kept || (at >= beyond && !old) {
                continue;
            }
            if !policy.dry_run {
                match fs::remove_dir_all(folder) {
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
        let runs = self.layout.runs();
        let Some(entries) = unless_gone(fs::read_dir(&runs)).tried("read folder", &runs)? else {
            return Ok(vec![]);
        };
        let paths = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>, _>>();
        let mut folders = paths.tried("read folder", &runs)?;
        folders.retain(|path| path.is_dir());
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
        for (path, metadata) in files_below(&self.layout.journals())? {
            let old = metadata.modified().is_ok_and(|written| is_unused(written, policy, now));
            let Some(pipeline) = path.file_stem().and_then(|name| name.to_str()) else { continue };
            if !old || Journal::load(path.clone()).0.keys().any(|key| done.contains(&key)) {
                continue;
            }
            let Some(_lock) = try_lock_file(&self.layout.journal_lock(pipeline))? else { continue };
            delete(&path, policy)?;
            collection.journals += Amount::of(metadata.len());
        }
        Ok(())
    }

    /// Removes the lock files of keys and journals that nobody holds. The other lock files are few, and the collector holds
    /// one of them.
    fn collect_locks(&self, policy: &Policy, collection: &mut Collection) -> Result<(), StoreError> {
        for (path, metadata) in files_below(&self.layout.locks())? {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let passes = name.parse::<Key>().is_ok() || name.ends_with(JOURNAL_LOCK);
            if passes && remove_unless_held(&path, policy.dry_run)? {
                collection.locks += Amount::of(metadata.len());
            }
        }
        Ok(())
    }
}
