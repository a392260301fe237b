//! Finds the files of a source: a file, or everything below a folder. Links are followed.
//!
//! A folder that many links lead to is listed once per way to it. Links can multiply the ways without bound, so their
//! number is limited.

use std::collections::{HashMap, HashSet};
use std::fs::{self, Metadata};
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf, absolute};

use super::StoreError;
use super::error::Tried;
use super::hashing::Watched;
use super::memo::Stamp;

/// The number of ways that may lead to one folder.
const WAYS: usize = 100;

/// The number of links in a row that are stamped. The kernel follows 40.
const LINKS: usize = 40;

/// The files of a source, and the stamps of everything that its content depends on.
#[derive(Debug)]
pub(super) struct Walk<'a> {
    watched: &'a Watched,
    /// Every file.
    pub(super) files: Vec<PathBuf>,
    /// The total size of the files.
    pub(super) bytes: u64,
    /// The stamps of the files, their folders, and the links on the way to them.
    pub(super) stamps: Vec<(PathBuf, Stamp)>,
    /// (device, inode) of the folders above the current one: a link back to one of them is a circle.
    above: Vec<(u64, u64)>,
    /// By (device, inode) of a folder: how often it was reached.
    ways: HashMap<(u64, u64), usize>,
    /// Paths that were checked for links.
    checked: HashSet<PathBuf>,
}

impl<'a> Walk<'a> {
    /// Finds the files of a source.
    pub(super) fn of(path: &Path, watched: &'a Watched) -> Result<Self, StoreError> {
        let (files, stamps, above) = (vec![], vec![], vec![]);
        let (ways, checked) = (HashMap::new(), HashSet::new());
        let mut walk = Self { watched, files, bytes: 0, stamps, above, ways, checked };
        let root = metadata(path)?;
        walk.stamp_links(&absolute(path).tried("read", path)?, LINKS);
        walk.add(path, &root)?;
        Ok(walk)
    }

    /// Adds a file, or every file below a folder.
    fn add(&mut self, path: &Path, metadata: &Metadata) -> Result<(), StoreError> {
        self.watched.check()?;
        self.stamps.push((path.to_owned(), Stamp::of(metadata)));
        if metadata.is_dir() {
            return self.add_folder(path, metadata);
        }
        if !metadata.is_file() {
            return Err(unfit(path, "it is neither a file nor a folder"));
        }
        self.files.push(path.to_owned());
        self.bytes += metadata.len();
        Ok(())
    }

    fn add_folder(&mut self, path: &Path, metadata: &Metadata) -> Result<(), StoreError> {
        let identity = (metadata.dev(), metadata.ino());
        if self.above.contains(&identity) {
            return Err(unfit(path, "a link in it leads back to a folder that contains it"));
        }
        let ways = self.ways.entry(identity).or_default();
        *ways += 1;
        if *ways > WAYS {
            return Err(unfit(path, "links lead to this folder in more than 100 ways"));
        }
        self.above.push(identity);
        for entry in fs::read_dir(path).tried("read folder", path)? {
            let entry = entry.tried("read folder", path)?;
            let below = entry.path();
            if entry.file_type().tried("read", &below)?.is_symlink() {
                self.stamp_link(&below, LINKS);
            }
            self.add(&below, &self::metadata(&below)?)?;
        }
        self.above.pop();
        Ok(())
    }

    /// Adds the stamps of all links in a path. What cannot be read is left out: reading the source reports it.
    fn stamp_links(&mut self, path: &Path, left: usize) {
        let mut ways: Vec<&Path> = path.ancestors().collect();
        ways.reverse();
        for way in ways {
            if self.checked.insert(way.to_owned()) {
                self.stamp_link(way, left);
            }
        }
    }

    /// Adds the stamp of a link, and of the links in its target. Does nothing if the path is not a link.
    fn stamp_link(&mut self, path: &Path, left: usize) {
        let (Ok(target), Some(left)) = (fs::read_link(path), left.checked_sub(1)) else { return };
        if let Ok(metadata) = fs::symlink_metadata(path) {
            self.stamps.push((path.to_owned(), Stamp::of(&metadata)));
        }
        if let Some(folder) = path.parent() {
            self.stamp_links(&folder.join(target), left);
        }
    }
}

fn unfit(path: &Path, why: &'static str) -> StoreError {
    StoreError::SourceUnfit { path: path.to_owned(), why }
}

fn metadata(path: &Path) -> Result<Metadata, StoreError> {
    match fs::metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Err(StoreError::SourceMissing(path.to_owned())),
        other => other.tried("read", path),
    }
}
