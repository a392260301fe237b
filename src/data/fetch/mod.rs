//! Public data sets: the catalog, their paths, and their download.
//!
//! A file is downloaded to a `.part` file, which a later attempt resumes, and checked against the MD5 sum of its publisher.
//! It is unpacked in its own folder, which is then renamed. So a data set is complete or missing. This is the only module
//! that uses the network, and only `argd-pipe data fetch` calls it.

mod catalog;
mod download;
mod unpack;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use miette::Diagnostic;
use thiserror::Error;

pub use catalog::{Archive, CATALOG, Packing, PublicDataset, find};

/// Why a data set could not be fetched.
#[derive(Debug, Diagnostic, Error)]
pub enum FetchError {
    /// A file or folder could not be read or written.
    #[error("cannot {action} `{}`: {source}", path.display())]
    Io {
        /// The operation, as a verb.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// No server has the published file.
    #[error("{}", .0.join("\n"))]
    #[diagnostic(help("the same command resumes the download; --url names another server"))]
    Servers(Vec<String>),
    /// An archive cannot be unpacked, or would write outside of its folder.
    #[error("{}: {why}; nothing was unpacked", archive.display())]
    Unfit {
        /// The archive.
        archive: PathBuf,
        /// The cause.
        why: String,
    },
    /// The folder of the data set exists, but is not the data set.
    #[error("`{}` exists, but has no `{missing}`", path.display())]
    #[diagnostic(help("remove it, or choose another folder with --data-dir"))]
    InTheWay {
        /// The folder.
        path: PathBuf,
        /// A file of the data set that it does not have.
        missing: &'static str,
    },
}

/// The progress of a download.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step<'a> {
    /// A file is being downloaded.
    Downloading {
        /// The file.
        file: &'a str,
        /// Downloaded bytes, including those of earlier attempts.
        done: u64,
        /// Bytes of the file, if the server reports them.
        total: Option<u64>,
    },
    /// The connection was lost, and the download resumes.
    Again {
        /// The file.
        file: &'a str,
    },
    /// An archive is being unpacked.
    Unpacking {
        /// The file.
        file: &'a str,
    },
}

impl PublicDataset {
    /// The path of the data set in a data folder: the `path` of a manifest.
    pub fn path(&self, data: &Path) -> PathBuf {
        data.join(self.folder)
    }

    /// Whether the files that its reader needs exist.
    pub fn is_present(&self, data: &Path) -> bool {
        self.missing(&self.path(data)).is_none()
    }

    fn missing(&self, path: &Path) -> Option<&'static str> {
        self.files.iter().find(|file| !path.join(file).exists()).copied()
    }

    /// Downloads and unpacks the data set from one of `servers` (URLs of folders), or from its publisher if there are none.
    /// Returns `false` if the data set already exists.
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
            // An archive that cannot be removed only takes space.
            let _ = fs::remove_file(downloads.join(archive.name));
        }
        let _ = fs::remove_dir(&downloads);
        Ok(true)
    }

    /// Unpacks the archives in a new folder, and renames it.
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
            let why = format!("it contains no `{missing}`");
            return Err(FetchError::Unfit { archive: downloads.join(self.archives[0].name), why });
        }
        let path = self.path(data);
        fs::rename(&whole, &path).tried("create", &path)
    }
}

/// Adds the operation and the path to an I/O error.
trait Tried<T> {
    /// Converts an I/O error to a [`FetchError`]; `action` is a verb.
    fn tried(self, action: &'static str, path: &Path) -> Result<T, FetchError>;
}

impl<T> Tried<T> for io::Result<T> {
    fn tried(self, action: &'static str, path: &Path) -> Result<T, FetchError> {
        self.map_err(|source| FetchError::Io { action, path: path.to_owned(), source })
    }
}

#[cfg(test)]
mod tests;
