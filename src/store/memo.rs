//! Remembers the digests of files by their identity, so that unchanged files are not hashed again.
//!
//! An entry is valid for one (device, inode, size, modification time, change time). A file can change twice within one
//! tick of its times. So a file that changed less than [`RACY`] before it was hashed is not remembered: git has the same
//! rule for its index. A lost memo or entry only costs a hash.
//!
//! An entry vouches for content that nobody reads. So memos are not in the cache, which others write or hand on, but in
//! a folder of the user alone; see [`super::own`]. Each line has a check sum, which finds damage.

use std::collections::HashMap;
use std::fs::{self, File, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use super::error::Tried;
use super::hashing::{Watched, hash};
use super::own::OwnFile;
use super::{Digest, StoreError};
use crate::files::open_regular;

/// A file must be unchanged for this many nanoseconds before its digest is remembered.
const RACY: i128 = 2_000_000_000;

/// The identity of a file: if it is the same, the file is unchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    /// Nanoseconds since 1970.
    modified: i128,
    /// Nanoseconds since 1970.
    changed: i128,
}

impl Stamp {
    pub(super) fn of(metadata: &Metadata) -> Self {
        let nanoseconds = |seconds, rest| i128::from(seconds) * 1_000_000_000 + i128::from(rest);
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: nanoseconds(metadata.mtime(), metadata.mtime_nsec()),
            changed: nanoseconds(metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// Its size and its times as bytes.
    pub(super) fn size_and_times(&self) -> [u8; 40] {
        let mut bytes = [0; 40];
        bytes[..8].copy_from_slice(&self.size.to_le_bytes());
        bytes[8..24].copy_from_slice(&self.modified.to_le_bytes());
        bytes[24..].copy_from_slice(&self.changed.to_le_bytes());
        bytes
    }

    /// Whether every later change of the file changes its times.
    fn settled(&self, now: SystemTime) -> bool {
        let now = now.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_nanos() as i128);
        now - self.modified.max(self.changed) > RACY
    }
}

/// At most one entry per inode, so a memo does not grow with the history of a cache.
type Entries = HashMap<(u64, u64), (Stamp, Digest)>;

/// The size and the digest of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hashed {
    pub(super) size: u64,
    pub(super) digest: Digest,
}

/// Remembered digests, kept in a file between processes.
#[derive(Debug)]
pub(super) struct Memo {
    /// Without a file, digests are remembered as long as the process lives.
    file: Option<OwnFile>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// `None` until the first lookup.
    entries: Option<Entries>,
    grown: bool,
}

impl Memo {
    /// A memo in `file`.
    pub(super) fn new(file: Option<OwnFile>) -> Self {
        Self { file, state: Mutex::default() }
    }

    /// The size and the digest of a file, remembered if the file is unchanged.
    pub(super) fn hash(&self, path: &Path, watched: &Watched) -> Result<Hashed, StoreError> {
        let stamp = fs::metadata(path).map(|metadata| Stamp::of(&metadata)).tried("read", path)?;
        if let Some(digest) = self.recall(&stamp) {
            watched.hashed(stamp.size);
            return Ok(Hashed { size: stamp.size, digest });
        }
        self.hash_open(&open_regular(path).tried("read", path)?, path, watched)
    }

    /// The size and the digest of an open file, remembered if the file is unchanged.
    pub(super) fn hash_open(
        &self,
        file: &File,
        path: &Path,
        watched: &Watched,
    ) -> Result<Hashed, StoreError> {
        let stamp = || file.metadata().map(|metadata| Stamp::of(&metadata)).tried("read", path);
        let before = stamp()?;
        if let Some(digest) = self.recall(&before) {
            watched.hashed(before.size);
            return Ok(Hashed { size: before.size, digest });
        }
        let digest = hash(file, path, watched)?;
        self.remember_settled(before, stamp()?, digest);
        Ok(Hashed { size: before.size, digest })
    }

    /// Remembers the digest of a file, unless the file changed while it was hashed or just before.
    fn remember_settled(&self, before: Stamp, after: Stamp, digest: Digest) {
        if after == before && before.settled(SystemTime::now()) {
            self.remember(before, digest);
        }
    }

    fn recall(&self, stamp: &Stamp) -> Option<Digest> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let entries = state.entries.get_or_insert_with(|| read(self.file.as_ref()));
        let (known, digest) = entries.get(&(stamp.device, stamp.inode))?;
        (known == stamp).then_some(*digest)
    }

    fn remember(&self, stamp: Stamp, digest: Digest) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let entries = state.entries.get_or_insert_with(|| read(self.file.as_ref()));
        entries.insert((stamp.device, stamp.inode), (stamp, digest));
        state.grown = true;
    }

    /// Adds the new entries to the file. A failure is harmless, so it is only logged. If two processes save at once, the
    /// entries of one may be lost.
    pub(super) fn save(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (Some(file), State { entries: Some(entries), grown: true }) = (&self.file, &*state) else {
            return;
        };
        let mut merged = read(Some(file));
        merged.extend(entries);
        match file.write(&write(&merged)) {
            Ok(()) => state.grown = false,
            Err(error) => tracing::debug!("cannot write {}: {error}", file.path().display()),
        }
    }
}

/// The lines of a memo, in order.
fn write(entries: &Entries) -> String {
    let line = |(stamp, digest): &(Stamp, Digest)| {
        let Stamp { device, inode, size, modified, changed } = stamp;
        let line = format!("{device} {inode} {size} {modified} {changed} {digest}");
        format!("{line} {}\n", check(&line))
    };
    let mut lines: Vec<String> = entries.values().map(line).collect();
    lines.sort_unstable();
    lines.concat()
}

/// Reads a memo. Invalid lines are skipped, and a missing file counts as empty.
fn read(file: Option<&OwnFile>) -> Entries {
    let text = file.map(OwnFile::read).unwrap_or_default();
    text.lines()
        .filter_map(parse_line)
        .map(|(stamp, digest)| ((stamp.device, stamp.inode), (stamp, digest)))
        .collect()
}

fn parse_line(line: &str) -> Option<(Stamp, Digest)> {
    let (line, found) = line.rsplit_once(' ')?;
    if found != check(line) {
        return None;
    }
    let mut words = line.split(' ');
    let stamp = Stamp {
        device: words.next()?.parse().ok()?,
        inode: words.next()?.parse().ok()?,
        size: words.next()?.parse().ok()?,
        modified: words.next()?.parse().ok()?,
        changed: words.next()?.parse().ok()?,
    };
    Some((stamp, words.next()?.parse().ok()?))
}

/// The check sum of a line.
fn check(line: &str) -> String {
    Digest::of(line.as_bytes()).short()
}

#[cfg(test)]
mod tests {
    use std::fs::FileTimes;
    use std::time::Duration;

    use super::*;

    fn memo(folder: &Path) -> Memo {
        Memo::new(Some(OwnFile::new(folder.join("own/test.memo"))))
    }

    #[test]
    fn a_young_file_is_hashed_again() {
        let folder = tempfile::tempdir().unwrap();
        let (memo, path) = (memo(folder.path()), folder.path().join("file"));
        fs::write(&path, "one").unwrap();
        assert_eq!(
            memo.hash(&path, &Watched::default()).unwrap(),
            Hashed { size: 3, digest: Digest::of(b"one") }
        );
        assert!(memo.recall(&Stamp::of(&fs::metadata(&path).unwrap())).is_none());
    }

    #[test]
    fn what_is_remembered_holds_for_one_identity_and_outlives_the_process() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, "one").unwrap();
        let stamp = Stamp::of(&fs::metadata(&path).unwrap());
        let first = memo(folder.path());
        first.remember(stamp, Digest::of(b"made up"));
        first.save();

        let second = memo(folder.path());
        assert_eq!(
            second.hash(&path, &Watched::default()).unwrap().digest,
            Digest::of(b"made up"),
            "not from memory"
        );
        let an_hour_ago = SystemTime::now() - Duration::from_secs(3600);
        let file = File::options().write(true).open(&path).unwrap();
        file.set_times(FileTimes::new().set_modified(an_hour_ago)).unwrap();
        assert_eq!(
            second.hash(&path, &Watched::default()).unwrap().digest,
            Digest::of(b"one"),
            "from memory despite another time"
        );
    }

    #[test]
    fn saving_keeps_what_others_saved_and_nonsense_is_skipped() {
        let folder = tempfile::tempdir().unwrap();
        let stamp = |inode| Stamp { device: 1, inode, size: 2, modified: 3, changed: -4 };
        let (ours, theirs) = (memo(folder.path()), memo(folder.path()));
        ours.remember(stamp(1), Digest::of(b"1"));
        theirs.remember(stamp(2), Digest::of(b"2"));
        ours.save();
        theirs.save();
        let file = folder.path().join("own/test.memo");
        let unchecked = format!("1 7 2 3 -4 {}\n", Digest::of(b"7"));
        let torn = fs::read_to_string(&file).unwrap() + &unchecked + "1 7 2 3 -4 af1349\nnonsense\n\n";
        fs::write(&file, torn).unwrap();
        let read_back = memo(folder.path());
        assert_eq!(read_back.recall(&stamp(1)), Some(Digest::of(b"1")));
        assert_eq!(read_back.recall(&stamp(2)), Some(Digest::of(b"2")));
        assert_eq!(read_back.recall(&stamp(7)), None);
    }

    #[test]
    fn any_changed_byte_of_a_line_is_noticed() {
        let stamp = Stamp { device: 1, inode: 2, size: 3, modified: 4, changed: -5 };
        let text = write(&Entries::from([((1, 2), (stamp, Digest::of(b"1")))]));
        let line = text.trim_end();
        assert_eq!(parse_line(line), Some((stamp, Digest::of(b"1"))));
        for at in 0..line.len() {
            let mut changed = line.as_bytes().to_vec();
            changed[at] ^= 1;
            assert_eq!(parse_line(&String::from_utf8(changed).unwrap()), None, "byte {at}");
            assert_eq!(parse_line(&line[..at]), None, "cut at {at}");
        }
    }

    #[test]
    fn settled_means_left_alone_for_two_seconds() {
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let stamp = Stamp { device: 0, inode: 0, size: 0, modified: 5_000_000_000, changed: 10_000_000_000 };
        assert!(!stamp.settled(at(12)));
        assert!(stamp.settled(at(13)));
        assert!(!stamp.settled(at(9)), "a clock that goes backwards");
    }
}
