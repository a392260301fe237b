//! The container since PyTorch 1.6: a zip archive of `<prefix>/data.pkl` and a file `<prefix>/data/<key>` for each
//! storage, all stored without compression.

use std::io::{Read, Seek};

use zip::result::ZipError;
use zip::{CompressionMethod, ZipArchive};

use super::pickle::{self, Pickle};
use super::problem::Problem;
use super::tensor::Storage;

/// The entry with the pickle.
pub(super) const PICKLE: &str = "data.pkl";
/// The entry that says `little` or `big`; older files have none and are little-endian.
pub(super) const BYTE_ORDER: &str = "byteorder";
const LITTLE: &[u8] = b"little";

/// An open archive.
#[derive(Debug)]
pub(super) struct Archive<R> {
    zip: ZipArchive<R>,
    /// The prefix of the names of all entries.
    prefix: String,
}

impl<R: Read + Seek> Archive<R> {
    /// Opens an archive and reads its pickle.
    pub fn open(source: R) -> Result<(Pickle, Self), Problem> {
        let zip = ZipArchive::new(source)?;
        if zip.has_duplicate_names() {
            return Problem::format("the zip archive has two entries with the same name");
        }
        let prefix = prefix(&zip)?;
        let mut archive = Self { zip, prefix };
        if archive.has(BYTE_ORDER) && archive.read(BYTE_ORDER)? != LITTLE {
            return Problem::format("its numbers are big-endian");
        }
        let pickle = archive.read(PICKLE)?;
        Ok((pickle::read(pickle.as_slice())?, archive))
    }

    /// Reads the bytes of a storage.
    pub fn storage(&mut self, storage: &Storage) -> Result<Vec<u8>, Problem> {
        self.read(&format!("data/{}", storage.key))
    }

    fn has(&self, name: &str) -> bool {
        self.zip.index_for_name(&format!("{}{name}", self.prefix)).is_some()
    }

    /// Reads an entry; the crate checks its checksum. It is not compressed, so the file is at least as long.
    fn read(&mut self, name: &str) -> Result<Vec<u8>, Problem> {
        let name = format!("{}{name}", self.prefix);
        let mut entry = self.zip.by_name(&name).map_err(|error| match error {
            ZipError::FileNotFound => Problem::Format(format!("the archive has no `{name}`")),
            other => other.into(),
        })?;
        if entry.compression() != CompressionMethod::Stored {
            return Problem::format(format!("`{name}` is compressed, which torch.save never does"));
        }
        let mut bytes = vec![];
        entry.read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}

/// The prefix of the name of the one pickle.
fn prefix<R: Read + Seek>(zip: &ZipArchive<R>) -> Result<String, Problem> {
    let mut prefixes = zip.file_names_raw().filter_map(|name| {
        let prefix = name.strip_suffix(PICKLE.as_bytes())?;
        (prefix.is_empty() || prefix.ends_with(b"/")).then(|| String::from_utf8(prefix.to_owned()))
    });
    match (prefixes.next(), prefixes.next()) {
        (Some(Ok(prefix)), None) => Ok(prefix),
        (None, _) => Problem::format("not written by torch.save: the zip archive has no `data.pkl`"),
        _ => Problem::format("a zip archive with more than one `data.pkl`"),
    }
}
