//! Digests of files and folders outside the store: the data that stages read.

use std::fs::{self, Metadata};
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::error::Tried;
use super::memo::{Hashed, Memo};
use super::{Digest, Store, StoreError};

impl Store {
    /// Hashes a file or a folder outside the store. Unchanged files are not read again.
    ///
    /// The digest of a file is the hash of its bytes. The digest of a folder covers the relative path, size and digest of
    /// every file below it, including hidden files. It does not cover times, permissions and empty folders. Links are
    /// followed.
    pub fn digest_source(&self, path: &Path) -> Result<Digest, StoreError> {
        let root = metadata(path)?;
        let mut files = Files::default();
        files.add(path, &root)?;
        if root.is_dir() {
            digest_folder(path, &files.found, &self.sources)
        } else {
            self.sources.hash(path).map(|hashed| hashed.digest)
        }
    }
}

fn digest_folder(folder: &Path, files: &[PathBuf], memo: &Memo) -> Result<Digest, StoreError> {
    let named = |path: &PathBuf| path.strip_prefix(folder).unwrap_or(path).as_os_str().as_bytes().to_owned();
    let hash = |path: &PathBuf| memo.hash(path).map(|hashed| (named(path), hashed));
    let mut listing: Vec<(Vec<u8>, Hashed)> = files.par_iter().map(hash).collect::<Result<_, _>>()?;
    listing.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
    Ok(digest_listing(&listing))
}

/// Hashes the sorted names, sizes and digests of a folder's files.
fn digest_listing(files: &[(Vec<u8>, Hashed)]) -> Digest {
    let mut hasher = blake3::Hasher::new_derive_key("argd-pipe 2026-11 folder v1");
    for (name, Hashed { size, digest }) in files {
        hasher.update(&(name.len() as u64).to_le_bytes());
        hasher.update(name);
        hasher.update(&size.to_le_bytes());
        hasher.update(digest.as_bytes());
    }
    hasher.finalize().into()
}

/// The files below a folder.
#[derive(Default)]
struct Files {
    found: Vec<PathBuf>,
    /// (device, inode) of the folders above the current one: a link back to one of them is a circle.
    above: Vec<(u64, u64)>,
}

impl Files {
    /// Adds a file, or every file below a folder.
    fn add(&mut self, path: &Path, metadata: &Metadata) -> Result<(), StoreError> {
        let unfit = |why| Err(StoreError::SourceUnfit { path: path.to_owned(), why });
        if metadata.is_file() {
            self.found.push(path.to_owned());
            return Ok(());
        }
        if !metadata.is_dir() {
            return unfit("it is neither a file nor a folder");
        }
        let identity = (metadata.dev(), metadata.ino());
        if self.above.contains(&identity) {
            return unfit("a link in it leads back to a folder that contains it");
        }
        self.above.push(identity);
        for entry in fs::read_dir(path).tried("read folder", path)? {
            let below = entry.tried("read folder", path)?.path();
            self.add(&below, &self::metadata(&below)?)?;
        }
        self.above.pop();
        Ok(())
    }
}

fn metadata(path: &Path) -> Result<Metadata, StoreError> {
    match fs::metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Err(StoreError::SourceMissing(path.to_owned())),
        other => other.tried("read", path),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// A store, and a folder with `a` and `sub/b` in it.
    fn fixture() -> (tempfile::TempDir, Store, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("cache")).unwrap();
        let data = folder.path().join("data");
        fs::create_dir_all(data.join("sub")).unwrap();
        fs::write(data.join("a"), "one").unwrap();
        fs::write(data.join("sub/b"), "two").unwrap();
        (folder, store, data)
    }

    #[test]
    fn a_file_is_its_bytes() {
        let (_folder, store, data) = fixture();
        assert_eq!(store.digest_source(&data.join("a")).unwrap(), Digest::of(b"one"));
    }

    #[test]
    fn a_folder_is_the_names_and_contents_of_its_files() {
        let (_folder, store, data) = fixture();
        let digest = || store.digest_source(&data).unwrap();
        let at_first = digest();

        fs::create_dir(data.join("empty")).unwrap();
        assert_eq!(digest(), at_first, "empty folders do not count");
        fs::rename(data.join("sub/b"), data.join("sub/c")).unwrap();
        assert_ne!(digest(), at_first, "names count");
        fs::rename(data.join("sub/c"), data.join("sub/b")).unwrap();
        assert_eq!(digest(), at_first, "places and times do not count");
        fs::write(data.join("a"), "two").unwrap();
        fs::write(data.join("sub/b"), "one").unwrap();
        assert_ne!(digest(), at_first, "which file holds what counts");
        fs::rename(&data, data.with_extension("moved")).unwrap();
        assert!(matches!(store.digest_source(&data), Err(StoreError::SourceMissing(path)) if path == data));
    }

    #[test]
    fn links_are_followed_but_not_in_circles() {
        let (_folder, store, data) = fixture();
        let copy = data.with_extension("linked");
        symlink(&data, &copy).unwrap();
        assert_eq!(store.digest_source(&copy).unwrap(), store.digest_source(&data).unwrap());
        symlink(&data, data.join("sub/back")).unwrap();
        assert!(matches!(store.digest_source(&data), Err(StoreError::SourceUnfit { .. })));
    }

    #[test]
    fn what_is_no_file_is_refused() {
        let (_folder, store, _) = fixture();
        assert!(matches!(store.digest_source(Path::new("/dev/null")), Err(StoreError::SourceUnfit { .. })));
    }
}
