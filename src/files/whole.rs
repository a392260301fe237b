//! Files that are replaced atomically.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use super::beneath::{Durability, Folder};

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
    let folder = path.parent().unwrap_or(Path::new(""));
    Folder::create(folder)?.write_whole_with(path, durability, write)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

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
    fn others_may_read_it() {
        let folder = tempfile::tempdir().unwrap();
        let [ours, plain] = ["ours", "plain"].map(|name| folder.path().join(name));
        write_whole(&ours, Durability::Unsynced, b"").unwrap();
        fs::write(&plain, "").unwrap();
        let mode = |path| fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode(ours), mode(plain));
    }
}
