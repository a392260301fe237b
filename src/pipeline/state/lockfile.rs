//! Lock files: the keys, output digests and metrics of a pipeline's tasks, for version control beside the results.
//!
//! Before a run, keys are compared: the key of each task is computed from the locked digests of its inputs. After the
//! run, the output digests and the metrics are compared. Metrics are locked by their hash: tables are written from the
//! metrics of records, which no output has to match.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::components::{Components, Inputs};
use super::key::Subject;
use super::stale::{StaleReason, differences};
use crate::files::{Durability, read_regular, write_whole};
use crate::pipeline::plan::{Plan, Task, TaskId};
use crate::store::{Digest, Key, Record, Store, StoreError, canon};

/// The format version of the locks that this program writes, and the latest that it reads.
const FORMAT_VERSION: u32 = 2;

/// The first format version that locks metrics.
const LOCKS_METRICS: u32 = 2;

/// The keys, output digests and metrics of a pipeline's tasks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lock {
    format_version: u32,
    pipeline: String,
    /// The tasks by name.
    tasks: BTreeMap<String, Locked>,
}

/// The key, the outputs and the metrics of a task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Locked {
    key: Key,
    outputs: BTreeMap<String, Digest>,
    /// The hash of the metrics. Only locks of format 1 lack it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    metrics: Option<Digest>,
}

/// A difference from a lock.
#[derive(Clone, Debug, PartialEq)]
pub enum Mismatch {
    /// A task that is not in the lock.
    New(String),
    /// A task that is only in the lock.
    Gone(String),
    /// A task with another key: its parameters, files, seed, or the version of its kind differ.
    Key {
        /// The task.
        task: String,
        /// The locked key.
        locked: Key,
        /// The key now.
        found: Key,
        /// The differences, if the store still has the locked record.
        reasons: Vec<StaleReason>,
    },
    /// A task whose output differs under the locked key.
    Output {
        /// The task.
        task: String,
        /// The output.
        port: String,
    },
    /// A task whose metrics differ under the locked key.
    Metrics(String),
}

/// The most bytes of a lock file.
const LARGEST: u64 = 256 << 20;

impl Mismatch {
    /// Why a key differs, as far as it is known.
    pub fn reasons(&self) -> &[StaleReason] {
        match self {
            Self::Key { reasons, .. } => reasons,
            _ => &[],
        }
    }
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::New(task) => write!(f, "{task}: it is not in the lock file"),
            Self::Gone(task) => write!(f, "{task}: it is only in the lock file"),
            Self::Key { task, locked, found, .. } => {
                let (locked, found) = (locked.short(), found.short());
                write!(f, "{task}: its key {found} differs from the locked key {locked}")
            }
            Self::Output { task, port } => {
                write!(f, "{task}: its output `{port}` differs from the locked one under the same key")
            }
            Self::Metrics(task) => {
                write!(f, "{task}: its metrics differ from the locked ones under the same key")
            }
        }
    }
}

impl Lock {
    /// The file of a pipeline's lock: `results/<name>.lock`.
    pub fn path(plan: &Plan) -> PathBuf {
        Path::new("results").join(format!("{}.lock", plan.name()))
    }

    /// Locks the results of a plan's tasks. `None` unless each task has a record.
    pub fn of<'r>(plan: &Plan, record: impl Fn(TaskId) -> Option<&'r Record>) -> Option<Self> {
        let locked = |task: &Task| Some((task.label.to_string(), record(task.id())?.into()));
        let tasks = plan.tasks().map(locked).collect::<Option<_>>()?;
        Some(Self { format_version: FORMAT_VERSION, pipeline: plan.name().to_owned(), tasks })
    }

    /// Reads a lock.
    pub fn read(path: &Path) -> io::Result<Self> {
        let lock: Self = serde_json::from_slice(&read_regular(path, LARGEST)?)?;
        let found = lock.format_version;
        if !(1..=FORMAT_VERSION).contains(&found) {
            return Err(io::Error::other(format!(
                "it has format {found}; this program reads formats up to {FORMAT_VERSION}"
            )));
        }
        let lacking = lock.tasks.iter().find(|(_, locked)| locked.metrics.is_none());
        match lacking.filter(|_| lock.locks_metrics()) {
            Some((task, _)) => Err(io::Error::other(format!("it has no metrics of {task}"))),
            None => Ok(lock),
        }
    }

    /// Whether it has the metrics of every task. Locks of format 1 have outputs alone.
    pub fn locks_metrics(&self) -> bool {
        self.format_version >= LOCKS_METRICS
    }

    /// Writes the lock. The same results give the same bytes.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        let text = serde_json::to_string_pretty(self)? + "\n";
        write_whole(path, Durability::Content, text.as_bytes())
    }

    /// Finds the tasks whose keys differ from the lock, before anything runs. The run itself reports missing files.
    pub fn check_plan(&self, plan: &Plan, store: &Store) -> Result<Vec<Mismatch>, StoreError> {
        let (mut mismatches, mut gone) = (vec![], self.tasks.clone());
        for task in plan.tasks() {
            let name = task.label.to_string();
            let Some(locked) = gone.remove(&name) else {
                mismatches.push(Mismatch::New(name));
                continue;
            };
            let Some(inputs) = self.inputs(plan, task) else { continue };
            if let Ok(keyed) = Subject::of(plan, task).keyed(&inputs, store)
                && keyed.key != locked.key
            {
                let before = store.record(&locked.key).ok().flatten();
                let before = before.and_then(|record| Components::of(&record).ok());
                let reasons = before.map_or(vec![], |before| {
                    let feeds = |name: &str| plan.feeding(task, name);
                    differences(task, &before, &keyed.components, |_| false, feeds)
                });
                let (locked, found) = (locked.key, keyed.key);
                mismatches.push(Mismatch::Key { task: name, locked, found, reasons });
            }
        }
        mismatches.extend(gone.into_keys().map(Mismatch::Gone));
        Ok(mismatches)
    }

    /// The locked digests of a task's inputs. `None` if the lock does not have all of them.
    fn inputs(&self, plan: &Plan, task: &Task) -> Option<Inputs> {
        let mut inputs = Inputs::new();
        for connection in &task.inputs {
            let producer = self.tasks.get(&plan.task(connection.producer).label.to_string())?;
            for (name, output) in &connection.artifacts {
                inputs.insert(name.clone(), *producer.outputs.get(*output)?);
            }
        }
        Some(inputs)
    }

    /// Finds the outputs and the metrics that differ from the lock.
    pub fn check_run<'r>(&self, plan: &Plan, record: impl Fn(TaskId) -> Option<&'r Record>) -> Vec<Mismatch> {
        let mut mismatches = vec![];
        for task in plan.tasks() {
            let name = task.label.to_string();
            let (Some(locked), Some(record)) = (self.tasks.get(&name), record(task.id())) else {
                continue;
            };
            let differs = |port: &&String| record.output(port) != locked.outputs.get(*port);
            let ports: Vec<&String> = locked.outputs.keys().filter(differs).collect();
            // Other outputs explain other metrics.
            if ports.is_empty() && locked.metrics.is_some_and(|locked| locked != digest(&record.metrics)) {
                mismatches.push(Mismatch::Metrics(name));
                continue;
            }
            let output = |port: &String| Mismatch::Output { task: name.clone(), port: port.clone() };
            mismatches.extend(ports.into_iter().map(output));
        }
        mismatches
    }
}

impl From<&Record> for Locked {
    fn from(record: &Record) -> Self {
        let outputs = record.outputs.iter().map(|output| (output.port.clone(), output.digest)).collect();
        Self { key: record.key, outputs, metrics: Some(digest(&record.metrics)) }
    }
}

/// Hashes metrics by their canonical bytes.
fn digest(metrics: &Map<String, Value>) -> Digest {
    let mut hasher = blake3::Hasher::new_derive_key("argd-pipe 2026-11 metrics v1");
    hasher.update(&canon::encode(&Value::Object(metrics.clone())));
    hasher.finalize().into()
}
