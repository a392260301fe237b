//! The lock of a download: one process at a time fetches a data set to a folder. The kernel releases it when its process
//! ends in any way.

use std::fs::{self, File, TryLockError};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use rustix::fs::OFlags;

/// How often a waiting process tries again.
const PAUSE: Duration = Duration::from_millis(100);

/// A lock that this process holds.
pub(super) struct Lock {
    path: PathBuf,
    _file: File,
}

impl Lock {
    /// Takes the lock with the file `path`, and creates its folder. If another process holds it, calls `on_wait` once and
    /// waits.
    pub(super) fn take(path: &Path, on_wait: &mut dyn FnMut()) -> io::Result<Self> {
        let mut waits = false;
        loop {
            let file = match open(path) {
                // A holder removes the folder, too, if it is empty.
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    fs::create_dir_all(path.parent().unwrap_or(path))?;
                    continue;
                }
                file => file?,
            };
            match file.try_lock() {
                // A lock on a file that its last holder has removed is not seen by others.
                Ok(()) if is_at(&file, path)? => return Ok(Self { path: path.to_owned(), _file: file }),
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    if !waits {
                        on_wait();
                    }
                    waits = true;
                    thread::sleep(PAUSE);
                }
                Err(TryLockError::Error(error)) => return Err(error),
            }
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // A file that stays is the next holder's.
        let _ = fs::remove_file(&self.path);
    }
}

fn open(path: &Path) -> io::Result<File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    File::options().write(true).create(true).truncate(false).custom_flags(flags.bits() as i32).open(path)
}

/// Whether an open file is still the one at its path.
fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let ours = file.metadata()?;
    match fs::symlink_metadata(path) {
        Ok(there) => Ok((there.dev(), there.ino()) == (ours.dev(), ours.ino())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}
