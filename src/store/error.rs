//! What can go wrong with the store, and what to do about it.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use miette::Diagnostic;
use thiserror::Error;

use crate::files::Unfit;

/// Why an operation of the store failed.
#[derive(Debug, Error)]
pub enum StoreError {
    /// A file or folder of the store could not be read or written.
    #[error("cannot {action} `{}`: {source}{}", path.display(), Free { source, path })]
    Io {
        /// The operation, as a verb.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A file or folder outside the store, whose content enters a key, is missing.
    #[error("`{}`: not found", .0.display())]
    SourceMissing(PathBuf),
    /// A path outside the store, whose content enters a key, is neither a file nor a folder, or is a folder that contains
    /// itself.
    #[error("cannot hash `{}`: {why}", path.display())]
    SourceUnfit {
        /// The path.
        path: PathBuf,
        /// The cause.
        why: &'static str,
    },
    /// The watch of the store stopped it while it hashed files.
    #[error("stopped while hashing files")]
    Stopped,
    /// A stage succeeded but did not write one of its outputs.
    #[error("output `{port}` was not written: there is no file `{}`", path.display())]
    OutputMissing {
        /// The output port.
        port: String,
        /// The path of the missing file.
        path: PathBuf,
    },
    /// A record has a newer format. It is not a miss: a commit would replace it.
    #[error(
        "`{}` was written by a newer argd-pipe: its record format is {found}, and this program reads up to {known}",
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
    /// A record has a newer format, so garbage cannot be collected: its artifacts are not known.
    #[error(
        "`{}` was written by a newer argd-pipe, so its artifacts are not known; nothing was removed",
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

impl StoreError {
    /// Whether a link or a special file is where a file or folder of the store should be.
    pub fn unfit(&self) -> bool {
        matches!(self, Self::Io { source, .. } if Unfit::of(source).is_some())
    }
}

impl Diagnostic for StoreError {
    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        let hint = match self {
            Self::Io { source, .. } => hint(source)?,
            Self::NewerFormat { .. } => {
                "update argd-pipe, or choose another folder with --cache-dir".to_owned()
            }
            Self::CannotCollect { .. } => "collect with the newer argd-pipe".to_owned(),
            Self::SourceUnfit { .. } => "name another file or folder".to_owned(),
            Self::Stopped => "run the same command again to resume".to_owned(),
            Self::SourceMissing(_) | Self::OutputMissing { .. } => return None,
        };
        Some(Box::new(hint))
    }
}

/// Adds the operation and the path to an I/O error.
pub(super) trait Tried<T> {
    /// Converts an I/O error to a [`StoreError`]; `action` is a verb.
    fn tried(self, action: &'static str, path: &Path) -> Result<T, StoreError>;
}

impl<T> Tried<T> for io::Result<T> {
    fn tried(self, action: &'static str, path: &Path) -> Result<T, StoreError> {
        self.map_err(|source| StoreError::Io { action, path: path.to_owned(), source })
    }
}

/// Whether a write failed because of space: of the file system, a quota, or the limit on the size of files (`ulimit -f`).
pub fn disk_is_full(error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}

/// What to do about an I/O error; `None` if the error explains itself.
fn hint(error: &io::Error) -> Option<String> {
    use io::ErrorKind::{AlreadyExists, FileTooLarge, NotADirectory, PermissionDenied, ReadOnlyFilesystem};
    let elsewhere = "choose another folder with --cache-dir or ARGD_PIPE_CACHE_DIR";
    if Unfit::of(error).is_some() {
        return Some(format!(
            "remove it, or {elsewhere}; below `v1`, argd-pipe follows no links and opens only regular files"
        ));
    }
    match error.kind() {
        FileTooLarge => Some(format!(
            "raise the limit on the size of files (`ulimit -f`), or {elsewhere}; finished results are kept"
        )),
        _ if disk_is_full(error) => {
            Some(format!("free some space, or {elsewhere}; finished results are kept"))
        }
        PermissionDenied | ReadOnlyFilesystem => Some(format!("make it writable, or {elsewhere}")),
        NotADirectory | AlreadyExists => Some(elsewhere.to_owned()),
        _ => None,
    }
}

/// How much space is left, where a write failed because a disk or a quota is full.
struct Free<'a> {
    source: &'a io::Error,
    path: &'a Path,
}

impl fmt::Display for Free<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let full = disk_is_full(self.source) && self.source.kind() != io::ErrorKind::FileTooLarge;
        match free_bytes(self.path).filter(|_| full) {
            Some(free) => write!(f, " ({:.1} MiB are free)", free as f64 / f64::from(1 << 20)),
            None => Ok(()),
        }
    }
}

/// Free bytes for this user on the file system of a path, or of its nearest existing parent.
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

    fn help(error: &StoreError) -> String {
        error.help().unwrap().to_string()
    }

    #[test]
    fn a_full_disk_is_reported_with_the_free_space() {
        let error = io_error(rustix::io::Errno::NOSPC.raw_os_error());
        let message = error.to_string();
        assert!(error.disk_full());
        assert!(message.starts_with("cannot write `/nowhere/cache/x`: No space left on device"), "{message}");
        assert!(message.ends_with(" MiB are free)"), "{message}");
        assert!(help(&error).contains("--cache-dir"));
    }

    #[test]
    fn a_limit_on_the_size_of_files_is_not_reported_as_a_full_disk() {
        let error = io_error(rustix::io::Errno::FBIG.raw_os_error());
        let message = error.to_string();
        assert!(error.disk_full(), "to the task it is the same");
        assert!(message.contains("File too large") && !message.contains("MiB are free"), "{message}");
        assert!(help(&error).contains("`ulimit -f`"));
    }

    #[test]
    fn a_read_only_folder_is_reported_with_what_to_do() {
        let error = io_error(rustix::io::Errno::ROFS.raw_os_error());
        assert!(!error.disk_full());
        assert!(help(&error).starts_with("make it writable, or choose another folder with --cache-dir"));
    }
}
