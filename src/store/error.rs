//! What can go wrong with the store, in words that say what to do.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// Why the store could not do what it was asked to.
#[derive(Debug, Error)]
pub enum StoreError {
    /// A file or folder of the store could not be read or written.
    #[error("cannot {action} `{}`: {source}{}", path.display(), Advice { source, path })]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// A file or folder outside the store, whose content enters a key, is not there.
    #[error("`{}`: not found", .0.display())]
    SourceMissing(PathBuf),
    /// Something outside the store, whose content enters a key, is neither a file nor a folder, or a folder that
    /// contains itself.
    #[error("cannot hash `{}`: {why}", path.display())]
    SourceUnfit {
        /// Which.
        path: PathBuf,
        /// Why not.
        why: &'static str,
    },
    /// A stage ended well but did not write one of its outputs.
    #[error("output `{port}` was not written: there is no file `{}`", path.display())]
    OutputMissing {
        /// The output port.
        port: String,
        /// Where the file was looked for.
        path: PathBuf,
    },
    /// A record is of a later format. It is not taken for a miss, because committing would replace it.
    #[error(
        "`{}` was written by a newer argd-pipe: record format {found}, known here {known}\n\
         hint: update argd-pipe, or choose another folder with --cache-dir",
        path.display()
    )]
    NewerFormat {
        /// The record's file.
        path: PathBuf,
        /// Its format version.
        found: u32,
        /// The latest version that this program reads.
        known: u32,
    },
    /// Garbage cannot be collected beside a record whose artifacts are not known.
    #[error(
        "`{}` was written by a newer argd-pipe, so what it needs is not known; nothing was removed\n\
         hint: collect with the newer one",
        path.display()
    )]
    CannotCollect {
        /// The record's file.
        path: PathBuf,
    },
}

impl StoreError {
    /// Whether space ran out: see [`disk_is_full`].
    pub fn disk_full(&self) -> bool {
        matches!(self, Self::Io { source, .. } if disk_is_full(source))
    }
}

/// Says what was tried, and on what, when an I/O operation fails.
pub(super) trait Tried<T> {
    /// Turns an I/O error into a [`StoreError`]; `action` is a verb.
    fn tried(self, action: &'static str, path: &Path) -> Result<T, StoreError>;
}

impl<T> Tried<T> for io::Result<T> {
    fn tried(self, action: &'static str, path: &Path) -> Result<T, StoreError> {
        self.map_err(|source| StoreError::Io { action, path: path.to_owned(), source })
    }
}

/// Whether a file could not be written for want of space: on its file system, in a quota, or by the limit on the size
/// of files (`ulimit -f`).
pub fn disk_is_full(error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}

/// What to do about an I/O error; nothing for errors that explain themselves.
struct Advice<'a> {
    source: &'a io::Error,
    path: &'a Path,
}

impl fmt::Display for Advice<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use io::ErrorKind::{
            AlreadyExists, FileTooLarge, NotADirectory, PermissionDenied, ReadOnlyFilesystem,
        };
        let elsewhere = "choose another folder with --cache-dir or ARGD_PIPE_CACHE_DIR";
        match self.source.kind() {
            FileTooLarge => write!(
                f,
                "\nhint: raise the limit on the size of files (`ulimit -f`), or {elsewhere}; finished results are kept"
            ),
            _ if disk_is_full(self.source) => {
                if let Some(free) = free_bytes(self.path) {
                    write!(f, " ({:.1} MiB are free)", free as f64 / f64::from(1 << 20))?;
                }
                write!(f, "\nhint: make room, or {elsewhere}; finished results are kept")
            }
            PermissionDenied | ReadOnlyFilesystem => write!(f, "\nhint: make it writable, or {elsewhere}"),
            NotADirectory | AlreadyExists => write!(f, "\nhint: {elsewhere}"),
            _ => Ok(()),
        }
    }
}

/// Free bytes for this user on the file system of a path, or of the nearest folder above it that exists.
fn free_bytes(path: &Path) -> Option<u64> {
    let stat = path.ancestors().find_map(|path| rustix::fs::statvfs(path).ok())?;
    Some(stat.f_bavail.saturating_mul(stat.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn io_error(errno: i32) -> StoreError {
        let failed: io::Result<()> = Err(io::Error::from_raw_os_error(errno));
        failed.tried("write", Path::new("/nowhere/cache/x")).unwrap_err()
    }

    #[test]
    fn a_full_disk_is_told_with_the_space_that_is_left() {
        let error = io_error(rustix::io::Errno::NOSPC.raw_os_error());
        let message = error.to_string();
        assert!(error.disk_full());
        assert!(message.starts_with("cannot write `/nowhere/cache/x`: No space left on device"), "{message}");
        assert!(message.contains(" MiB are free)") && message.contains("--cache-dir"), "{message}");
    }

    #[test]
    fn a_limit_on_the_size_of_files_is_told_from_a_full_disk() {
        let error = io_error(rustix::io::Errno::FBIG.raw_os_error());
        let message = error.to_string();
        assert!(error.disk_full(), "to the task it is the same");
        assert!(message.contains("File too large") && message.contains("`ulimit -f`"), "{message}");
        assert!(!message.contains("MiB are free"), "{message}");
    }

    #[test]
    fn a_read_only_folder_is_told_with_the_way_out() {
        let error = io_error(rustix::io::Errno::ROFS.raw_os_error());
        assert!(!error.disk_full());
        assert!(
            error.to_string().contains("hint: make it writable, or choose another folder with --cache-dir")
        );
    }
}
