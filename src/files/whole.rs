//! Files and folders that are written whole or not at all.
//!
//! Everything is filled under a temporary name beside its own, and renamed. Errors never contain the temporary name.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use tempfile::NamedTempFile;

use super::beneath::{Durability, Folder, TEMPORARY, without_path};

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
/// The file cannot be written, or `path` is a device, a pipe or a folder. Then `path` is unchanged.
pub fn write_whole_with(
    path: &Path,
    durability: Durability,
    write: impl FnOnce(&mut File) -> io::Result<()>,
) -> io::Result<()> {
    refuse_special(path)?;
    let folder = path.parent().unwrap_or(Path::new(""));
    Folder::create(folder)?.write_whole_with(path, durability, write)
}

/// Creates the file `path` with `bytes`; see [`create_whole_with`].
///
/// # Errors
///
/// Those of [`create_whole_with`].
pub fn create_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    create_whole_with(path, |file| file.write_all(bytes))
}

/// Lets `write` fill a temporary file next to `path`, and gives it that name, which must be free. A power cut cannot
/// take it away again. Creates the folder if it is missing.
///
/// # Errors
///
/// `path` exists, or the file cannot be written. Then nothing is left behind.
pub fn create_whole_with(path: &Path, write: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
    within(folder_of(path), |folder| {
        // It is opened before the file has its name: what fails then leaves nothing behind.
        let opened = File::open(folder)?;
        filled(folder, write)?.persist_noclobber(path)?;
        opened.sync_all().inspect_err(|_| drop(fs::remove_file(path)))
    })
}

/// Lets `fill` write files into a temporary folder next to `path`, and gives it that name, which must be free. A power
/// cut cannot take it away again. Creates the folder around it if it is missing.
///
/// # Errors
///
/// `path` exists, or a file cannot be written. Then nothing is left behind.
pub fn create_whole_folder<T>(path: &Path, fill: impl FnOnce(&Path) -> io::Result<T>) -> io::Result<T> {
    within(folder_of(path), |around| {
        let open_to_others = Permissions::from_mode(0o777);
        let made = tempfile::Builder::new().prefix(TEMPORARY).permissions(open_to_others).tempdir_in(around);
        let made = made.map_err(without_path)?;
        // It is opened before the first write: a later sync then reports the errors of all of them.
        let opened = File::open(made.path())?;
        let done = fill(made.path())?;
        rustix::fs::syncfs(&opened)?;
        if path.symlink_metadata().is_ok() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let parent = File::open(around)?;
        // A file or a full folder of that name, made in the meantime, lets this fail.
        fs::rename(made.path(), path)?;
        let _renamed = made.keep();
        parent.sync_all().inspect_err(|_| drop(fs::remove_dir_all(path)))?;
        Ok(done)
    })
}

/// Checks that a file could be written at `path`, before the work whose result it holds. This writes nothing.
///
/// # Errors
///
/// `path` is a device, a pipe or a folder, its name is too long, or its folder cannot be created or written.
pub fn check_writable(path: &Path) -> io::Result<()> {
    refuse_special(path)?;
    let exists = |folder: &&Path| !folder.as_os_str().is_empty() && folder.symlink_metadata().is_ok();
    let folder = folder_of(path).ancestors().find(exists).unwrap_or(Path::new("."));
    let access = rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK;
    Ok(rustix::fs::access(folder, access)?)
}

/// The folder that a path lies in.
fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Creates `folder` if it is missing, and works in it. If the work fails, the folders that this created are removed.
fn within<T>(folder: &Path, work: impl FnOnce(&Path) -> io::Result<T>) -> io::Result<T> {
    let missing = |folder: &&Path| !folder.as_os_str().is_empty() && folder.symlink_metadata().is_err();
    let missing: Vec<&Path> = folder.ancestors().take_while(missing).collect();
    let done = fs::create_dir_all(folder).and_then(|()| work(folder));
    if done.is_err() {
        // One that is not empty stays.
        missing.into_iter().for_each(|folder| drop(fs::remove_dir(folder)));
    }
    done
}

/// A temporary file in `folder` with its content, synced.
fn filled(folder: &Path, write: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<NamedTempFile> {
    // Temporary files are private by default; these are not (the umask still applies).
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(true).mode(0o666);
    let file = tempfile::Builder::new().prefix(TEMPORARY).make_in(folder, |path| options.open(path));
    let mut file = file.map_err(without_path)?;
    write(file.as_file_mut())?;
    file.as_file().sync_all()?;
    Ok(file)
}

/// A rename would put a file in the place of a device or a pipe.
fn refuse_special(path: &Path) -> io::Result<()> {
    match path.symlink_metadata() {
        Ok(found) if found.is_dir() => Err(io::ErrorKind::IsADirectory.into()),
        Ok(found) if !found.is_file() && !found.is_symlink() => {
            Err(io::Error::other("it is a device, a pipe or a socket; only files are written"))
        }
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
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

    #[test]
    fn a_device_is_not_replaced_and_a_folder_is_named_as_one() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        let mode = rustix::fs::Mode::from_bits_retain(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        let refused = write_whole(&pipe, Durability::Unsynced, b"").unwrap_err();
        assert!(refused.to_string().contains("a pipe"), "{refused}");
        let refused = write_whole(folder.path(), Durability::Unsynced, b"").unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::IsADirectory);
    }

    #[test]
    fn what_cannot_be_written_is_found_without_writing() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("file"), "").unwrap();
        std::os::unix::fs::symlink("gone", path("link")).unwrap();
        for name in ["file", "new", "not made yet/new"] {
            check_writable(&path(name)).unwrap();
        }
        for name in ["file/new", "link/new", ".", &"x".repeat(300)] {
            assert!(check_writable(&path(name)).is_err(), "{name}");
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }

    #[test]
    fn a_new_file_replaces_none_and_failure_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b/file");
        let full = |file: &mut File| {
            file.write_all(b"half")?;
            Err(io::ErrorKind::StorageFull.into())
        };
        create_whole_with(&path, full).unwrap_err();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        create_whole(&path, b"one").unwrap();
        assert_eq!(create_whole(&path, b"two").unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read_to_string(&path).unwrap(), "one");
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn a_folder_is_there_with_all_of_its_files_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/pictures");
        let failed = create_whole_folder(&path, |folder| {
            fs::write(folder.join("1"), "x")?;
            Err::<(), _>(io::ErrorKind::StorageFull.into())
        });
        assert_eq!(failed.unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        let fill = |folder: &Path| fs::write(folder.join("1"), "x");
        create_whole_folder(&path, fill).unwrap();
        assert_eq!(fs::read_to_string(path.join("1")).unwrap(), "x");
        assert_eq!(create_whole_folder(&path, fill).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }
}
