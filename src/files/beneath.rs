//! Folders that no path leaves: what is opened, created, renamed, listed or removed through a [`Folder`] is below it.
//!
//! A cache, a data set or a manifest of somebody else can hold links, FIFOs and names like `../x`. A [`Folder`] is an open
//! folder. It walks to a path one name at a time, from the open folder before it, and opens no name that is a link. So
//! a link anywhere below the folder is an error, even if another process plants it meanwhile. Files must be regular files
//! and are opened without waiting: opening a FIFO would wait for a writer.
//!
//! Paths are written in full, as messages name them: `folder.path().join(name)`. Others are refused, see [`name_below`].

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat, mkdirat, openat, renameat, statat, unlinkat};
use rustix::io::Errno;
use thiserror::Error;

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

/// What is wrong with a path below a folder. It is inside of an [`io::Error`]; [`Unfit::of`] finds it there.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Unfit {
    /// A part of the path is a link.
    #[error("`{}` is a link", .0.display())]
    Link(PathBuf),
    /// A file to write has other names, maybe outside of the folder.
    #[error("`{}` has more than one name (hard links)", .0.display())]
    OtherNames(PathBuf),
    /// Something else is where a file should be: a folder, a FIFO, a socket or a device.
    #[error("it is not a regular file")]
    NotAFile,
    /// The path is not below the folder.
    #[error("`{}` is not a path below the folder", .0.display())]
    Outside(PathBuf),
}

impl Unfit {
    /// Why an operation failed, if the path was the cause.
    pub fn of(error: &io::Error) -> Option<&Self> {
        error.get_ref()?.downcast_ref()
    }
}

impl From<Unfit> for io::Error {
    fn from(unfit: Unfit) -> Self {
        Self::new(io::ErrorKind::InvalidInput, unfit)
    }
}

/// Checks that a relative path of somebody else stays below the folder that it is joined to. It must not be empty or
/// absolute, and must have neither `..` nor NUL bytes.
///
/// # Errors
///
/// [`Unfit::Outside`].
pub fn name_below<P: AsRef<Path> + ?Sized>(name: &P) -> Result<&Path, Unfit> {
    let name = name.as_ref();
    let plain = name.components().all(|part| matches!(part, Component::Normal(_)));
    if plain && !name.as_os_str().is_empty() && !name.as_os_str().as_bytes().contains(&0) {
        Ok(name)
    } else {
        Err(Unfit::Outside(name.to_owned()))
    }
}

/// What a name in a folder is. A link is not followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A folder.
    Folder,
    /// A symbolic link.
    Link,
    /// A FIFO, a socket or a device.
    Other,
}

/// The facts about a name in a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// What it is.
    pub kind: Kind,
    /// The size of a file.
    pub bytes: u64,
    /// When it was written last.
    pub modified: SystemTime,
    /// The device and the inode.
    pub identity: (u64, u64),
    /// The number of the user that it belongs to.
    pub owner: u32,
}

impl Facts {
    /// Those of a name that the disk cannot read.
    const UNKNOWN: Self =
        Self { kind: Kind::Other, bytes: 0, modified: SystemTime::UNIX_EPOCH, identity: (0, 0), owner: 0 };
}

impl From<Stat> for Facts {
    fn from(stat: Stat) -> Self {
        let seconds = Duration::from_secs(whole(stat.st_mtime));
        let modified = SystemTime::UNIX_EPOCH + seconds + Duration::from_nanos(whole(stat.st_mtime_nsec));
        let kind = match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Kind::File,
            FileType::Directory => Kind::Folder,
            FileType::Symlink => Kind::Link,
            _ => Kind::Other,
        };
        Self {
            kind,
            bytes: whole(stat.st_size),
            modified,
            identity: (whole(stat.st_dev), whole(stat.st_ino)),
            owner: stat.st_uid,
        }
    }
}

/// A number of the system, whose type differs between systems.
fn whole(number: impl TryInto<u64>) -> u64 {
    number.try_into().unwrap_or_default()
}

/// An open folder: nothing is reached through it but what is below it, without following links.
#[derive(Debug)]
pub struct Folder {
    /// `None` if it is missing.
    dir: Option<OwnedFd>,
    path: PathBuf,
}

/// How a folder on the way is held: it is only walked through.
#[cfg(any(target_os = "linux", target_os = "android"))]
const HOLD: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const HOLD: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
/// How a folder is read.
const LIST: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
/// How a file is opened.
const FILE: OFlags = OFlags::NOFOLLOW.union(OFlags::NONBLOCK).union(OFlags::CLOEXEC).union(OFlags::NOCTTY);
/// How a file or folder of our own is created; the umask still applies.
const FILE_MODE: Mode =
    Mode::RUSR.union(Mode::WUSR).union(Mode::RGRP).union(Mode::WGRP).union(Mode::ROTH).union(Mode::WOTH);
const FOLDER_MODE: Mode = Mode::RWXU.union(Mode::RWXG).union(Mode::RWXO);

impl Folder {
    /// Opens a folder that the user named. Its path may lead through links.
    ///
    /// # Errors
    ///
    /// It is missing, or not a folder.
    pub fn open(path: &Path) -> io::Result<Self> {
        let named = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let dir = rustix::fs::open(named, HOLD, Mode::empty())?;
        Ok(Self { dir: Some(dir), path: path.to_owned() })
    }

    /// Stands for a folder that does not exist: everything in it is missing, and nothing can be created in it.
    pub fn missing(path: &Path) -> Self {
        Self { dir: None, path: path.to_owned() }
    }

    /// Opens a folder that the user named, and creates it with its parents if it is missing. Its path may lead through
    /// links.
    ///
    /// # Errors
    ///
    /// It cannot be created, or is not a folder.
    pub fn create(path: &Path) -> io::Result<Self> {
        fs::create_dir_all(path)?;
        Self::open(path)
    }

    /// The path of the folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Opens a folder below this one, or this one again.
    ///
    /// # Errors
    ///
    /// It is missing or not a folder, or a link is on the way.
    pub fn folder(&self, path: &Path) -> io::Result<Self> {
        if path == self.path {
            return self.again();
        }
        let dir = self.walk(path, &mut |_, _| Err(Errno::NOENT))?;
        Ok(Self { dir: Some(dir), path: path.to_owned() })
    }

    /// Opens a folder below this one, and creates it with its parents if it is missing.
    ///
    /// # Errors
    ///
    /// It cannot be created or is not a folder, or a link is on the way.
    pub fn create_folder(&self, path: &Path) -> io::Result<Self> {
        if path == self.path {
            return self.again();
        }
        let dir = self.walk(path, &mut |parent, name| match mkdirat(parent, name, FOLDER_MODE) {
            // Another process was faster.
            Err(Errno::EXIST) => Ok(()),
            other => other,
        })?;
        Ok(Self { dir: Some(dir), path: path.to_owned() })
    }

    /// Creates a folder in an existing one.
    ///
    /// # Errors
    ///
    /// It exists, or cannot be created, or a link is on the way.
    pub fn new_folder(&self, path: &Path) -> io::Result<()> {
        let (parent, name) = self.parent(path)?;
        Ok(mkdirat(parent.dir()?, name, FOLDER_MODE)?)
    }

    /// Opens a file to read it.
    ///
    /// # Errors
    ///
    /// It is missing or not a regular file, or a link is on the way.
    pub fn read(&self, path: &Path) -> io::Result<File> {
        self.open_file(path, OFlags::RDONLY)
    }

    /// Opens a file to read and write it, and creates it if it is missing.
    ///
    /// # Errors
    ///
    /// It cannot be opened, is not a regular file, or a link is on the way.
    pub fn update(&self, path: &Path) -> io::Result<File> {
        self.open_file(path, OFlags::RDWR | OFlags::CREATE)
    }

    /// Opens a file to write at its end, and creates it if it is missing.
    ///
    /// # Errors
    ///
    /// It cannot be opened, is not a regular file, or a link is on the way.
    pub fn append(&self, path: &Path) -> io::Result<File> {
        self.open_file(path, OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE)
    }

    /// Creates a file to write it.
    ///
    /// # Errors
    ///
    /// It exists, or cannot be created, or a link is on the way.
    pub fn create_new(&self, path: &Path) -> io::Result<File> {
        self.open_file(path, OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL)
    }

    /// Creates a file in this folder to read and write, under a name that begins with `prefix` and that no other has.
    ///
    /// # Errors
    ///
    /// It cannot be created.
    pub fn create_unique(&self, prefix: &str) -> io::Result<(PathBuf, File)> {
        self.unique(prefix, |path| self.open_file(path, OFlags::RDWR | OFlags::CREATE | OFlags::EXCL))
    }

    /// Creates a folder in this folder, under a name that begins with `prefix` and that no other has.
    ///
    /// # Errors
    ///
    /// It cannot be created.
    pub fn create_unique_folder(&self, prefix: &str) -> io::Result<PathBuf> {
        self.unique(prefix, |path| self.new_folder(path)).map(|(path, ())| path)
    }

    /// Finds a name that `create` accepts.
    fn unique<T>(&self, prefix: &str, create: impl Fn(&Path) -> io::Result<T>) -> io::Result<(PathBuf, T)> {
        let here = |path: &Path| self.path.join(path.file_name().unwrap_or_default());
        let named = tempfile::Builder::new().prefix(prefix).make_in(&self.path, |path| create(&here(path)));
        let (made, path) = named.map_err(without_path)?.into_parts();
        // It is ours to remove: that would follow a link in the path of the folder.
        let path = path.keep().map_err(|error| error.error)?;
        Ok((here(&path), made))
    }

    /// Writes `bytes` to a file below this folder, see [`super::write_whole_with`].
    ///
    /// # Errors
    ///
    /// The file cannot be written, or a link is on the way. Then the file is unchanged.
    pub fn write_whole(&self, path: &Path, durability: Durability, bytes: &[u8]) -> io::Result<()> {
        self.write_whole_with(path, durability, |file| file.write_all(bytes))
    }

    /// Lets `write` fill a temporary file, and renames it to `path`. A link or FIFO of that name is replaced, too. Creates
    /// the folder of the file if it is missing.
    ///
    /// # Errors
    ///
    /// The file cannot be written, or a link is on the way. Then the file is unchanged.
    pub fn write_whole_with(
        &self,
        path: &Path,
        durability: Durability,
        write: impl FnOnce(&mut File) -> io::Result<()>,
    ) -> io::Result<()> {
        self.names(path)?;
        let parent = self.create_folder(path.parent().unwrap_or(&self.path))?;
        let (temporary, mut file) = parent.create_unique(TEMPORARY)?;
        let written = write(&mut file)
            .and_then(|()| if durability == Durability::Unsynced { Ok(()) } else { file.sync_all() })
            .and_then(|()| parent.rename(&temporary, path));
        if let Err(error) = written {
            let _ = parent.remove(&temporary);
            return Err(error);
        }
        if durability == Durability::Name { parent.sync() } else { Ok(()) }
    }

    /// Renames a file or folder in or below this folder; replaces a file.
    ///
    /// # Errors
    ///
    /// It cannot be renamed, or a link is on the way.
    pub fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let ((from, old), (to, new)) = (self.parent(from)?, self.parent(to)?);
        Ok(renameat(from.dir()?, old, to.dir()?, new)?)
    }

    /// Removes a file, or a link itself.
    ///
    /// # Errors
    ///
    /// It is missing, cannot be removed, or a link is on the way.
    pub fn remove(&self, path: &Path) -> io::Result<()> {
        let (parent, name) = self.parent(path)?;
        Ok(unlinkat(parent.dir()?, name, AtFlags::empty())?)
    }

    /// Removes a folder and everything in it: of a link, only the link itself.
    ///
    /// # Errors
    ///
    /// Something cannot be removed, or a link is on the way.
    pub fn remove_all(&self, path: &Path) -> io::Result<()> {
        let (parent, name) = self.parent(path)?;
        remove_tree(parent.dir()?.as_fd(), name)
    }

    /// The facts about a file, folder or link.
    ///
    /// # Errors
    ///
    /// It is missing, or a link is on the way.
    pub fn facts(&self, path: &Path) -> io::Result<Facts> {
        let (parent, name) = self.parent(path)?;
        Ok(statat(parent.dir()?, name, AtFlags::SYMLINK_NOFOLLOW)?.into())
    }

    /// What is in this folder, in no order. What is removed meanwhile may be missing.
    ///
    /// # Errors
    ///
    /// The folder cannot be read.
    pub fn list(&self) -> io::Result<Vec<(PathBuf, Facts)>> {
        let mut found = vec![];
        for name in names_in(openat(self.dir()?, ".", LIST, Mode::empty())?)? {
            match statat(self.dir()?, &name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => found.push((self.path.join(name), stat.into())),
                Err(Errno::NOENT) => {}
                // The disk cannot read it. It is listed, so that whoever reads it finds the damage.
                Err(Errno::IO | Errno::UCLEAN) => found.push((self.path.join(name), Facts::UNKNOWN)),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(found)
    }

    /// Writes the names in this folder to the disk: without this, a power cut can undo a rename.
    ///
    /// # Errors
    ///
    /// They cannot be written.
    pub fn sync(&self) -> io::Result<()> {
        File::from(openat(self.dir()?, ".", LIST, Mode::empty())?).sync_all()
    }

    /// Opens the folder that a path is in, and returns the last name of the path.
    fn parent<'p>(&self, path: &'p Path) -> io::Result<(Self, &'p OsStr)> {
        self.names(path)?;
        match (path.parent(), path.file_name()) {
            (Some(parent), Some(name)) => Ok((self.folder(parent)?, name)),
            _ => Err(Unfit::Outside(path.to_owned()).into()),
        }
    }

    fn again(&self) -> io::Result<Self> {
        Ok(Self { dir: Some(self.dir()?.try_clone()?), path: self.path.clone() })
    }

    fn dir(&self) -> io::Result<&OwnedFd> {
        Ok(self.dir.as_ref().ok_or(Errno::NOENT)?)
    }

    fn open_file(&self, path: &Path, how: OFlags) -> io::Result<File> {
        let (parent, name) = self.parent(path)?;
        let dir = parent.dir()?;
        let opened = openat(dir, name, how | FILE, FILE_MODE);
        let file = File::from(opened.map_err(|error| explain(error, dir.as_fd(), name, path))?);
        let found = file.metadata()?;
        match () {
            () if !found.is_file() => Err(Unfit::NotAFile.into()),
            // An archive can give a file of the user a second name below the folder. Reading it does no harm.
            () if how.intersects(OFlags::WRONLY | OFlags::RDWR) && found.nlink() > 1 => {
                Err(Unfit::OtherNames(path.to_owned()).into())
            }
            () => Ok(file),
        }
    }

    /// Walks to a folder below this one; `missing` creates a folder that does not exist.
    fn walk(
        &self,
        path: &Path,
        missing: &mut dyn FnMut(BorrowedFd<'_>, &OsStr) -> rustix::io::Result<()>,
    ) -> io::Result<OwnedFd> {
        let (mut dir, mut at) = (self.dir()?.try_clone()?, self.path.clone());
        for name in self.names(path)? {
            at.push(name);
            let open = |dir: &OwnedFd| openat(dir, name, HOLD | OFlags::NOFOLLOW, Mode::empty());
            let opened = match open(&dir) {
                Err(Errno::NOENT) => missing(dir.as_fd(), name).and_then(|()| open(&dir)),
                other => other,
            };
            dir = opened.map_err(|error| explain(error, dir.as_fd(), name, &at))?;
        }
        Ok(dir)
    }

    /// The names from this folder to a path.
    fn names<'p>(&self, path: &'p Path) -> Result<&'p Path, Unfit> {
        let below = path.strip_prefix(&self.path).map_err(|_| Unfit::Outside(path.to_owned()))?;
        name_below(below).map_err(|_| Unfit::Outside(path.to_owned()))
    }
}

/// Finds out why the system did not open a name: its errors for links differ.
fn explain(error: Errno, dir: BorrowedFd<'_>, name: &OsStr, path: &Path) -> io::Error {
    if !matches!(error, Errno::LOOP | Errno::NOTDIR | Errno::MLINK | Errno::NXIO | Errno::ISDIR) {
        return error.into();
    }
    match statat(dir, name, AtFlags::SYMLINK_NOFOLLOW).map(|stat| Facts::from(stat).kind) {
        Ok(Kind::Link) => Unfit::Link(path.to_owned()).into(),
        Ok(Kind::Folder | Kind::Other) if error != Errno::NOTDIR => Unfit::NotAFile.into(),
        _ => error.into(),
    }
}

/// An error of a temporary file, without the file's name: nobody knows it. The caller names the file itself.
pub(super) fn without_path(error: io::Error) -> io::Error {
    let cause = error.get_ref().and_then(|error| error.source()?.downcast_ref::<io::Error>());
    cause.and_then(io::Error::raw_os_error).map_or(error, io::Error::from_raw_os_error)
}

/// The names of files that are being written begin with this.
pub const TEMPORARY: &str = ".new.";

/// The names in an open folder.
fn names_in(dir: OwnedFd) -> io::Result<Vec<OsString>> {
    let mut names = vec![];
    for entry in Dir::new(dir)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(OsStr::from_bytes(name).to_owned());
        }
    }
    Ok(names)
}

fn remove_tree(parent: BorrowedFd<'_>, name: &OsStr) -> io::Result<()> {
    let kind = Facts::from(statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?).kind;
    if kind != Kind::Folder {
        return Ok(unlinkat(parent, name, AtFlags::empty())?);
    }
    let dir = openat(parent, name, LIST | OFlags::NOFOLLOW, Mode::empty())?;
    for name in names_in(dir.try_clone()?)? {
        match remove_tree(dir.as_fd(), &name) {
            // Another process was faster.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => other?,
        }
    }
    Ok(unlinkat(parent, name, AtFlags::REMOVEDIR)?)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// A folder `in`, and beside it a folder `out` with a file `secret` that nothing may reach.
    fn fixture() -> (tempfile::TempDir, Folder) {
        let outer = tempfile::tempdir().unwrap();
        fs::create_dir(outer.path().join("out")).unwrap();
        fs::write(outer.path().join("out/secret"), "secret").unwrap();
        let folder = Folder::create(&outer.path().join("in")).unwrap();
        (outer, folder)
    }

    fn untouched(outer: &tempfile::TempDir) {
        let out = outer.path().join("out");
        assert_eq!(fs::read_dir(&out).unwrap().count(), 1);
        assert_eq!(fs::read(out.join("secret")).unwrap(), b"secret");
    }

    /// Everything that opens or changes a path.
    fn all_ways(folder: &Folder, path: &Path) -> Vec<io::Error> {
        let other = folder.path().join("other");
        let tries = [
            folder.read(path).map(drop),
            folder.update(path).map(drop),
            folder.append(path).map(drop),
            folder.create_new(path).map(drop),
            folder.folder(path).map(drop),
            folder.create_folder(path).map(drop),
        ];
        let mut errors: Vec<io::Error> = tries.into_iter().filter_map(Result::err).collect();
        errors.extend(folder.rename(path, &other).err());
        errors
    }

    #[test]
    fn files_are_made_read_listed_and_removed() {
        let (_outer, folder) = fixture();
        let at = |name: &str| folder.path().join(name);
        folder.create_folder(&at("a/b")).unwrap();
        folder.append(&at("a/b/log")).unwrap().write_all(b"one").unwrap();
        folder.append(&at("a/b/log")).unwrap().write_all(b"two").unwrap();
        assert_eq!(io::read_to_string(folder.read(&at("a/b/log")).unwrap()).unwrap(), "onetwo");
        let facts = folder.facts(&at("a/b/log")).unwrap();
        assert_eq!((facts.kind, facts.bytes), (Kind::File, 6));
        assert!(facts.modified.elapsed().unwrap() < Duration::from_secs(60));
        folder.rename(&at("a/b/log"), &at("moved")).unwrap();
        let mut listed: Vec<_> = folder.list().unwrap().into_iter().map(|(path, _)| path).collect();
        listed.sort();
        assert_eq!(listed, [at("a"), at("moved")]);
        folder.remove(&at("moved")).unwrap();
        assert_eq!(folder.read(&at("moved")).unwrap_err().kind(), io::ErrorKind::NotFound);
        folder.write_whole(&at("a/c/file"), Durability::Name, b"bytes").unwrap();
        folder.remove_all(&at("a")).unwrap();
        assert_eq!(folder.list().unwrap(), []);
    }

    #[test]
    fn everything_in_a_missing_folder_is_missing() {
        let (outer, _) = fixture();
        let folder = Folder::missing(&outer.path().join("missing"));
        let path = folder.path().join("a/b");
        assert!(all_ways(&folder, &path).iter().all(|error| error.kind() == io::ErrorKind::NotFound));
        assert!(folder.list().is_err() && !folder.path().exists());
    }

    #[test]
    fn no_link_is_followed_wherever_it_is() {
        for (link, path) in [("link", "link"), ("link", "link/secret"), ("a/link", "a/link/new/file")] {
            let (outer, folder) = fixture();
            folder.create_folder(&folder.path().join("a")).unwrap();
            let target = if path == "link" { "out/secret" } else { "out" };
            symlink(outer.path().join(target), folder.path().join(link)).unwrap();
            let path = folder.path().join(path);
            // A link itself may be renamed, and is in the way of a new file.
            let expected = if path.ends_with("link") { 5 } else { 7 };
            let errors = all_ways(&folder, &path);
            let links = errors.iter().filter(|error| matches!(Unfit::of(error), Some(Unfit::Link(_))));
            assert_eq!(links.count(), expected, "{path:?}: {errors:?}");
            untouched(&outer);
        }
    }

    #[test]
    fn a_link_is_named_and_replaced_or_removed_itself() {
        let (outer, folder) = fixture();
        let at = |name: &str| folder.path().join(name);
        let link = |name: &str, to: &str| symlink(outer.path().join(to), at(name)).unwrap();
        link("file", "out/secret");
        let error = folder.append(&at("file")).unwrap_err();
        assert_eq!(error.to_string(), format!("`{}` is a link", at("file").display()));
        folder.write_whole(&at("file"), Durability::Content, b"ours").unwrap();
        assert_eq!(folder.facts(&at("file")).unwrap().kind, Kind::File);
        folder.create_folder(&at("tree/sub")).unwrap();
        link("tree/sub/link", "out");
        folder.remove_all(&at("tree")).unwrap();
        link("tree", "out");
        assert_eq!(folder.facts(&at("tree")).unwrap().kind, Kind::Link);
        folder.remove_all(&at("tree")).unwrap();
        link("one", "out/secret");
        folder.remove(&at("one")).unwrap();
        assert_eq!(folder.list().unwrap().len(), 1);
        untouched(&outer);
    }

    #[test]
    fn paths_that_are_not_below_are_refused() {
        let (outer, folder) = fixture();
        for (name, refused) in [
            // The folder itself can be opened as a folder, and as nothing else.
            ("", 5),
            (".", 5),
            ("..", 7),
            ("../out/secret", 7),
            ("a/../../out/secret", 7),
            ("/etc/passwd", 7),
            ("nul\0", 7),
        ] {
            assert!(name_below(name).is_err(), "{name:?}");
            let errors = all_ways(&folder, &folder.path().join(name));
            assert_eq!(errors.len(), refused, "{name:?}: {errors:?}");
            assert!(
                errors.iter().all(|error| matches!(Unfit::of(error), Some(Unfit::Outside(_)))),
                "{name:?}"
            );
        }
        assert_eq!(name_below("a/b.txt"), Ok(Path::new("a/b.txt")));
        untouched(&outer);
    }

    #[test]
    fn what_is_no_file_is_refused_at_once() {
        let (_outer, folder) = fixture();
        let at = |name: &str| folder.path().join(name);
        rustix::fs::mkfifoat(rustix::fs::CWD, at("fifo"), FILE_MODE).unwrap();
        folder.create_folder(&at("folder")).unwrap();
        for name in ["fifo", "folder"] {
            for opened in [folder.read(&at(name)), folder.update(&at(name)), folder.append(&at(name))] {
                assert_eq!(Unfit::of(&opened.unwrap_err()), Some(&Unfit::NotAFile), "{name}");
            }
        }
        assert_eq!(folder.facts(&at("fifo")).unwrap().kind, Kind::Other);
        folder.write_whole(&at("fifo"), Durability::Unsynced, b"a file").unwrap();
    }

    #[test]
    fn the_folder_itself_may_be_reached_through_a_link_that_the_user_named() {
        let (outer, folder) = fixture();
        let link = outer.path().join("link");
        symlink(folder.path(), &link).unwrap();
        let linked = Folder::open(&link).unwrap();
        linked.write_whole(&link.join("file"), Durability::Unsynced, b"").unwrap();
        assert!(folder.read(&folder.path().join("file")).is_ok());
    }
}
