//! Public data sets: the catalog, their paths, and their download.
//!
//! A file is downloaded to a `.part` file, which a later attempt resumes, and checked against the MD5 sum of its publisher.
//! It is unpacked in its own folder, which is then renamed. So a data set is complete or missing. A lock lets one process
//! fetch a data set; the next one removes what an interrupted process left. This is the only module that uses the
//! network, and only `argd-pipe data fetch` calls it.

mod catalog;
mod download;
mod lock;
mod part;
mod unpack;

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

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
    /// A file of an earlier download is something else. Its content would be written elsewhere.
    #[error("`{}` is a link or a special file", path.display())]
    #[diagnostic(help("remove it; the same command creates it again"))]
    Special {
        /// The file or folder.
        path: PathBuf,
    },
}

/// Where to download from.
#[derive(Clone, Copy, Debug)]
pub struct Servers<'a> {
    /// URLs of folders, in the order in which they are tried. Without any, the publisher's folder is used.
    pub urls: &'a [String],
    /// How long to wait for a server that does not answer or sends nothing.
    pub patience: Duration,
}

/// The folder of downloads in a data folder.
const DOWNLOADS: &str = ".downloads";
/// How the names of folders begin in which archives are unpacked. The name of the data set follows, and a random part.
const UNPACKING: &str = ".unpacking.";

/// The progress of a download.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step<'a> {
    /// Another process fetches the same data set; this one waits for it.
    Waiting,
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

    /// Downloads and unpacks the data set. Returns `false` if the data set already exists. If another process fetches it,
    /// waits for that process.
    pub fn fetch(
        &self,
        data: &Path,
        servers: Servers<'_>,
        on_step: &mut dyn FnMut(Step<'_>),
    ) -> Result<bool, FetchError> {
        if self.exists(data)? {
            return Ok(false);
        }
        let downloads = data.join(DOWNLOADS);
        let fetched = self.fetch_alone(data, &downloads, servers, on_step);
        // It stays if it is not empty: a later command resumes the download.
        let _ = fs::remove_dir(&downloads);
        fetched
    }

    /// Whether the data set exists; an error if its folder is something else.
    fn exists(&self, data: &Path) -> Result<bool, FetchError> {
        let path = self.path(data);
        match self.missing(&path) {
            None => Ok(true),
            Some(missing) if path.exists() => Err(FetchError::InTheWay { path, missing }),
            Some(_) => Ok(false),
        }
    }

    /// Fetches the data set while no other process does.
    fn fetch_alone(
        &self,
        data: &Path,
        downloads: &Path,
        servers: Servers<'_>,
        on_step: &mut dyn FnMut(Step<'_>),
    ) -> Result<bool, FetchError> {
        create_folder(downloads)?;
        let lock = downloads.join(format!("{}.lock", self.name));
        let _lock = lock::Lock::take(&lock, &mut || on_step(Step::Waiting)).tried("lock", &lock)?;
        if self.exists(data)? {
            return Ok(false);
        }
        self.remove_unfinished(data)?;
        let published = [self.url.to_owned()];
        let urls = if servers.urls.is_empty() { &published } else { servers.urls };
        for archive in self.archives {
            download::download(archive, downloads, &Servers { urls, ..servers }, on_step)?;
        }
        self.put_in_place(data, downloads, on_step)?;
        for archive in self.archives {
            // An archive that cannot be removed only takes space.
            let _ = fs::remove_file(downloads.join(archive.name));
        }
        Ok(true)
    }

    /// Removes the folders that interrupted processes left. Only the holder of the lock has one.
    fn remove_unfinished(&self, data: &Path) -> Result<(), FetchError> {
        for entry in fs::read_dir(data).tried("read", data)? {
            let entry = entry.tried("read", data)?;
            let name = entry.file_name();
            let Some(rest) = name.to_str().and_then(|name| name.strip_prefix(UNPACKING)) else { continue };
            // Version 0.1.0 did not write the name of the data set.
            if rest.strip_prefix(self.name).is_some_and(|rest| rest.starts_with('.')) || !rest.contains('.') {
                let path = entry.path();
                fs::remove_dir_all(&path).tried("remove", &path)?;
            }
        }
        Ok(())
    }

    /// Unpacks the archives in a new folder, and renames it.
    fn put_in_place(
        &self,
        data: &Path,
        downloads: &Path,
        on_step: &mut dyn FnMut(Step<'_>),
    ) -> Result<(), FetchError> {
        let prefix = format!("{UNPACKING}{}.", self.name);
        let unpacked = tempfile::Builder::new().prefix(&prefix).tempdir_in(data);
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
        // Thousands of files: one sync of the file system takes less time than one of each file.
        let synced = File::open(&whole).and_then(|folder| Ok(rustix::fs::syncfs(folder)?));
        synced.and_then(|()| fs::rename(&whole, &path)).tried("create", &path)
    }
}

/// Unpacks an archive that was not checked. Only the fuzz targets call it.
#[doc(hidden)]
pub fn unpack_untrusted(packing: Packing, archive: &Path, folder: &Path) -> Result<(), FetchError> {
    unpack::unpack(&Archive { name: "archive", md5: "", max_bytes: 0, packing }, archive, folder)
}

/// Creates a folder, unless it exists. A link to a folder is refused.
fn create_folder(path: &Path) -> Result<(), FetchError> {
    fs::create_dir_all(path).tried("create folder", path)?;
    let is_folder = fs::symlink_metadata(path).tried("read", path)?.is_dir();
    if is_folder { Ok(()) } else { Err(FetchError::Special { path: path.to_owned() }) }
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
