//! Files that only this user can write: the memos of each cache.
//!
//! A cache may come from elsewhere, and others may write to it. Nothing in it can vouch for its own content. These files
//! are in the user's cache folder (`$XDG_CACHE_HOME`, by default `~/.cache`), which no clone and no colleague writes to.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::flock::host;
use crate::files::{Durability, write_whole};

/// A file that was not written for so long may go: its cache has probably been deleted.
const FORGOTTEN: Duration = Duration::from_secs(180 * 86_400);

/// A file in a folder that only this user can write to. It costs little to lose.
#[derive(Debug)]
pub(super) struct OwnFile {
    folder: PathBuf,
    path: PathBuf,
}

impl OwnFile {
    /// The file at a path.
    pub(super) fn new(path: PathBuf) -> Self {
        Self { folder: path.parent().map(Path::to_owned).unwrap_or_default(), path }
    }

    /// The user's file for a cache folder. `None` if the user has no folder: then nothing is remembered.
    ///
    /// Device and inode numbers are those of one machine, so each machine has its own file.
    pub(super) fn of_cache(cache: &Path, name: &str) -> Option<Self> {
        let cache = cache.canonicalize().or_else(|_| std::path::absolute(cache)).ok()?;
        let mut hasher = blake3::Hasher::new();
        hasher.update(host().as_bytes()).update(&[0]).update(cache.as_os_str().as_bytes());
        let id = hasher.finalize().to_hex();
        Some(Self::new(folder()?.join(format!("{}-{name}", &id[..16]))))
    }

    /// The file.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Its text: empty if it is missing, or if others could have written it.
    pub(super) fn read(&self) -> String {
        if is_own(&self.folder) { fs::read_to_string(&self.path).unwrap_or_default() } else { String::new() }
    }

    /// Replaces the file, and creates its folder.
    pub(super) fn write(&self, text: &str) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)?;
        if !is_own(&self.folder) {
            return Err(io::Error::other("others can write to its folder"));
        }
        if !self.path.exists() {
            forget(&self.folder);
        }
        write_whole(&self.path, Durability::Unsynced, text.as_bytes())
    }
}

/// The folder of the user's files. Unit tests have none, so that they leave nothing there.
fn folder() -> Option<PathBuf> {
    let named = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let caches = named.or_else(|| Some(std::env::home_dir()?.join(".cache")));
    caches.filter(|folder| folder.is_absolute() && !cfg!(test)).map(|folder| folder.join("argd-pipe"))
}

/// Whether only this user can write to a folder.
fn is_own(folder: &Path) -> bool {
    let own = |found: fs::Metadata| {
        found.is_dir() && found.uid() == rustix::process::geteuid().as_raw() && found.mode() & 0o022 == 0
    };
    fs::metadata(folder).is_ok_and(own)
}

/// Removes the files of caches that were not used for long.
fn forget(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let written = entry.metadata().and_then(|metadata| metadata.modified());
        let age = written.map(|written| SystemTime::now().duration_since(written).unwrap_or_default());
        if age.is_ok_and(|age| age > FORGOTTEN) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{File, Permissions};
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_folder_that_others_can_write_to_is_not_believed() {
        let folder = tempfile::tempdir().unwrap();
        let file = OwnFile::new(folder.path().join("not made yet/a.memo"));
        assert_eq!(file.read(), "");
        file.write("text").unwrap();
        assert_eq!(file.read(), "text");
        assert_eq!(fs::metadata(&file.folder).unwrap().mode() & 0o777, 0o700);
        for mode in [0o770, 0o707] {
            fs::set_permissions(&file.folder, Permissions::from_mode(mode)).unwrap();
            assert_eq!(file.read(), "");
            assert!(file.write("other").is_err());
        }
    }

    #[test]
    fn files_of_caches_that_were_given_up_go() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| OwnFile::new(folder.path().join("own").join(name));
        let (old, young) = (at("old"), at("young"));
        old.write("old").unwrap();
        young.write("young").unwrap();
        let long_ago = SystemTime::now() - FORGOTTEN - Duration::from_secs(60);
        File::options().write(true).open(old.path()).unwrap().set_modified(long_ago).unwrap();
        young.write("known").unwrap();
        assert!(old.path().exists(), "a file that exists is replaced, and nothing else happens");
        at("new").write("new").unwrap();
        assert!(!old.path().exists() && young.path().exists());
    }
}
