//! Opens files that others wrote, for reading.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::OFlags;

/// Opens a regular file. A pipe, a socket or a device is an error at once: opening one can wait forever.
///
/// # Errors
///
/// The file cannot be opened, or is not a regular file.
pub fn open_regular(path: &Path) -> io::Result<File> {
    let file = File::options().read(true).custom_flags(OFlags::NONBLOCK.bits() as i32).open(path)?;
    let kind = file.metadata()?.file_type();
    match () {
        () if kind.is_file() => Ok(file),
        () if kind.is_dir() => Err(io::Error::new(ErrorKind::IsADirectory, "it is a folder")),
        () => Err(io::Error::new(ErrorKind::InvalidInput, "it is not a regular file")),
    }
}

/// Like [`open_regular`], but also opens the pipes that the shell gives to this process: `/dev/stdin`, and the
/// `/dev/fd/63` of `<(command)`.
///
/// # Errors
///
/// Those of [`open_regular`].
pub fn open_regular_or_inherited(path: &Path) -> io::Result<File> {
    let inherited = path == Path::new("/dev/stdin") || path.starts_with("/dev/fd");
    if inherited { File::open(path) } else { open_regular(path) }
}

/// Reads a whole regular file of at most `most` bytes; see [`open_regular`]. A small archive can hold a file of holes that
/// is larger than any memory.
///
/// # Errors
///
/// Those of [`open_regular`], and a larger file.
pub fn read_regular(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    read_limited(open_regular(path)?, most)
}

/// Reads the rest of a file, of at most `most` bytes.
///
/// # Errors
///
/// It cannot be read, or is larger.
pub fn read_limited(file: File, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = vec![];
    file.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return Err(io::Error::new(ErrorKind::FileTooLarge, format!("it has more than {most} bytes")));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use rustix::fs::{CWD, FileType, Mode, mknodat};

    use super::*;

    #[test]
    fn only_regular_files_are_opened_and_nothing_waits() {
        let folder = tempfile::tempdir().unwrap();
        let [file, link, pipe] = ["file", "link", "pipe"].map(|name| folder.path().join(name));
        std::fs::write(&file, "text").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        assert_eq!(read_regular(&file, 4).unwrap(), b"text");
        assert_eq!(read_regular(&link, 4).unwrap(), b"text");
        assert_eq!(read_regular(&file, 3).unwrap_err().to_string(), "it has more than 3 bytes");
        for other in [&pipe, Path::new("/dev/zero")] {
            assert_eq!(read_regular(other, 4).unwrap_err().to_string(), "it is not a regular file");
            assert!(open_regular_or_inherited(other).is_err());
        }
        assert_eq!(read_regular(folder.path(), 4).unwrap_err().to_string(), "it is a folder");
        assert_eq!(read_regular(&folder.path().join("x"), 4).unwrap_err().kind(), ErrorKind::NotFound);
    }
}
