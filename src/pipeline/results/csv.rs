//! Writing a CSV file, whole or not at all.

use std::io::{self, Write};
use std::path::Path;

/// A header and rows as CSV.
pub(super) fn encode<'a>(header: &[String], rows: impl Iterator<Item = &'a [String]>) -> io::Result<Vec<u8>> {
    let mut csv = csv::Writer::from_writer(vec![]);
    csv.write_record(header)?;
    for row in rows {
        csv.write_record(row)?;
    }
    csv.into_inner().map_err(csv::IntoInnerError::into_error)
}

/// Replaces a file, making its folder if need be.
///
/// The rename is what replaces it. Syncing before it keeps a power cut from leaving an empty file under the new name.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)?;
    let mut file =
        tempfile::Builder::new().prefix(".results.").permissions(readable_by_all()).tempfile_in(folder)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    Ok(())
}

/// Temporary files are private by default; results are not (the umask still applies).
fn readable_by_all() -> std::fs::Permissions {
    use std::os::unix::fs::PermissionsExt;
    std::fs::Permissions::from_mode(0o666)
}
