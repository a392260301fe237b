//! Unpacks archives, and never writes outside of the given folder.
//!
//! Only files and folders with plain relative paths are unpacked, up to a limit on their bytes. A link, `..` or an absolute
//! path makes the whole archive invalid.

use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::path::{Component, Path, PathBuf};

use flate2::read::GzDecoder;
use zip::ZipArchive;

use super::{Archive, FetchError, Packing, Tried};

/// The limit on unpacked bytes: more than any data set here.
const MAX_BYTES: u64 = 4 << 30;

/// Unpacks an archive into a folder, or moves a file that is not packed there.
pub(super) fn unpack(archive: &Archive, path: &Path, folder: &Path) -> Result<(), FetchError> {
    let target = Target { archive: path, folder, left: MAX_BYTES };
    match archive.packing {
        Packing::None => {
            let place = folder.join(archive.name);
            fs::rename(path, &place).tried("create", &place)
        }
        Packing::TarGz => untar(target),
        Packing::Zip => unzip(target),
    }
}

fn untar(mut target: Target<'_>) -> Result<(), FetchError> {
    let file = File::open(target.archive).tried("read", target.archive)?;
    let mut archive = tar::Archive::new(GzDecoder::new(BufReader::new(file)));
    let entries = archive.entries().map_err(|error| target.damaged(&error))?;
    for entry in entries {
        let mut entry = entry.map_err(|error| target.damaged(&error))?;
        let name = entry.path().map_err(|error| target.damaged(&error))?.into_owned();
        match entry.header().entry_type() {
            tar::EntryType::Directory => target.folder(&name)?,
            tar::EntryType::Regular => target.file(&name, &mut entry)?,
            _ => return Err(target.refused(&name)),
        }
    }
    Ok(())
}

fn unzip(mut target: Target<'_>) -> Result<(), FetchError> {
    let file = File::open(target.archive).tried("read", target.archive)?;
    let mut archive = ZipArchive::new(BufReader::new(file)).map_err(|error| target.damaged(&error))?;
    for index in 0..archive.len() {
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
    left: u64,
}

impl Target<'_> {
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
        let mut limited = content.take(self.left + 1);
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
        self.left =
            self.left.checked_sub(written).ok_or_else(|| self.unfit("it unpacks to more than 4 GiB"))?;
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
        self.unfit(&format!("its entry `{}` is a link, or leads out of its folder", name.display()))
    }

    fn damaged(&self, error: &dyn std::fmt::Display) -> FetchError {
        self.unfit(&format!("it is damaged ({error})"))
    }

    fn unfit(&self, why: &str) -> FetchError {
        FetchError::Unfit { archive: self.archive.to_owned(), why: why.to_owned() }
    }
}
