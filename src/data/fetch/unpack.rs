//! Unpacks archives, and never writes outside of the given folder.
//!
//! Only files and folders with plain relative paths are unpacked, up to a limit on their number and their bytes. A link, a
//! special file, `..` or an absolute path makes the whole archive invalid.

use std::fs::{self, File};
use std::io::{self, BufReader, Read, Seek};
use std::path::{Component, Path, PathBuf};

use flate2::read::GzDecoder;
use zip::ZipArchive;

use super::{Archive, FetchError, Packing, Tried};
use crate::files::open_regular;

/// The limit on unpacked bytes: more than any data set here.
const MAX_BYTES: u64 = 4 << 30;
/// The limit on the number of files and folders: more than any data set here.
const MAX_ENTRIES: u64 = 500_000;

/// Unpacks an archive into a folder, or moves a file that is not packed there.
pub(super) fn unpack(archive: &Archive, path: &Path, folder: &Path) -> Result<(), FetchError> {
    let open = || open_regular(path).map(BufReader::new).tried("read", path);
    let target = Target { archive: path, folder, bytes: MAX_BYTES, entries: MAX_ENTRIES };
    match archive.packing {
        Packing::None => {
            let place = folder.join(archive.name);
            fs::rename(path, &place).tried("create", &place)
        }
        Packing::TarGz => untar(GzDecoder::new(open()?), target),
        Packing::Zip => unzip(open()?, target),
    }
}

fn untar(source: impl Read, mut target: Target<'_>) -> Result<(), FetchError> {
    let mut archive = tar::Archive::new(source);
    // Raw: the crate would read long names and extended headers into memory, whatever size they declare.
    let entries = archive.entries().map_err(|error| target.damaged(&error))?.raw(true);
    for entry in entries {
        let mut entry = entry.map_err(|error| target.damaged(&error))?;
        let name = entry.path().map_err(|error| target.damaged(&error))?.into_owned();
        target.count()?;
        match entry.header().entry_type() {
            tar::EntryType::Directory => target.folder(&name)?,
            tar::EntryType::Regular => target.file(&name, &mut entry)?,
            // Times and comments. A name in it is longer than that of any file here.
            tar::EntryType::XHeader | tar::EntryType::XGlobalHeader => {}
            _ => return Err(target.refused(&name)),
        }
    }
    Ok(())
}

fn unzip(source: impl Read + Seek, mut target: Target<'_>) -> Result<(), FetchError> {
    let mut archive = ZipArchive::new(source).map_err(|error| target.damaged(&error))?;
    for index in 0..archive.len() {
        target.count()?;
        let mut entry = archive.by_index(index).map_err(|error| target.damaged(&error))?;
        let name = PathBuf::from(&*entry.name().map_err(|error| target.damaged(&error))?);
        if entry.is_dir() {
            target.folder(&name)?;
        } else if entry.is_symlink() {
            return Err(target.refused(&name));
        } else {
            target.file(&name, &mut entry)?;
        }
    }
    Ok(())
}

/// The folder of an unpacked archive.
struct Target<'a> {
    archive: &'a Path,
    folder: &'a Path,
    /// How many more bytes are allowed.
    bytes: u64,
    /// How many more files and folders are allowed.
    entries: u64,
}

impl Target<'_> {
    /// Counts a file or folder.
    fn count(&mut self) -> Result<(), FetchError> {
        let left = self.entries.checked_sub(1);
        self.entries = left.ok_or_else(|| self.unfit("it has more than 500,000 files and folders"))?;
        Ok(())
    }

    fn folder(&self, name: &Path) -> Result<(), FetchError> {
        let path = self.place(name)?;
        fs::create_dir_all(&path).tried("create folder", &path)
    }

    fn file(&mut self, name: &Path, content: &mut dyn Read) -> Result<(), FetchError> {
        let path = self.place(name)?;
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).tried("create folder", folder)?;
        }
        let mut file = File::create(&path).tried("create", &path)?;
        let mut limited = content.take(self.bytes + 1);
        let written = match io::copy(&mut limited, &mut file) {
            Ok(written) => written,
            // The kind distinguishes a damaged archive from a disk error.
            Err(error)
                if matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) =>
            {
                return Err(error).tried("write", &path);
            }
            Err(error) => return Err(self.damaged(&error)),
        };
        let left = self.bytes.checked_sub(written);
        self.bytes = left.ok_or_else(|| self.unfit("it unpacks to more than 4 GiB"))?;
        Ok(())
    }

    /// The path of an entry, if it is inside the folder.
    fn place(&self, name: &Path) -> Result<PathBuf, FetchError> {
        let is_plain = |part| matches!(part, Component::Normal(_) | Component::CurDir);
        // On other systems a backslash separates folders; no data set has one.
        let is_plain = name.components().all(is_plain) && !name.to_string_lossy().contains('\\');
        if is_plain { Ok(self.folder.join(name)) } else { Err(self.refused(name)) }
    }

    fn refused(&self, name: &Path) -> FetchError {
        self.unfit(&format!(
            "its entry `{}` is a link or a special file, or leads out of its folder",
            name.display()
        ))
    }

    fn damaged(&self, error: &dyn std::fmt::Display) -> FetchError {
        self.unfit(&format!("it is damaged ({error})"))
    }

    fn unfit(&self, why: &str) -> FetchError {
        FetchError::Unfit { archive: self.archive.to_owned(), why: why.to_owned() }
    }
}
