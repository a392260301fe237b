//! Files that are replaced atomically.

use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// How safe a written file is against a power cut. Other processes always see the old file or the new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Nothing is synced: a power cut may leave an empty file. For files whose loss costs little.
    Unsynced,
    /// The content is synced before the rename: a power cut leaves the old file or the new one.
    Content,
    /// The folder is synced as well, after the rename: a power cut cannot bring the old file back.
    Name,
}

/// Writes `bytes` to `path`; see [`write_whole_with`].
///
/// # Errors
///
/// The file cannot be written. Then `path` is unchanged.
pub fn write_whole(path: &Path, durability: Durability, bytes: &[u8]) -> io::Result<()> {
    write_whole_with(path, durability, |file| file.write_all(bytes))
}

/// Lets `write` fill a temporary file next to `path`, and renames it to `path`. Creates the folder if it is missing.
///
/// # Errors
///
/// The file cannot be written. Then `path` is unchanged.
pub fn write_whole_with(
    path: &Path,
    durability: Durability,
    write: impl FnOnce(&mut File) -> io::Result<()>,
) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    // Temporary files are private by default; these are not (the umask still applies).
    let mut file = tempfile::Builder::new()
        .prefix(".new.")
        .permissions(Permissions::from_mode(0o666))
        .tempfile_in(folder)
        .map_err(without_path)?;
    write(file.as_file_mut())?;
    if durability != Durability::Unsynced {
        file.as_file().sync_all()?;
    }
    file.persist(path)?;
    match durability {
        Durability::Unsynced | Durability::Content => Ok(()),
        Durability::Name => File::open(folder)?.sync_all(),
    }
}

/// An error of a temporary file, without the file's name: nobody knows it. The caller names the file itself.
fn without_path(error: io::Error) -> io::Error {
    let cause = error.get_ref().and_then(|error| error.source()?.downcast_ref::<io::Error>());
    cause.and_then(io::Error::raw_os_error).map_or(error, io::Error::from_raw_os_error)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Durability; 3] = [Durability::Unsynced, Durability::Content, Durability::Name];

    #[test]
    fn a_file_is_made_with_its_folder_and_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("not made yet/file");
        for (durability, text) in ALL.into_iter().zip(["one", "two", "three"]) {
            write_whole(&path, durability, text.as_bytes()).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn a_write_that_fails_leaves_the_old_file_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        write_whole(&path, Durability::Content, b"old").unwrap();
        let failed = write_whole_with(&path, Durability::Content, |file| {
            file.write_all(b"half")?;
            Err(io::Error::other("the disk is full"))
        });
        assert_eq!(failed.unwrap_err().to_string(), "the disk is full");
        assert_eq!(fs::read_to_string(&path).unwrap(), "old");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn an_error_does_not_name_the_temporary_file() {
        // Not even root can create files there.
        let failed = write_whole(Path::new("/proc/self/fdinfo/x"), Durability::Content, b"");
        let error = failed.unwrap_err();
        assert!(!error.to_string().contains(".new."), "{error}");
        assert!(error.raw_os_error().is_some(), "{error}");
    }

    #[test]
    fn others_may_read_it() {
        let folder = tempfile::tempdir().unwrap();
        let [ours, plain] = ["ours", "plain"].map(|name| folder.path().join(name));
        write_whole(&ours, Durability::Unsynced, b"").unwrap();
        fs::write(&plain, "").unwrap();
        let mode = |path| fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode(ours), mode(plain));
    }
}
