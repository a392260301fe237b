//! One lock per key, so that two processes never compute the same key at once.
//!
//! The locks are those of the kernel (`flock`): the kernel releases them when their process ends in any way. The content
//! of a lock file only serves messages. Only the holder of a lock removes its file, and a lock counts only if its file is
//! still the one at its path. Otherwise a process that opened the file before its removal would hold a lock that no other
//! process can see.

use std::fmt;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::Write;
use std::ops::ControlFlow;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::thread;
use std::time::Duration;

use super::error::Tried;
use super::files::unless_gone;
use super::lookup::remove;
use super::{Key, Store, StoreError};

/// How often a waiting process looks again.
const POLL: Duration = Duration::from_millis(100);

/// The right to compute a key; dropping it releases the lock.
#[derive(Debug)]
pub struct KeyLock {
    key: Key,
    _file: File,
}

impl KeyLock {
    /// The key that is locked.
    pub fn key(&self) -> &Key {
        &self.key
    }
}

/// The process that holds a lock, if it is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder(Option<(u32, String)>);

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some((pid, host)) => write!(f, "process {pid} on {host}"),
            None => f.write_str("another process"),
        }
    }
}

impl Store {
    /// Takes the lock of a key, or returns `None` at once if it is held.
    ///
    /// Look up the key again afterwards: the previous holder may have committed.
    pub fn try_lock(&self, key: &Key) -> Result<Option<KeyLock>, StoreError> {
        let file = try_lock_file(&self.layout.lock(&key.to_string()))?;
        Ok(file.map(|file| KeyLock { key: *key, _file: file }))
    }

    /// Takes the lock of a key, and waits for it until `on_wait` breaks.
    ///
    /// `on_wait` is called about 10 times a second; `None` means that it ended the wait. Look up the key again afterwards:
    /// the previous holder may have committed.
    pub fn lock(
        &self,
        key: &Key,
        on_wait: &mut dyn FnMut(&Holder) -> ControlFlow<()>,
    ) -> Result<Option<KeyLock>, StoreError> {
        loop {
            if let Some(lock) = self.try_lock(key)? {
                return Ok(Some(lock));
            }
            if on_wait(&self.holder(key)).is_break() {
                return Ok(None);
            }
            thread::sleep(POLL);
        }
    }

    /// Returns the holder of the lock of a key, if it is held.
    ///
    /// This creates no lock file, but shares the lock for a moment. A process that tries to take it in this moment finds
    /// it held.
    pub fn locked_by(&self, key: &Key) -> Option<Holder> {
        let file = File::open(self.layout.lock(&key.to_string())).ok()?;
        matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)).then(|| self.holder(key))
    }

    /// Reads the last holder of the lock of a key.
    fn holder(&self, key: &Key) -> Holder {
        let text = fs::read_to_string(self.layout.lock(&key.to_string())).unwrap_or_default();
        let named = text.trim_end().split_once(' ');
        Holder(named.and_then(|(pid, host)| Some((pid.parse().ok()?, host.to_owned()))))
    }
}

/// Takes the lock of a file, and writes the holder to it; `None` if it is held.
pub(super) fn try_lock_file(path: &Path) -> Result<Option<File>, StoreError> {
    let mut file = loop {
        let open = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
        let file = open.tried("open lock file", path)?;
        if !try_lock(&file, path)? {
            return Ok(None);
        }
        if is_at(&file, path)? {
            break file;
        }
    };
    let signature = format!("{} {}\n", std::process::id(), host());
    // Only messages read this, so a full disk must not stop a task.
    let _ = file.set_len(0).and_then(|()| file.write_all(signature.as_bytes()));
    Ok(Some(file))
}

/// Removes a lock file unless its lock is held; with `dry_run` it only returns whether it would be removed.
pub(super) fn remove_unless_held(path: &Path, dry_run: bool) -> Result<bool, StoreError> {
    let Some(file) = unless_gone(File::open(path)).tried("open lock file", path)? else { return Ok(false) };
    let goes = try_lock(&file, path)? && is_at(&file, path)?;
    if goes && !dry_run {
        remove(path)?;
    }
    Ok(goes)
}

/// Takes the lock of an open file; `false` if it is held.
fn try_lock(file: &File, path: &Path) -> Result<bool, StoreError> {
    match file.try_lock() {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(error).tried("lock", path),
    }
}

/// Whether an open file is still the one at its path.
fn is_at(file: &File, path: &Path) -> Result<bool, StoreError> {
    let ours = file.metadata().tried("read", path)?;
    let there = unless_gone(fs::metadata(path)).tried("read", path)?;
    Ok(there.is_some_and(|there| (there.dev(), there.ino()) == (ours.dev(), ours.ino())))
}

/// The name of this machine.
pub fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    use serde_json::json;

    use super::*;

    #[test]
    fn a_key_has_one_lock_and_says_who_has_it() {
        let folder = tempfile::tempdir().unwrap();
        let (ours, theirs) = (Store::open(folder.path()).unwrap(), Store::open(folder.path()).unwrap());
        let key = Key::of(&json!("task"));
        let lock = ours.try_lock(&key).unwrap().unwrap();
        assert!(theirs.try_lock(&key).unwrap().is_none());
        assert!(theirs.try_lock(&Key::of(&json!("other task"))).unwrap().is_some());

        assert_eq!(ours.locked_by(&Key::of(&json!("task that nobody locked"))), None);
        assert!(theirs.locked_by(&key).is_some());
        let mut seen = String::new();
        let given_up = theirs.lock(&key, &mut |holder| {
            seen = holder.to_string();
            ControlFlow::Break(())
        });
        assert!(given_up.unwrap().is_none());
        assert_eq!(seen, format!("process {} on {}", std::process::id(), host()));

        drop(lock);
        assert_eq!(theirs.locked_by(&key), None);
        assert!(theirs.try_lock(&key).unwrap().is_some());
    }

    #[test]
    fn a_file_goes_only_if_nobody_holds_its_lock() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        assert!(!remove_unless_held(&path, false).unwrap(), "there is none");
        let lock = try_lock_file(&path).unwrap();
        assert!(!remove_unless_held(&path, false).unwrap() && path.exists());
        drop(lock);
        assert!(remove_unless_held(&path, true).unwrap() && path.exists());
        assert!(remove_unless_held(&path, false).unwrap() && !path.exists());
    }

    #[test]
    fn a_lock_on_a_file_that_was_removed_does_not_count() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        drop(try_lock_file(&path).unwrap());
        let before = File::open(&path).unwrap();
        assert!(is_at(&before, &path).unwrap());
        assert!(remove_unless_held(&path, false).unwrap());
        assert!(!is_at(&before, &path).unwrap());
        let after = try_lock_file(&path).unwrap().unwrap();
        assert!(before.try_lock().is_ok(), "the kernel would give both");
        assert!(!is_at(&before, &path).unwrap() && is_at(&after, &path).unwrap());
    }

    #[test]
    fn removing_beside_lockers_never_lets_two_in() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let (inside, left) = (AtomicBool::new(false), AtomicUsize::new(3));
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    let mut entered = 0;
                    while entered < 200 {
                        let Some(lock) = try_lock_file(&path).unwrap() else { continue };
                        assert!(!inside.swap(true, Ordering::SeqCst), "two hold the lock");
                        thread::yield_now();
                        inside.store(false, Ordering::SeqCst);
                        drop(lock);
                        entered += 1;
                    }
                    left.fetch_sub(1, Ordering::SeqCst);
                });
            }
            scope.spawn(|| {
                while left.load(Ordering::SeqCst) > 0 {
                    remove_unless_held(&path, false).unwrap();
                }
            });
        });
    }

    #[test]
    fn waiting_ends_when_the_lock_is_given_back() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let key = Key::of(&json!("task"));
        let mut held = Some(store.try_lock(&key).unwrap().unwrap());
        let taken = store.lock(&key, &mut |_| {
            held = None;
            ControlFlow::Continue(())
        });
        assert_eq!(taken.unwrap().unwrap().key(), &key);
    }
}
