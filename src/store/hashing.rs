//! Hashes the content of files, which can take minutes: a watch receives the progress and can stop it.

use std::fmt;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;
use std::sync::Arc;

use super::error::Tried;
use super::flock::Wait;
use super::{Digest, StoreError};

/// The bytes that are read at once.
const CHUNK: usize = 1 << 16;

/// Watches a store while it hashes files or waits for other processes. It is called from any thread.
pub trait HashWatch: Send + Sync {
    /// The store starts to hash a file or folder of this size. It can be a part of work that has begun before.
    fn begins(&self, _path: &Path, _bytes: u64) {}
    /// It has hashed so many more bytes, or knew their hash.
    fn hashed(&self, _bytes: u64) {}
    /// It is done with a file or folder.
    fn ends(&self) {}
    /// The store has waited for another process for a second. It is called once per wait.
    fn waits(&self, _wait: &Wait) {}
    /// Whether to stop: hashing and waiting then fail with [`StoreError::Stopped`].
    fn stopped(&self) -> bool;
}

/// The watch of a store, if it has one.
#[derive(Clone, Default)]
pub(super) struct Watched(Option<Arc<dyn HashWatch>>);

impl Watched {
    pub(super) fn by(watch: Arc<dyn HashWatch>) -> Self {
        Self(Some(watch))
    }

    /// Reports work of this size, until the result is dropped.
    pub(super) fn begin(&self, path: &Path, bytes: u64) -> Begun<'_> {
        if let Some(watch) = &self.0 {
            watch.begins(path, bytes);
        }
        Begun(self)
    }

    pub(super) fn hashed(&self, bytes: u64) {
        if let Some(watch) = &self.0 {
            watch.hashed(bytes);
        }
    }

    pub(super) fn waits(&self, wait: &Wait) {
        if let Some(watch) = &self.0 {
            watch.waits(wait);
        }
    }

    /// Fails if the watch stops the store.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        match &self.0 {
            Some(watch) if watch.stopped() => Err(StoreError::Stopped),
            _ => Ok(()),
        }
    }
}

/// Work that has been reported to the watch of a store; dropping it reports its end.
#[must_use]
pub struct Begun<'a>(&'a Watched);

impl Drop for Begun<'_> {
    fn drop(&mut self) {
        if let Some(watch) = &self.0.0 {
            watch.ends();
        }
    }
}

impl fmt::Debug for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Watched" } else { "Unwatched" })
    }
}

/// Hashes the content of an open file; `path` names it in errors. It is read, not mapped: a mapped file that shrinks
/// kills the process.
pub(super) fn hash(mut file: &File, path: &Path, watched: &Watched) -> Result<Digest, StoreError> {
    let mut hasher = blake3::Hasher::new();
    let mut chunk = vec![0; CHUNK];
    loop {
        watched.check()?;
        match file.read(&mut chunk) {
            Ok(0) => return Ok(hasher.finalize().into()),
            Ok(read) => {
                hasher.update(&chunk[..read]);
                watched.hashed(read as u64);
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error).tried("read", path),
        }
    }
}
