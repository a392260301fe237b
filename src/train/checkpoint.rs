//! Checkpoints: everything that a training needs to resume and to end with the same bits.
//!
//! A file is a blake3 digest, followed by the safetensors block that it covers. It is written under another name,
//! synced and renamed. So a file with the right name is complete unless the disk lost data; the digest detects that
//! too. Reading takes the newest complete file and skips the others. Work other than training keeps its finished parts
//! in the same way.

use std::io;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{Session, TrainError};
use crate::files::tensors::{self, NamedTensor, TensorFile};
use crate::files::{Durability, Folder, Kind, read_limited};

const EXTENSION: &str = "checkpoint";
/// The extension of finished parts.
const PART: &str = "part";
const METADATA_KEY: &str = "argd-pipe.checkpoint";
/// The number of checkpoints to keep: the newest one and, in case it is damaged, the previous one.
const KEPT: usize = 2;

/// A training between two steps.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Snapshot {
    /// The trainable values: the network's, then the objective's own.
    pub trainable: Vec<f32>,
    /// The optimizer's velocity of each trainable value.
    pub velocity: Vec<f32>,
    /// Running statistics.
    pub state: Vec<f32>,
    /// Finished epochs.
    pub epoch: usize,
    /// Finished steps of the current epoch.
    pub step: usize,
    /// The number of images seen in the current epoch.
    pub seen: usize,
    /// The sum of each loss term over the images seen in the current epoch.
    pub sums: Vec<f64>,
}

/// The most bytes of a checkpoint besides its tensors.
const LARGEST_HEAD: u64 = 16 << 20;
/// The most bytes of a part.
const LARGEST_PART: u64 = 256 << 20;

/// The content of a checkpoint besides tensors. Sums are kept as bits, because decimal text may round.
#[derive(Serialize, Deserialize)]
struct Config {
    epoch: usize,
    step: usize,
    seen: usize,
    sums: Vec<u64>,
}

impl Snapshot {
    /// Writes the snapshot into `folder` and removes all but the newest checkpoints.
    pub fn save(&self, folder: &Folder) -> Result<(), TrainError> {
        let name = format!("{:06}-{:08}.{EXTENSION}", self.epoch, self.step);
        let path = folder.path().join(name);
        self.encode()
            .and_then(|bytes| write(folder, &path, &bytes))
            .and_then(|()| newest_first(folder)?.iter().skip(KEPT).try_for_each(|path| folder.remove(path)))
            .map_err(|source| TrainError::Checkpoint { path, source })
    }

    /// Reads the newest complete snapshot in `folder` whose vectors have the lengths of those of `like`, and which is not
    /// beyond `last`, an epoch and a step. Removes each file that it skips, and calls `damaged` with its path: it would
    /// count as newer than those that are written from now on.
    pub fn newest(
        folder: &Folder,
        like: &Self,
        last: (usize, usize),
        mut damaged: impl FnMut(&Path),
    ) -> Option<Self> {
        let fits = |found: &Self| {
            let lengths = |s: &Self| (s.trainable.len(), s.velocity.len(), s.state.len());
            lengths(found) == lengths(like) && (found.epoch, found.step) <= last
        };
        let values = like.trainable.len() + like.velocity.len() + like.state.len();
        let most = LARGEST_HEAD + 4 * values as u64;
        newest_first(folder).ok()?.iter().find_map(|path| {
            let found =
                read(folder, path, most).ok().and_then(|bytes| Self::decode(path, &bytes)).filter(fits);
            if found.is_none() {
                damaged(path);
                let _ = folder.remove(path);
            }
            found
        })
    }

    fn encode(&self) -> io::Result<Vec<u8>> {
        let Self { trainable, velocity, state, epoch, step, seen, sums } = self;
        let sums = sums.iter().map(|sum| sum.to_bits()).collect();
        let config = serde_json::to_string(&Config { epoch: *epoch, step: *step, seen: *seen, sums })?;
        let tensors = [("trainable", trainable), ("velocity", velocity), ("state", state)]
            .map(|(name, values)| NamedTensor::f32(name, vec![values.len()], values));
        let block = tensors::encode(&tensors, METADATA_KEY, config)?;
        Ok([blake3::hash(&block).as_bytes().as_slice(), &block].concat())
    }

    /// The snapshot in the `bytes` of a file; `None` if they are not complete.
    fn decode(path: &Path, bytes: &[u8]) -> Option<Self> {
        let (digest, block) = bytes.split_at_checked(blake3::OUT_LEN)?;
        if blake3::hash(block).as_bytes().as_slice() != digest {
            return None;
        }
        let mut file = TensorFile::of_bytes(path, block).ok()?;
        let Config { epoch, step, seen, sums } = serde_json::from_str(file.text(METADATA_KEY)?).ok()?;
        let mut read = |name| Some(file.f32::<1>(name).ok()?.1);
        let sums = sums.into_iter().map(f64::from_bits).collect();
        let (trainable, velocity, state) = (read("trainable")?, read("velocity")?, read("state")?);
        Some(Self { trainable, velocity, state, epoch, step, seen, sums })
    }
}

impl Session<'_> {
    /// Keeps a finished part of longer work for the next attempt.
    ///
    /// # Errors
    ///
    /// A file that cannot be written.
    pub fn keep(&self, name: &str, part: &impl Serialize) -> Result<(), TrainError> {
        let path = self.part(name);
        serde_json::to_vec(part)
            .map_err(io::Error::other)
            .and_then(|text| {
                let bytes = [blake3::hash(&text).as_bytes().as_slice(), &text].concat();
                write(self.checkpoints, &path, &bytes)
            })
            .map_err(|source| TrainError::Checkpoint { path, source })
    }

    /// The part that an earlier attempt kept under this name; `None` if it is missing or damaged.
    pub fn kept<T: DeserializeOwned>(&self, name: &str) -> Option<T> {
        let bytes = read(self.checkpoints, &self.part(name), LARGEST_PART).ok()?;
        let (digest, text) = bytes.split_at_checked(blake3::OUT_LEN)?;
        let is_whole = blake3::hash(text).as_bytes().as_slice() == digest;
        is_whole.then(|| serde_json::from_slice(text).ok())?
    }

    fn part(&self, name: &str) -> PathBuf {
        self.checkpoints.path().join(name).with_extension(PART)
    }
}

/// How far the training was that a file of a checkpoint folder is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reached {
    /// A checkpoint of a training: finished epochs, and finished steps of the next one.
    Epoch(usize, usize),
    /// A finished part of other work.
    Part,
}

impl Reached {
    /// By the name of a file. `None` if it is neither a checkpoint nor a part.
    pub fn of(file: &Path) -> Option<Self> {
        match file.extension()?.to_str()? {
            EXTENSION => {
                let (epoch, step) = file.file_stem()?.to_str()?.split_once('-')?;
                Some(Self::Epoch(epoch.parse().ok()?, step.parse().ok()?))
            }
            PART => Some(Self::Part),
            _ => None,
        }
    }
}

fn write(folder: &Folder, path: &Path, bytes: &[u8]) -> io::Result<()> {
    // A folder of that name is damage, and a rename does not replace it.
    if folder.facts(path).is_ok_and(|facts| facts.kind == Kind::Folder) {
        folder.remove_all(path)?;
    }
    folder.write_whole(path, Durability::Name, bytes)
}

fn read(folder: &Folder, path: &Path, most: u64) -> io::Result<Vec<u8>> {
    read_limited(folder.read(path)?, most)
}

/// Checkpoints in `folder`, the newest first. Names sort by epoch and step.
fn newest_first(folder: &Folder) -> io::Result<Vec<PathBuf>> {
    let files = folder.list()?.into_iter().filter(|(_, facts)| facts.kind == Kind::File);
    let mut paths: Vec<PathBuf> = files.map(|(path, _)| path).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == EXTENSION));
    paths.sort_unstable_by(|a, b| b.cmp(a));
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn snapshot(epoch: usize, step: usize) -> Snapshot {
        let trainable = vec![epoch as f32, -0.0, 1e-40];
        let sums = vec![0.1 + 0.2, step as f64];
        Snapshot { trainable, velocity: vec![1.0; 3], state: vec![], epoch, step, seen: 7, sums }
    }

    fn newest(folder: &Folder) -> (Option<Snapshot>, usize) {
        let mut damaged = 0;
        (Snapshot::newest(folder, &snapshot(0, 0), (20, 0), |_| damaged += 1), damaged)
    }

    #[test]
    fn files_with_high_names_do_not_push_out_what_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let folder = Folder::open(folder.path()).unwrap();
        // A sound one, but of more epochs than the training has.
        snapshot(30, 0).save(&folder).unwrap();
        for name in ["999998-00000000.checkpoint", "999999-00000000.checkpoint"] {
            fs::write(folder.path().join(name), "planted").unwrap();
        }
        assert_eq!(newest(&folder), (None, 3));
        snapshot(1, 0).save(&folder).unwrap();
        assert_eq!(newest(&folder), (Some(snapshot(1, 0)), 0));
    }

    #[test]
    fn the_newest_two_are_kept_and_the_newest_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let folder = Folder::open(folder.path()).unwrap();
        assert_eq!(newest(&folder), (None, 0));
        for (epoch, step) in [(1, 0), (1, 12), (2, 0), (11, 0)] {
            snapshot(epoch, step).save(&folder).unwrap();
        }
        assert_eq!(newest(&folder), (Some(snapshot(11, 0)), 0));
        let files = newest_first(&folder).unwrap();
        let reached = files.iter().filter_map(|path| Reached::of(path)).collect::<Vec<_>>();
        assert_eq!(reached, [Reached::Epoch(11, 0), Reached::Epoch(2, 0)]);
        assert_eq!(Reached::of(&folder.path().join("seconds")), None);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }

    #[test]
    fn a_folder_in_the_place_of_a_checkpoint_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let folder = Folder::open(folder.path()).unwrap();
        snapshot(1, 0).save(&folder).unwrap();
        let path = newest_first(&folder).unwrap().remove(0);
        fs::remove_file(&path).unwrap();
        fs::create_dir_all(path.join("full")).unwrap();
        assert_eq!(newest(&folder), (None, 0));
        snapshot(1, 0).save(&folder).unwrap();
        assert_eq!(newest(&folder), (Some(snapshot(1, 0)), 0));
    }

    #[test]
    fn damaged_and_foreign_checkpoints_are_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let folder = Folder::open(folder.path()).unwrap();
        for epoch in [1, 2] {
            snapshot(epoch, 0).save(&folder).unwrap();
        }
        let last = &newest_first(&folder).unwrap()[0];
        let whole = fs::read(last).unwrap();
        let mut flipped = whole.clone();
        *flipped.last_mut().unwrap() ^= 1;
        for bytes in [&flipped, &whole[..whole.len() - 1], &[]] {
            fs::write(last, bytes).unwrap();
            assert_eq!(newest(&folder), (Some(snapshot(1, 0)), 1));
        }
        fs::write(last, whole).unwrap();
        let longer = Snapshot { trainable: vec![0.0; 4], ..snapshot(0, 0) };
        assert_eq!(Snapshot::newest(&folder, &longer, (20, 0), |_| {}), None);
    }
}
