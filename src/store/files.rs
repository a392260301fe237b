//! Files and folders, with errors that name them: the shared code of the store's modules.
//!
//! In which order a commit takes these steps is its own, see [`super::commit`].

use std::fs::{self, File, Metadata};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use super::error::Tried;
use super::{Digest, StoreError};
use crate::files::{Durability, write_whole};

/// Creates a folder and its parents, unless they exist.
pub(super) fn create_folder(path: &Path) -> Result<(), StoreError> {
    fs::create_dir_all(path).tried("create folder", path)
}

/// Creates the folder of a file, and syncs it to the disk.
pub(super) fn create_shard(file: &Path) -> Result<(), StoreError> {
    let Some(shard) = file.parent() else { return Ok(()) };
    match fs::create_dir(shard) {
        Ok(()) => sync_parent(shard),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error).tried("create folder", shard),
    }
}

/// Syncs the entries of the folder of `path` to the disk: without this, a power cut can undo a rename.
pub(super) fn sync_parent(path: &Path) -> Result<(), StoreError> {
    let Some(folder) = path.parent() else { return Ok(()) };
    File::open(folder).and_then(|folder| folder.sync_all()).tried("sync folder", folder)
}

/// Writes a file and syncs its content to the disk.
pub(super) fn write_synced(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    fs::write(path, bytes).tried("write", path)?;
    File::open(path).and_then(|file| file.sync_all()).tried("write", path)
}

/// Removes a file, or the folder that has taken its place, unless another process has removed it.
pub(super) fn remove(path: &Path) -> Result<(), StoreError> {
    let removed = match fs::remove_file(path) {
        Err(error) if error.kind() == ErrorKind::IsADirectory => fs::remove_dir_all(path),
        other => other,
    };
    unless_gone(removed).map(|_| ()).tried("remove", path)
}

/// Moves a file, or the folder that has taken its place, unless another process has moved it. Replaces whatever is at
/// the new place.
pub(super) fn move_away(path: &Path, place: &Path) -> io::Result<()> {
    match fs::rename(path, place) {
        Err(error) if error.kind() == ErrorKind::NotFound && is_gone(path) => Ok(()),
        // A folder and a file do not replace each other, and the folder of the place may be missing.
        Err(_) => {
            place.parent().map_or(Ok(()), fs::create_dir_all)?;
            let _ = remove(place);
            fs::rename(path, place)
        }
        Ok(()) => Ok(()),
    }
}

fn is_gone(path: &Path) -> bool {
    fs::symlink_metadata(path).is_err_and(|error| error.kind() == ErrorKind::NotFound)
}

/// Whether a file that cannot be read for this reason is damaged, so that it can be set aside and computed again: the
/// disk cannot read it, or something else has its place. A missing permission, a lack of resources and a server that
/// does not answer are no damage.
pub(super) fn is_damage(error: &io::Error) -> bool {
    use ErrorKind::{
        Interrupted, NotFound, OutOfMemory, PermissionDenied, StaleNetworkFileHandle, TimedOut, WouldBlock,
    };
    const LACKS: [Errno; 3] = [Errno::MFILE, Errno::NFILE, Errno::NOMEM];
    let lacks = LACKS.iter().any(|lack| error.raw_os_error() == Some(lack.raw_os_error()));
    let other = matches!(
        error.kind(),
        Interrupted
            | NotFound
            | OutOfMemory
            | PermissionDenied
            | StaleNetworkFileHandle
            | TimedOut
            | WouldBlock
    );
    !lacks && !other
}

/// Replaces a file that costs little to lose. A reader sees the old one or the new one; a power cut may leave none.
pub(super) fn replace(path: &Path, text: &str) -> Result<(), StoreError> {
    write_whole(path, Durability::Unsynced, text.as_bytes()).tried("replace", path)
}

/// Hashes the content of a file. It is read, not mapped: a mapped file that shrinks kills the process.
pub(super) fn hash_file(path: &Path) -> Result<Digest, StoreError> {
    let mut hasher = blake3::Hasher::new();
    let file = File::open(path).tried("read", path)?;
    hasher.update_reader(file).tried("read", path)?;
    Ok(hasher.finalize().into())
}

/// The files in a folder and the folders below it. Other processes may remove files meanwhile.
pub(super) fn files_below(folder: &Path) -> Result<Vec<(PathBuf, Metadata)>, StoreError> {
    let (mut found, mut open) = (vec![], vec![folder.to_owned()]);
    while let Some(folder) = open.pop() {
        let Some(entries) = unless_gone(fs::read_dir(&folder)).tried("read folder", &folder)? else {
            continue;
        };
        for entry in entries {
            let entry = entry.tried("read folder", &folder)?;
            let path = entry.path();
            match unless_gone(entry.metadata()).tried("read", &path)? {
                Some(metadata) if metadata.is_dir() => open.push(path),
                Some(metadata) => found.push((path, metadata)),
                None => {}
            }
        }
    }
    Ok(found)
}

/// What is in the folders of a folder, where objects and records have their places. If a folder or a link has taken a
/// place, it is listed like a file. The metadata is `None` if the disk cannot read it.
pub(super) fn places_below(folder: &Path) -> Result<Vec<(PathBuf, Option<Metadata>)>, StoreError> {
    let mut found = vec![];
    for (shard, metadata) in entries(folder)? {
        if metadata.is_some_and(|metadata| metadata.is_dir()) {
            found.extend(entries(&shard)?);
        }
    }
    Ok(found)
}

/// What is in a folder. Links are not followed.
fn entries(folder: &Path) -> Result<Vec<(PathBuf, Option<Metadata>)>, StoreError> {
    let Some(entries) = unless_gone(fs::read_dir(folder)).tried("read folder", folder)? else {
        return Ok(vec![]);
    };
    let mut found = vec![];
    for entry in entries {
        let entry = entry.tried("read folder", folder)?;
        match unless_gone(entry.metadata()) {
            Ok(None) => {}
            Ok(metadata) => found.push((entry.path(), metadata)),
            Err(error) if is_damage(&error) => found.push((entry.path(), None)),
            Err(error) => return Err(error).tried("read", &entry.path()),
        }
    }
    Ok(found)
}

/// Converts the error of a missing file to `None`.
pub(super) fn unless_gone<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        other => other.map(Some),
    }
}
