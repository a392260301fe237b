//! Writes to the store: a record and its artifacts appear together, or not at all.
//!
//! The order of the steps makes it safe to stop anywhere, by a full disk, `kill -9` or a power cut:
//!
//! 1. Each output is hashed, synced to the disk, and renamed to its place among the objects, read-only. An artifact
//!    without a record only takes space. An existing artifact is replaced by the same bytes.
//! 2. The folders of the objects are synced.
//! 3. The record is written in the work folder, synced, and renamed to its place. **This is the commit.** A rename
//!    replaces whole files, so no reader ever sees an incomplete record.
//! 4. The folder of the record is synced; then the work folder and the checkpoints are removed.

use std::collections::BTreeMap;
use std::fs::Permissions;
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::error::Tried;
use super::files::{create_shard, sync_parent, write_synced};
use super::hashing::{Watched, hash};
use super::records::{self, DraftOutput, FORMAT_VERSION, OutputRecord, Record, RecordDraft};
use super::{Fault, KeyLock, Store, StoreError, Work};

/// Names a step of [`Store::commit`] after which the process aborts. Only for tests of crashes.
pub const FAIL_POINT_VARIABLE: &str = "ARGD_PIPE_FAIL_POINT";

/// The steps of [`Store::commit`] that [`FAIL_POINT_VARIABLE`] can name, in their order.
pub const FAIL_POINTS: [&str; 5] =
    ["object-synced", "object-renamed", "record-written", "record-renamed", "partial-removed"];

impl Store {
    /// Commits the outputs of a task under the key of `lock`; replaces an older record.
    ///
    /// On success the record is on the disk. On failure the key has no record, or still has the old one. The returned
    /// record equals the one that a later lookup reads.
    pub fn commit(&self, lock: &KeyLock, work: Work, draft: RecordDraft) -> Result<Record, StoreError> {
        let _barrier = self.uses.using(lock.key(), &self.watched)?;
        let outputs = self.publish_outputs(&work, draft.outputs)?;
        let mut record = Record {
            format_version: FORMAT_VERSION,
            key: *lock.key(),
            components: draft.components,
            outputs,
            metrics: draft.metrics,
            nondeterministic: false,
            exec: draft.exec,
        };
        record.nondeterministic = self.contradicts(&record)?;
        self.publish_record(&work, &record)?;
        self.clean_up(lock, work);
        Ok(record)
    }

    /// Marks a record as non-deterministic: computing its key again gave different outputs.
    pub fn mark_nondeterministic(
        &self,
        lock: &KeyLock,
        work: Work,
        record: &Record,
    ) -> Result<(), StoreError> {
        debug_assert_eq!(lock.key(), &record.key);
        let _barrier = self.uses.using(lock.key(), &self.watched)?;
        self.publish_record(&work, &Record { nondeterministic: true, ..record.clone() })
    }

    /// Steps 1 and 2: files of the work folder become objects.
    fn publish_outputs(
        &self,
        work: &Work,
        outputs: Vec<DraftOutput>,
    ) -> Result<Vec<OutputRecord>, StoreError> {
        let mut shards = BTreeMap::new();
        let mut published = Vec::with_capacity(outputs.len());
        for output in outputs {
            let output = match output {
                DraftOutput::Written(port) => self.publish_file(work.path().join(&port), port)?,
                DraftOutput::PassedOn { port, digest } => {
                    let path = self.object(&digest);
                    let size = self.root.facts(&path).tried("read", &path)?.bytes;
                    OutputRecord { port, size, digest }
                }
            };
            shards.insert(output.digest.shard(), self.object(&output.digest));
            published.push(output);
        }
        shards.values().try_for_each(|object| sync_parent(&self.root, object))?;
        Ok(published)
    }

    fn publish_file(&self, path: PathBuf, port: String) -> Result<OutputRecord, StoreError> {
        let file = match self.root.read(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(StoreError::OutputMissing { port, path });
            }
            other => other.tried("read", &path)?,
        };
        let size = file.metadata().tried("read", &path)?.len();
        // A stop does not undo what is computed.
        let digest = hash(&file, &path, &Watched::default())?;
        file.sync_data().tried("write", &path)?;
        fail_point("object-synced");
        file.set_permissions(Permissions::from_mode(0o444)).tried("write-protect", &path)?;
        let object = self.object(&digest);
        create_shard(&self.root, &object)?;
        self.put(&path, &object)?;
        fail_point("object-renamed");
        Ok(OutputRecord { port, size, digest })
    }

    /// Step 3: the record appears.
    fn publish_record(&self, work: &Work, record: &Record) -> Result<(), StoreError> {
        let place = self.layout.record(&record.key);
        // No output has a name with a dot.
        let draft = work.path().join(".record");
        let bytes = records::encode(record).map_err(std::io::Error::from).tried("write", &place)?;
        write_synced(&self.root, &draft, &bytes)?;
        fail_point("record-written");
        create_shard(&self.root, &place)?;
        self.put(&draft, &place)?;
        fail_point("record-renamed");
        sync_parent(&self.root, &place)
    }

    /// Renames a file to its place. A folder that has taken the place is set aside.
    fn put(&self, file: &Path, place: &Path) -> Result<(), StoreError> {
        let renamed = match self.root.rename(file, place) {
            Err(error) if error.kind() == ErrorKind::IsADirectory => {
                let damage = self.set_aside(place.to_owned(), Fault::Unfit(error.to_string()));
                tracing::debug!("{damage}");
                self.root.rename(file, place)
            }
            other => other,
        };
        renamed.tried("create", place)
    }

    /// Step 4. A file that cannot be removed does no harm.
    fn clean_up(&self, lock: &KeyLock, work: Work) {
        let _ = self.root.remove_all(&self.layout.partial(lock.key()));
        fail_point("partial-removed");
        drop(work);
    }

    /// Whether the key has an older record with other outputs.
    fn contradicts(&self, record: &Record) -> Result<bool, StoreError> {
        let earlier = self.record(&record.key)?;
        Ok(earlier.is_some_and(|earlier| earlier.nondeterministic || earlier.outputs != record.outputs))
    }
}

/// Aborts the process if the environment variable names this step.
fn fail_point(step: &str) {
    if std::env::var_os(FAIL_POINT_VARIABLE).is_some_and(|wanted| wanted == *step) {
        std::process::abort();
    }
}
