//! Files and folders of the store, with errors that name them: the shared code of its modules.
//!
//! Everything is reached through the open folder of the store, so no link below it is followed; see [`Folder`]. In which
//! order a commit takes these steps is its own, see [`super::commit`].

use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use super::StoreError;
use super::error::Tried;
use crate::files::{Durability, Facts, Folder, Kind};

/// Creates the folder of a file, and syncs it to the disk.
pub(super) fn create_shard(root: &Folder, file: &Path) -> Result<(), StoreError> {
    let Some(shard) = file.parent() else { return Ok(()) };
    match root.new_folder(shard) {
        Ok(()) => sync_parent(root, shard),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error).tried("create folder", shard),
    }
}

/// Syncs the entries of the folder of `path` to the disk: without this, a power cut can undo a rename.
pub(super) fn sync_parent(root: &Folder, path: &Path) -> Result<(), StoreError> {
    let folder = path.parent().unwrap_or(root.path());
    root.folder(folder).and_then(|folder| folder.sync()).tried("sync folder", folder)
}

/// Writes a new file and syncs its content to the disk.
pub(super) fn write_synced(root: &Folder, path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let written = root.create_new(path).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    written.tried("write", path)
}

/// Removes a file, or the folder that has taken its place, unless another process has removed it.
pub(super) fn remove(root: &Folder, path: &Path) -> Result<(), StoreError> {
    unless_gone(root.remove_all(path)).map(drop).tried("remove", path)
}

/// Moves a file, or what has taken its place, unless another process has moved it. Replaces whatever is at the new place.
pub(super) fn move_away(root: &Folder, path: &Path, place: &Path) -> io::Result<()> {
    match root.rename(path, place) {
        Err(error) if error.kind() == ErrorKind::NotFound && unless_gone(root.facts(path))?.is_none() => {
            Ok(())
        }
        // A folder and a file do not replace each other, and the folder of the place may be missing.
        Err(_) => {
            place.parent().map_or(Ok(()), |folder| root.create_folder(folder).map(drop))?;
            let _ = remove(root, place);
            root.rename(path, place)
        }
        Ok(()) => Ok(()),
    }
}

/// Whether a file cannot be written by this user, or by nobody.
pub(super) fn is_refused(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem)
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
pub(super) fn replace(root: &Folder, path: &Path, text: &str) -> Result<(), StoreError> {
    root.write_whole(path, Durability::Unsynced, text.as_bytes()).tried("replace", path)
}

/// The files in a folder and the folders below it. Other processes may remove files meanwhile.
pub(super) fn files_below(root: &Folder, folder: &Path) -> Result<Vec<(PathBuf, Facts)>, StoreError> {
    let (mut found, mut open) = (vec![], vec![folder.to_owned()]);
    while let Some(folder) = open.pop() {
        for (path, facts) in list(root, &folder)? {
            match facts.kind {
                Kind::Folder => open.push(path),
                Kind::File | Kind::Link | Kind::Other => found.push((path, facts)),
            }
        }
    }
    Ok(found)
}

/// What is in the folders of a folder, where objects and records have their places. Whatever has taken a place is listed.
pub(super) fn places_below(root: &Folder, folder: &Path) -> Result<Vec<(PathBuf, Facts)>, StoreError> {
    let mut found = vec![];
    for (shard, facts) in list(root, folder)? {
        if facts.kind == Kind::Folder {
            found.extend(list(root, &shard)?);
        }
    }
    Ok(found)
}

/// What is in a folder; nothing if it is missing.
pub(super) fn list(root: &Folder, folder: &Path) -> Result<Vec<(PathBuf, Facts)>, StoreError> {
    let listed = unless_gone(root.folder(folder).and_then(|folder| folder.list()));
    Ok(listed.tried("read folder", folder)?.unwrap_or_default())
}

/// Converts the error of a missing file to `None`.
pub(super) fn unless_gone<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        other => other.map(Some),
    }
}
