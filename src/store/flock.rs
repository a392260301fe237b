//! Lock files of the kernel (`flock`): the kernel releases a lock when its process ends in any way.
//!
//! The content of a lock file only serves messages. Only the holder of a lock removes its file, and a lock counts only
//! if its file is still the one at its path. Otherwise a process that opened the file before its removal would hold a
//! lock that no other process can see.

use std::fmt;
use std::fs::{File, TryLockError};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::StoreError;
use super::error::Tried;
use super::files::is_refused;
use super::files::{remove, unless_gone};
use crate::files::Folder;

/// The most bytes that name a holder.
const LONGEST: u64 = 300;

/// Takes the lock of a file, and writes the holder to it; `None` if it is held.
pub(super) fn try_lock_file(root: &Folder, path: &Path) -> Result<Option<File>, StoreError> {
    let mut file = loop {
        let file = open_lock(root, path).tried("open lock file", path)?;
        if !try_lock(&file, path)? {
            return Ok(None);
        }
        if is_at(root, &file, path)? {
            break file;
        }
    };
    sign(&mut file);
    Ok(Some(file))
}

/// Writes the holder of a lock to its file. Only messages read this, so a full disk must not stop a task.
pub(super) fn sign(file: &mut File) {
    let signature = format!("{} {}\n", std::process::id(), host());
    let _ = file.set_len(0).and_then(|()| file.write_all(signature.as_bytes()));
}

/// Opens a lock file, and creates it if it is missing. If only its owner can write it, or nobody can, it is opened for
/// reading: that is enough for a lock.
pub(super) fn open_lock(root: &Folder, path: &Path) -> io::Result<File> {
    match root.update(path) {
        Err(error) if is_refused(&error) => root.read(path).map_err(|_| error),
        opened => opened,
    }
}

/// Removes a lock file unless its lock is held; with `dry_run` it only returns whether it would be removed.
pub(super) fn remove_unless_held(root: &Folder, path: &Path, dry_run: bool) -> Result<bool, StoreError> {
    let file = match unless_gone(root.read(path)) {
        // It may be held: only its owner knows.
        Err(error) if error.kind() == ErrorKind::PermissionDenied => None,
        other => other.tried("open lock file", path)?,
    };
    let Some(file) = file else { return Ok(false) };
    let goes = try_lock(&file, path)? && is_at(root, &file, path)?;
    if goes && !dry_run {
        remove(root, path)?;
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
fn is_at(root: &Folder, file: &File, path: &Path) -> Result<bool, StoreError> {
    let ours = file.metadata().tried("read", path)?;
    let there = unless_gone(root.facts(path)).tried("read", path)?;
    Ok(there.is_some_and(|there| there.identity == (ours.dev(), ours.ino())))
}

/// The process that holds a lock, if it is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holder(Option<(u32, String)>);

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some((pid, host)) => write!(f, "process {pid} on {host}"),
            None => f.write_str("another process"),
        }
    }
}

impl Holder {
    /// Reads the last holder of the lock of a file.
    pub(super) fn of(root: &Folder, lock: &Path) -> Self {
        let text =
            root.read(lock).and_then(|file| io::read_to_string(file.take(LONGEST))).unwrap_or_default();
        let named = text.trim_end().split_once(' ');
        Self(named.and_then(|(pid, host)| Some((pid.parse().ok()?, host.to_owned()))))
    }
}

/// A wait for another process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wait {
    /// What the other process does.
    pub what: &'static str,
    /// The other process.
    pub holder: Holder,
}

impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, holder } = self;
        write!(f, "waiting for {what} ({holder})")
    }
}

/// The name of this machine.
pub fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
    use std::thread;

    use super::*;

    fn fixture() -> (tempfile::TempDir, Folder, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let root = Folder::open(folder.path()).unwrap();
        let path = folder.path().join("lock");
        (folder, root, path)
    }

    #[test]
    fn a_file_goes_only_if_nobody_holds_its_lock() {
        let (_folder, root, path) = fixture();
        assert!(!remove_unless_held(&root, &path, false).unwrap(), "there is none");
        let lock = try_lock_file(&root, &path).unwrap();
        assert!(!remove_unless_held(&root, &path, false).unwrap() && path.exists());
        drop(lock);
        assert!(remove_unless_held(&root, &path, true).unwrap() && path.exists());
        assert!(remove_unless_held(&root, &path, false).unwrap() && !path.exists());
    }

    #[test]
    fn a_lock_on_a_file_that_was_removed_does_not_count() {
        let (_folder, root, path) = fixture();
        drop(try_lock_file(&root, &path).unwrap());
        let before = File::open(&path).unwrap();
        assert!(is_at(&root, &before, &path).unwrap());
        assert!(remove_unless_held(&root, &path, false).unwrap());
        assert!(!is_at(&root, &before, &path).unwrap());
        let after = try_lock_file(&root, &path).unwrap().unwrap();
        assert!(before.try_lock().is_ok(), "the kernel would give both");
        assert!(!is_at(&root, &before, &path).unwrap() && is_at(&root, &after, &path).unwrap());
    }

    #[test]
    fn removing_beside_lockers_never_lets_two_in() {
        let (_folder, root, path) = fixture();
        let (inside, left) = (AtomicBool::new(false), AtomicUsize::new(3));
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    let mut entered = 0;
                    while entered < 200 {
                        let Some(lock) = try_lock_file(&root, &path).unwrap() else { continue };
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
                    remove_unless_held(&root, &path, false).unwrap();
                }
            });
        });
    }
}
