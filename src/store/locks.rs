//! One lock per key, so that two processes never compute the same key at once.
//!
//! A lock is a lock file of the kernel, see [`super::flock`]; the holder in it only serves messages.

use std::fmt;
use std::fs::{File, TryLockError};
use std::io::{self, Read};
use std::ops::ControlFlow;
use std::path::Path;
use std::thread;
use std::time::Duration;

use super::flock::try_lock_file;
use super::{Key, Store, StoreError};
use crate::files::Folder;

/// How often a waiting process looks again.
const POLL: Duration = Duration::from_millis(100);
/// The most bytes that name a holder.
const LONGEST: u64 = 300;

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

impl Holder {
    /// Reads the last holder of the lock of a file.
    pub(super) fn of(root: &Folder, lock: &Path) -> Self {
        let text =
            root.read(lock).and_then(|file| io::read_to_string(file.take(LONGEST))).unwrap_or_default();
        let named = text.trim_end().split_once(' ');
        Self(named.and_then(|(pid, host)| Some((pid.parse().ok()?, host.to_owned()))))
    }
}

impl Store {
    /// Takes the lock of a key, or returns `None` at once if it is held.
    ///
    /// Look up the key again afterwards: the previous holder may have committed.
    pub fn try_lock(&self, key: &Key) -> Result<Option<KeyLock>, StoreError> {
        let file = try_lock_file(&self.root, &self.layout.lock(&key.to_string()))?;
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
        let file = self.root.read(&self.layout.lock(&key.to_string())).ok()?;
        matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)).then(|| self.holder(key))
    }

    /// Reads the last holder of the lock of a key.
    fn holder(&self, key: &Key) -> Holder {
        Holder::of(&self.root, &self.layout.lock(&key.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::store::host;

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
