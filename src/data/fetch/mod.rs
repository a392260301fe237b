//! Public data sets on this machine: which there are, where they lie, and how to get one.
//!
//! A file is downloaded to a `.part` that a later attempt goes on with, checked against the MD5 sum that its
//! publisher gives, and unpacked in a folder of its own that is then renamed: a data set is there whole or not at
//! all. This is the only module that talks to a network, and only when asked to.

mod catalog;
mod download;
mod unpack;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

pub use catalog::{Archive, CATALOG, Packing, PublicDataset, find};

/// Why a data set could not be fetched; the message says what to do.
#[derive(Debug, Error)]
pub enum FetchError {
    /// A file or folder could not be read or written.
    #[error("cannot {action} `{}`: {source}", path.display())]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// No server gave the file as it was published.
    #[error("{}\nhint: the same command goes on from here; --url names another server", .0.join("\n"))]
    Servers(Vec<String>),
    /// An archive cannot be unpacked, or would write outside of its folder.
    #[error("{}: {why}; nothing was unpacked", archive.display())]
    Unfit {
        /// The archive.
        archive: PathBuf,
        /// Why.
        why: String,
    },
    /// Something else is in the place of the data set.
    #[error("`{}` is there, but has no `{missing}`\nhint: remove it, or choose another folder with --data-dir", path.display())]
    InTheWay {
        /// The place.
        path: PathBuf,
        /// What the data set would have.
        missing: &'static str,
    },
}

/// How far a fetch is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step<'a> {
    /// A file is being downloaded.
    Downloading {
        /// Which.
        file: &'a str,
        /// Bytes that are here, of earlier attempts too.
        done: u64,
        /// Bytes of the file, if the server says so.
        total: Option<u64>,
    },
    /// The connection was lost and is made again.
    Again {
        /// Which file.
        file: &'a str,
    },
    /// An archive is being unpacked.
    Unpacking {
        /// Which.
        file: &'a str,
    },
}

impl PublicDataset {
    /// Where the data set lies below a data folder: the `path` of a manifest.
    pub fn path(&self, data: &Path) -> PathBuf {
        data.join(self.folder)
    }

    /// Whether it lies there, by the files that its reader needs.
    pub fn is_present(&self, data: &Path) -> bool {
        self.missing(&self.path(data)).is_none()
    }

    fn missing(&self, path: &Path) -> Option<&'static str> {
        self.files.iter().find(|file| !path.join(file).exists()).copied()
    }

    /// Downloads and unpacks the data set, from one of `servers` (URLs of folders) or, if there are none, from where it
    /// was published. Returns whether there was anything to do.
    pub fn fetch(
        &self,
        data: &Path,
        servers: &[String],
        on_step: &mut dyn FnMut(Step<'_>),
    ) -> Result<bool, FetchError> {
        let path = self.path(data);
        match self.missing(&path) {
            None => return Ok(false),
            Some(missing) if path.exists() => return Err(FetchError::InTheWay { path, missing }),
            Some(_) => {}
        }
        let downloads = data.join(".downloads");
        fs::create_dir_all(&downloads).tried("create folder", &downloads)?;
        let published = [self.url.to_owned()];
        let servers = if servers.is_empty() { &published } else { servers };
        for archive in self.archives {
            download::download(archive, &downloads, servers, on_step)?;
        }
        self.put_in_place(data, &downloads, on_step)?;
        for archive in self.archives {
            // What cannot be removed only takes room.
            let _ = fs::remove_file(downloads.join(archive.name));
        }
        let _ = fs::remove_dir(&downloads);
        Ok(true)
    }

    /// Unpacks the archives in a folder of their own, and renames it.
    fn put_in_place(
        &self,
        data: &Path,
        downloads: &Path,
        on_step: &mut dyn FnMut(Step<'_>),
    ) -> Result<(), FetchError> {
        let unpacked = tempfile::Builder::new().prefix(".unpacking.").tempdir_in(data);
        let unpacked = unpacked.tried("create a folder in", data)?;
        for archive in self.archives {
            on_step(Step::Unpacking { file: archive.name });
            unpack::unpack(archive, &downloads.join(archive.name), unpacked.path())?;
        }
        let whole = unpacked.path().join(self.inside);
        if let Some(missing) = self.missing(&whole) {
            let why = format!("there is no `{missing}` in it");
            return Err(FetchError::Unfit { archive: downloads.join(self.archives[0].name), why });
        }
        let path = self.path(data);
        fs::rename(&whole, &path).tried("create", &path)
    }
}

/// Says what was tried, and on what, when an I/O operation fails.
trait Tried<T> {
    /// Turns an I/O error into a [`FetchError`]; `action` is a verb.
    fn tried(self, action: &'static str, path: &Path) -> Result<T, FetchError>;
}

impl<T> Tried<T> for io::Result<T> {
    fn tried(self, action: &'static str, path: &Path) -> Result<T, FetchError> {
        self.map_err(|source| FetchError::Io { action, path: path.to_owned(), source })
    }
}

#[cfg(test)]
mod tests;
