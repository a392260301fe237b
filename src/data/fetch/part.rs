//! The downloaded part of a file, which a later attempt resumes.
//!
//! It may have been put there by others, for instance by a clone of a repository. So it is not opened through a link, and
//! only if it is a regular file without another name: otherwise the download would overwrite a file elsewhere.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Seek, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use md5::{Digest, Md5};
use rustix::fs::OFlags;
use rustix::io::Errno;

use super::{FetchError, Tried};

/// An open part.
pub(super) struct Part {
    path: PathBuf,
    file: File,
}

impl Part {
    /// Opens or creates the part at `path`.
    pub(super) fn open(path: PathBuf) -> Result<Self, FetchError> {
        let file = plain(&path, File::options().read(true).append(true).create(true))?;
        Ok(Self { path, file })
    }

    /// The number of bytes.
    pub(super) fn len(&self) -> Result<u64, FetchError> {
        Ok(self.file.metadata().tried("read", &self.path)?.len())
    }

    /// Adds bytes at the end.
    pub(super) fn append(&mut self, bytes: &[u8]) -> Result<(), FetchError> {
        self.file.write_all(bytes).tried("write", &self.path)
    }

    /// Removes all bytes.
    pub(super) fn clear(&self) -> Result<(), FetchError> {
        self.file.set_len(0).tried("write", &self.path)
    }

    /// Waits until the bytes are on the disk.
    pub(super) fn sync(&self) -> Result<(), FetchError> {
        self.file.sync_all().tried("write", &self.path)
    }

    /// The MD5 sum, in hex.
    pub(super) fn md5(&mut self) -> Result<String, FetchError> {
        self.file.rewind().and_then(|()| md5_of(&mut self.file)).tried("read", &self.path)
    }

    /// Gives the part its final name.
    pub(super) fn finish(self, path: &Path) -> Result<(), FetchError> {
        fs::rename(&self.path, path).tried("create", path)
    }

    /// Removes the file unless it has bytes to resume from.
    pub(super) fn remove_if_empty(self) {
        if self.len().is_ok_and(|bytes| bytes == 0) {
            // An empty file that stays does no harm.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// The MD5 sum of the file at `path`, in hex; `None` if there is no file.
pub(super) fn md5_at(path: &Path) -> Result<Option<String>, FetchError> {
    match plain(path, File::options().read(true)) {
        Ok(mut file) => md5_of(&mut file).map(Some).tried("read", path),
        Err(FetchError::Io { source, .. }) if source.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Opens a regular file that is neither a link nor has another name.
fn plain(path: &Path, options: &mut OpenOptions) -> Result<File, FetchError> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let special = || FetchError::Special { path: path.to_owned() };
    let file = match options.custom_flags(flags.bits() as i32).open(path) {
        Err(error) if Errno::from_io_error(&error) == Some(Errno::LOOP) => return Err(special()),
        file => file.tried("open", path)?,
    };
    let metadata = file.metadata().tried("read", path)?;
    if metadata.is_file() && metadata.nlink() == 1 { Ok(file) } else { Err(special()) }
}

fn md5_of(file: &mut dyn Read) -> io::Result<String> {
    let mut sum = Hashing(Md5::new());
    io::copy(file, &mut sum)?;
    Ok(sum.0.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

struct Hashing(Md5);

impl Write for Hashing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
