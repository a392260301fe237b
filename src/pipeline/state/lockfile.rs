//! Locks: what the results of a pipeline rest on, as a file beside them that belongs under version control.
//!
//! A lock holds the key and the output digests of every task. Whether a run would give the same results is known
//! before it starts: the inputs of each task are taken to be what the lock says, which gives the key that it would
//! have. Whether it did is known afterwards, by the digests.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::components::{Components, Inputs};
use super::key::Subject;
use super::stale::{StaleReason, differences};
use crate::pipeline::plan::{Plan, Task, TaskId};
use crate::pipeline::whole_file::replace_file;
use crate::store::{Digest, Key, Record, Store, StoreError};

/// The version of the shape of a lock.
const FORMAT_VERSION: u32 = 1;

/// What the results of a pipeline rest on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lock {
    format_version: u32,
    pipeline: String,
    /// By the tasks' names.
    tasks: BTreeMap<String, Locked>,
}

/// What a task's outputs are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Locked {
    key: Key,
    outputs: BTreeMap<String, Digest>,
}

/// What is otherwise than a lock says.
#[derive(Clone, Debug, PartialEq)]
pub enum Mismatch {
    /// A task that the lock does not have.
    New(String),
    /// A task that only the lock has.
    Gone(String),
    /// A task that is computed from something else: other parameters, files, seed, or version of its kind.
    Key {
        /// Which.
        task: String,
        /// By the lock.
        locked: Key,
        /// Now.
        found: Key,
        /// What differs, if the store still has what was locked.
        reasons: Vec<StaleReason>,
    },
    /// A task that made something else of the same.
    Output {
        /// Which.
        task: String,
        /// The output.
        port: String,
    },
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::New(task) => write!(f, "{task}: the lock does not have it"),
            Self::Gone(task) => write!(f, "{task}: only the lock has it"),
            Self::Key { task, locked, found, reasons } => {
                let (locked, found) = (locked.short(), found.short());
                write!(f, "{task}: it would be computed from something else (key {found}, locked {locked})")?;
                reasons.iter().try_for_each(|reason| write!(f, "\n  {reason}"))
            }
            Self::Output { task, port } => {
                write!(f, "{task}: its output `{port}` is not the locked one, though its key is")
            }
        }
    }
}

impl Lock {
    /// Where the lock of a pipeline is: `results/<name>.lock`.
    pub fn path(plan: &Plan) -> PathBuf {
        Path::new("results").join(format!("{}.lock", plan.name()))
    }

    /// Locks what the tasks of a plan made; `None` unless each has a record.
    pub fn of<'r>(plan: &Plan, record: impl Fn(TaskId) -> Option<&'r Record>) -> Option<Self> {
        let locked = |task: &Task| Some((task.label.to_string(), record(task.id())?.into()));
        let tasks = plan.tasks().map(locked).collect::<Option<_>>()?;
        Some(Self { format_version: FORMAT_VERSION, pipeline: plan.name().to_owned(), tasks })
    }

    /// Reads a lock.
    pub fn read(path: &Path) -> io::Result<Self> {
        let lock: Self = serde_json::from_slice(&fs::read(path)?)?;
        if lock.format_version != FORMAT_VERSION {
            let found = lock.format_version;
            return Err(io::Error::other(format!(
                "it has format {found}, and this program reads {FORMAT_VERSION}"
            )));
        }
        Ok(lock)
    }

    /// Writes the lock, in the same bytes for the same results.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        let text = serde_json::to_string_pretty(self)? + "\n";
        replace_file(path, text.as_bytes())
    }

    /// What would be computed otherwise than the lock says, before anything runs. A task whose files are missing is
    /// left to the run to tell.
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
                let before = store.record(&locked.key)?.and_then(|record| Components::of(&record).ok());
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

    /// The inputs of a task by the lock; `None` if it does not have what the task needs.
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

    /// What came out otherwise than the lock says.
    pub fn check_run<'r>(&self, plan: &Plan, record: impl Fn(TaskId) -> Option<&'r Record>) -> Vec<Mismatch> {
        let mut mismatches = vec![];
        for task in plan.tasks() {
            let name = task.label.to_string();
            let (Some(locked), Some(record)) = (self.tasks.get(&name), record(task.id())) else {
                continue;
            };
            let differs = |port: &&String| record.output(port) != locked.outputs.get(*port);
            let ports = locked.outputs.keys().filter(differs);
            mismatches.extend(ports.map(|port| Mismatch::Output { task: name.clone(), port: port.clone() }));
        }
        mismatches
    }
}

impl From<&Record> for Locked {
    fn from(record: &Record) -> Self {
        let outputs = record.outputs.iter().map(|output| (output.port.clone(), output.digest)).collect();
        Self { key: record.key, outputs }
    }
}
