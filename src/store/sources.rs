//! Digests of files and folders outside the store: the data that stages read.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::hashing::Watched;
use super::memo::{Hashed, Stamp};
use super::walk::Walk;
use super::{Digest, Store, StoreError};

/// A file or folder outside the store, as it was at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source {
    /// The hash of its content.
    pub digest: Digest,
    /// The hash of the sizes and times of its files, its folders, and the links that lead to them.
    times: Digest,
}

/// A difference between two moments of a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It has other content.
    Content,
    /// It has the same content with other times. It may have had other content between the two moments.
    Times,
}

impl Source {
    /// How the source has changed between this moment and a later one.
    ///
    /// The system sets the change time of a file whenever its content, its name or its times change. So equal times show
    /// that the content was the same all the while, unless it changed there and back within one tick of the clock.
    pub fn change(&self, later: &Self) -> Option<Change> {
        match () {
            () if self.digest != later.digest => Some(Change::Content),
            () if self.times != later.times => Some(Change::Times),
            () => None,
        }
    }
}

impl Store {
    /// Reads a file or a folder outside the store. The digests of unchanged files are remembered.
    ///
    /// The digest of a file is the hash of its bytes. The digest of a folder covers the relative path, size and digest of
    /// every file below it, including hidden files. It does not cover times, permissions and empty folders. Links are
    /// followed, but not in circles, and not if they lead to one folder in more than 100 ways.
    pub fn source(&self, path: &Path) -> Result<Source, StoreError> {
        self.source_for(path, &self.watched)
    }

    /// Like [`Store::source`], after a stage has read it: a stop does not undo what is computed.
    pub fn source_again(&self, path: &Path) -> Result<Source, StoreError> {
        self.source_for(path, &Watched::default())
    }

    fn source_for(&self, path: &Path, watched: &Watched) -> Result<Source, StoreError> {
        // The times come first: a change while the files are hashed must not have the new times.
        let mut walk = Walk::of(path, watched)?;
        let times = digest_times(&mut walk.stamps);
        let _begun = watched.begin(path, walk.bytes);
        let digest = match walk.files.as_slice() {
            [file] if file == path => self.sources.hash(path, watched)?.digest,
            files => self.digest_folder(path, files, watched)?,
        };
        Ok(Source { digest, times })
    }

    /// The digest of a file or folder outside the store, see [`Store::source`].
    #[cfg(test)]
    fn digest_source(&self, path: &Path) -> Result<Digest, StoreError> {
        self.source(path).map(|source| source.digest)
    }

    fn digest_folder(
        &self,
        folder: &Path,
        files: &[PathBuf],
        watched: &Watched,
    ) -> Result<Digest, StoreError> {
        let named =
            |path: &PathBuf| path.strip_prefix(folder).unwrap_or(path).as_os_str().as_bytes().to_owned();
        let hash = |path: &PathBuf| self.sources.hash(path, watched).map(|hashed| (named(path), hashed));
        let mut listing: Vec<(Vec<u8>, Hashed)> = files.par_iter().map(hash).collect::<Result<_, _>>()?;
        listing.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        Ok(digest_listing(&listing))
    }
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

/// Hashes the paths, sizes and times of everything that a source depends on.
///
/// Devices and inodes are left out: some network file systems number their files anew.
fn digest_times(stamps: &mut [(PathBuf, Stamp)]) -> Digest {
    stamps.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
    let mut hasher = blake3::Hasher::new();
    for (path, stamp) in stamps {
        let path = path.as_os_str().as_bytes();
        hasher.update(&(path.len() as u64).to_le_bytes());
        hasher.update(path);
        hasher.update(&stamp.size_and_times());
    }
    hasher.finalize().into()
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File, FileTimes};
    use std::os::unix::fs::symlink;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::{Duration, Instant};

    use super::*;
    use crate::store::HashWatch;

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

    /// A new tick of the clock of file times.
    fn tick() {
        std::thread::sleep(Duration::from_millis(20));
    }

    #[test]
    fn content_that_was_exchanged_and_put_back_shows_in_the_times() {
        let (_folder, store, data) = fixture();
        let look = || store.source(&data).unwrap();
        let before = look();
        assert_eq!(before.change(&look()), None);

        tick();
        fs::write(data.join("sub/b"), "new").unwrap();
        assert_eq!(before.change(&look()), Some(Change::Content));
        fs::write(data.join("sub/b"), "two").unwrap();
        assert_eq!(before.change(&look()), Some(Change::Times), "written and written back");

        let before = look();
        tick();
        fs::rename(&data, data.with_extension("away")).unwrap();
        fs::create_dir(&data).unwrap();
        fs::remove_dir(&data).unwrap();
        fs::rename(data.with_extension("away"), &data).unwrap();
        assert_eq!(before.change(&look()), Some(Change::Times), "renamed and renamed back");

        let before = look();
        tick();
        let (file, modified) = (data.join("a"), fs::metadata(data.join("a")).unwrap().modified().unwrap());
        fs::write(&file, "xxx").unwrap();
        fs::write(&file, "one").unwrap();
        let times = FileTimes::new().set_modified(modified);
        File::options().write(true).open(&file).unwrap().set_times(times).unwrap();
        assert_eq!(before.change(&look()), Some(Change::Times), "with the old modification time");
    }

    #[test]
    fn a_link_that_led_elsewhere_meanwhile_shows_in_the_times() {
        let (_folder, store, data) = fixture();
        let (other, link) = (data.with_extension("other"), data.with_extension("link"));
        fs::create_dir(&other).unwrap();
        fs::write(other.join("a"), "other").unwrap();
        let lead = |to: &Path| {
            tick();
            let _ = fs::remove_file(&link);
            symlink(to, &link).unwrap();
        };
        lead(&data);
        let by_way_of_link = link.join("sub");
        let before = [&link, &by_way_of_link].map(|path| store.source(path).unwrap());
        lead(&other);
        lead(&data);
        let after = [&link, &by_way_of_link].map(|path| store.source(path).unwrap());
        for (before, after) in before.iter().zip(&after) {
            assert_eq!(before.change(after), Some(Change::Times));
        }
    }

    #[test]
    fn a_folder_that_two_links_lead_to_counts_twice() {
        let (_folder, store, data) = fixture();
        let (linked, copied) = (data.with_extension("linked"), data.with_extension("copied"));
        for name in ["train", "test"] {
            fs::create_dir_all(copied.join(name).join("sub")).unwrap();
            fs::copy(data.join("a"), copied.join(name).join("a")).unwrap();
            fs::copy(data.join("sub/b"), copied.join(name).join("sub/b")).unwrap();
            fs::create_dir_all(&linked).unwrap();
            symlink(&data, linked.join(name)).unwrap();
        }
        assert_eq!(store.digest_source(&linked).unwrap(), store.digest_source(&copied).unwrap());
    }

    #[test]
    fn links_that_multiply_the_ways_to_a_folder_are_refused_at_once() {
        let (_folder, store, data) = fixture();
        let level = |n: usize| data.join(format!("level-{n}"));
        for n in 0..22 {
            fs::create_dir(level(n)).unwrap();
        }
        for n in 0..21 {
            symlink(level(n + 1), level(n).join("left")).unwrap();
            symlink(level(n + 1), level(n).join("right")).unwrap();
        }
        let start = Instant::now();
        let refused = store.digest_source(&data).unwrap_err().to_string();
        assert!(refused.contains("links lead to this folder in more than 100 ways"), "{refused}");
        assert!(start.elapsed() < Duration::from_secs(1));
    }

    /// Stops once it has seen some bytes.
    #[derive(Default)]
    struct StopAfter(AtomicU64);

    impl HashWatch for StopAfter {
        fn hashed(&self, bytes: u64) {
            self.0.fetch_add(bytes, Ordering::Relaxed);
        }

        fn stopped(&self) -> bool {
            self.0.load(Ordering::Relaxed) > 0
        }
    }

    #[test]
    fn hashing_stops_in_the_middle_of_a_file() {
        let (_folder, mut store, data) = fixture();
        let watch = Arc::new(StopAfter::default());
        store.watch(Arc::clone(&watch) as Arc<dyn HashWatch>);
        fs::write(data.join("a"), vec![0; 10 << 20]).unwrap();
        assert!(matches!(store.digest_source(&data.join("a")), Err(StoreError::Stopped)));
        assert!(watch.0.load(Ordering::Relaxed) < 1 << 20);
    }
}
