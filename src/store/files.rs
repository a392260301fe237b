//! Files and folders, with errors that name them: the shared code of the store's modules.
//!
//! In which order a commit takes these steps is its own, see [`super::commit`].

use std::fs::{self, File, Metadata};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use super::StoreError;
use super::error::Tried;
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

/// Removes a file, unless another process has removed it.
pub(super) fn remove(path: &Path) -> Result<(), StoreError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        other => other.tried("remove", path),
    }
}

/// Replaces a file that costs little to lose. A reader sees the old one or the new one; a power cut may leave none.
pub(super) fn replace(path: &Path, text: &str) -> Result<(), StoreError> {
    write_whole(path, Durability::Unsynced, text.as_bytes()).tried("replace", path)
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

/// Converts the error of a missing file to `None`.
pub(super) fn unless_gone<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        other => other.map(Some),
    }
}
