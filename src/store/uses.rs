//! The keys that live processes use, so that the garbage collector keeps them.
//!
//! A process that reads or writes a store has a file in `live` with the keys that it looked up. The kernel locks the file
//! as long as the process lives. Lookups and commits share a barrier, and the collector takes it exclusively: it sees a
//! lookup or a commit completely or not at all. It keeps the artifacts of the record of a used key. No clock is involved.

use std::collections::HashSet;
use std::fs::{File, TryLockError};
use std::io::{self, ErrorKind, Read, Write};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use super::error::Tried;
use super::files::{is_refused, list, remove};
use super::flock::{Holder, Wait, open_lock, sign};
use super::hashing::Watched;
use super::waits;
use super::{Key, StoreError};
use crate::files::{Folder, Unfit};

/// The mark of this process, created at its first use of a key.
#[derive(Debug)]
pub(super) struct Uses {
    root: Arc<Folder>,
    folder: PathBuf,
    barrier: PathBuf,
    /// `None` until it can be made.
    mark: Mutex<Option<Mark>>,
}

/// A file with the keys that a process uses. Dropping it removes the file.
#[derive(Debug)]
struct Mark {
    root: Arc<Folder>,
    path: PathBuf,
    file: File,
}

impl Drop for Mark {
    fn drop(&mut self) {
        if let Err(error) = self.root.remove(&self.path) {
            tracing::debug!("cannot remove {}: {error}", self.path.display());
        }
    }
}

/// What live processes use.
#[derive(Debug, Default)]
pub(super) struct InUse {
    /// Keys.
    pub(super) keys: HashSet<Key>,
    /// Marks whose keys are unknown.
    pub(super) unreadable: Vec<UnreadableMark>,
}

/// A mark of another user that this user cannot read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnreadableMark {
    /// The file.
    pub path: PathBuf,
    /// The number of the user.
    pub owner: u32,
}

/// Holds the barrier until it is dropped.
#[derive(Debug)]
pub(super) struct Barrier(#[expect(dead_code, reason = "it is held, not read")] Option<File>);

impl Uses {
    /// Keeps marks in `folder`, behind the lock of the file `barrier`.
    pub(super) fn new(root: Arc<Folder>, folder: PathBuf, barrier: PathBuf) -> Self {
        Self { root, folder, barrier, mark: Mutex::new(None) }
    }

    /// Marks a key as used by this process, and keeps collectors out until the barrier is dropped. Waits for a collector
    /// that is in.
    ///
    /// A read-only store is used without a mark. If a collector on another machine removes an input, a task may fail; the
    /// next run computes the input again.
    pub(super) fn using(&self, key: &Key, watched: &Watched) -> Result<Barrier, StoreError> {
        let barrier = match self.open_barrier() {
            // The store is read-only, or there is none.
            Err(error) if is_refused(&error) || error.kind() == ErrorKind::NotFound => {
                tracing::debug!("no barrier: {error}");
                None
            }
            Err(error) => Err(error).tried("lock", &self.barrier)?,
            Ok(file) => self.share(file, watched)?,
        };
        let mut mark = self.mark.lock().unwrap_or_else(PoisonError::into_inner);
        if mark.is_none() {
            *mark = self.make().inspect_err(|error| tracing::debug!("no mark of use: {error}")).ok();
        }
        if let Some(mark) = &*mark {
            // One write per line, so that lines of several threads do not mix.
            if let Err(error) = (&mark.file).write_all(format!("{key}\n").as_bytes()) {
                tracing::debug!("use not noted: {error}");
            }
        }
        Ok(Barrier(barrier))
    }

    /// Shares the barrier with other lookups and commits; `None` if the file system has no locks.
    fn share(&self, file: File, watched: &Watched) -> Result<Option<File>, StoreError> {
        let locked = waits::until(
            watched,
            || self.collector(),
            || match file.try_lock_shared() {
                Ok(()) => Ok(Some(true)),
                Err(TryLockError::WouldBlock) => Ok(None),
                Err(TryLockError::Error(error)) => {
                    tracing::debug!("no barrier: {error}");
                    Ok(Some(false))
                }
            },
        )?;
        Ok(locked.then_some(file))
    }

    /// Waits for all lookups and commits to end, and keeps new ones out.
    pub(super) fn shut_out(&self, watched: &Watched) -> Result<Barrier, StoreError> {
        let mut file = self.open_barrier().tried("lock", &self.barrier)?;
        waits::until(
            watched,
            || self.in_the_way(&file),
            || match file.try_lock() {
                Ok(()) => Ok(Some(())),
                Err(TryLockError::WouldBlock) => Ok(None),
                Err(TryLockError::Error(error)) => Err(error).tried("lock", &self.barrier),
            },
        )?;
        sign(&mut file);
        Ok(Barrier(Some(file)))
    }

    /// The wait for the collector that holds the barrier.
    fn collector(&self) -> Wait {
        Wait { what: "`cache gc`", holder: Holder::of(&self.root, &self.barrier) }
    }

    /// The wait of a collector: for another one, or for lookups and commits, which do not sign.
    fn in_the_way(&self, barrier: &File) -> Wait {
        match barrier.try_lock_shared() {
            Ok(()) => {
                let _ = barrier.unlock();
                Wait { what: "lookups and commits", holder: Holder::default() }
            }
            Err(_) => self.collector(),
        }
    }

    /// The keys that live processes use, including this one. Removes the marks of dead processes.
    pub(super) fn in_use(&self) -> Result<InUse, StoreError> {
        let mut in_use = InUse::default();
        for (path, facts) in list(&self.root, &self.folder)? {
            let mut file = match self.root.read(&path) {
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                    in_use.unreadable.push(UnreadableMark { owner: facts.owner, path });
                    continue;
                }
                // It is no mark: processes write regular files.
                Err(error) if Unfit::of(&error).is_some() => continue,
                other => other.tried("read", &path)?,
            };
            match file.try_lock() {
                // The mark of a dead process protects nothing. If it cannot be removed, it does no harm.
                Ok(()) => drop(remove(&self.root, &path)),
                Err(TryLockError::Error(error)) => return Err(error).tried("lock", &path),
                Err(TryLockError::WouldBlock) => {
                    let mut text = String::new();
                    file.read_to_string(&mut text).tried("read", &path)?;
                    in_use.keys.extend(text.lines().filter_map(|line| line.parse::<Key>().ok()));
                }
            }
        }
        Ok(in_use)
    }

    fn open_barrier(&self) -> io::Result<File> {
        open_lock(&self.root, &self.barrier)
    }

    fn make(&self) -> io::Result<Mark> {
        let folder = self.root.folder(&self.folder)?;
        let (path, file) = folder.create_unique(&format!("{}.", std::process::id()))?;
        let mark = Mark { root: Arc::clone(&self.root), path, file };
        mark.file.try_lock()?;
        Ok(mark)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Duration;

    use serde_json::json;

    use super::*;
    use crate::store::HashWatch;

    fn keys<const N: usize>(names: [&str; N]) -> [Key; N] {
        names.map(|name| Key::of(&json!(name)))
    }

    #[test]
    fn marks_of_the_living_count_and_of_the_dead_go() {
        let folder = tempfile::tempdir().unwrap();
        let live = folder.path().join("live");
        fs::create_dir(&live).unwrap();
        let root = Arc::new(Folder::open(folder.path()).unwrap());
        let open = || Uses::new(Arc::clone(&root), live.clone(), folder.path().join("gc"));
        let (ours, theirs) = (open(), open());
        let [a, b, c, d] = keys(["a", "b", "c", "d"]);
        let alone = Watched::default();
        let marked = [ours.using(&a, &alone), theirs.using(&b, &alone), theirs.using(&c, &alone)];
        assert!(marked.iter().all(Result::is_ok));
        drop(marked);
        fs::write(live.join("of a process that was killed"), format!("{d}\n")).unwrap();
        assert_eq!(ours.in_use().unwrap().keys, HashSet::from([a, b, c]));
        assert_eq!(fs::read_dir(&live).unwrap().count(), 2);
        drop(theirs);
        assert_eq!(ours.in_use().unwrap().keys, HashSet::from([a]));
    }

    #[test]
    fn users_share_the_barrier_and_who_collects_is_alone() {
        let folder = tempfile::tempdir().unwrap();
        let root = Arc::new(Folder::open(folder.path()).unwrap());
        let open = || Uses::new(Arc::clone(&root), folder.path().to_owned(), folder.path().join("gc"));
        let (ours, theirs) = (open(), open());
        let [key] = keys(["key"]);
        let watched = Watched::default();
        drop((ours.using(&key, &watched).unwrap(), theirs.using(&key, &watched).unwrap()));

        let alone = ours.shut_out(&watched).unwrap();
        let entered = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let _barrier = theirs.using(&key, &watched).unwrap();
                entered.store(true, Ordering::SeqCst);
            });
            std::thread::sleep(Duration::from_millis(50));
            assert!(!entered.load(Ordering::SeqCst));
            drop(alone);
        });
        assert!(entered.into_inner());
    }

    /// Stops the store once a wait was reported.
    #[derive(Default)]
    struct Impatient(Mutex<Vec<String>>);

    impl HashWatch for Impatient {
        fn waits(&self, wait: &Wait) {
            self.0.lock().unwrap().push(wait.to_string());
        }

        fn stopped(&self) -> bool {
            !self.0.lock().unwrap().is_empty()
        }
    }

    #[test]
    fn a_long_wait_is_reported_and_ends_on_a_stop() {
        let folder = tempfile::tempdir().unwrap();
        let root = Arc::new(Folder::open(folder.path()).unwrap());
        let open = || Uses::new(Arc::clone(&root), folder.path().to_owned(), folder.path().join("gc"));
        let (ours, theirs) = (open(), open());
        let [key] = keys(["key"]);
        let report = |wait: &dyn Fn(&Watched) -> Result<Barrier, StoreError>| {
            let watch = Arc::new(Impatient::default());
            let stopped = wait(&Watched::by(Arc::clone(&watch) as Arc<dyn HashWatch>));
            assert!(matches!(stopped, Err(StoreError::Stopped)));
            watch.0.lock().unwrap().join(", ")
        };

        let collector = theirs.shut_out(&Watched::default()).unwrap();
        let me = format!("process {} on {}", std::process::id(), crate::store::host());
        assert_eq!(report(&|watched| ours.using(&key, watched)), format!("waiting for `cache gc` ({me})"));
        assert_eq!(report(&|watched| ours.shut_out(watched)), format!("waiting for `cache gc` ({me})"));
        drop(collector);
        let _user = theirs.using(&key, &Watched::default()).unwrap();
        let told = report(&|watched| ours.shut_out(watched));
        assert_eq!(told, "waiting for lookups and commits (another process)");
    }
}
