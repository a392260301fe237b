//! Keys: the hash of everything that determines a task's outputs, and of nothing else.
//!
//! In: the version of the encoding, the kind and the version of its implementation, the typed parameters after
//! defaults, the content of every input (artifacts by port, outside files and folders as `source:<n>`), the seed
//! if the task depends on it, and the class of numerics. Out: names, axes, paths, times, threads, `-j`, and how
//! an input was computed. A kind with a path omits it from its serialized parameters and lists it among its sources.
//! So moved data has the same key.

use std::path::{Path, PathBuf};

use super::components::{Components, Inputs, SOURCE};
use crate::pipeline::error::TaskError;
use crate::pipeline::plan::{Plan, Task, TaskId};
use crate::stages::Bound;
use crate::store::{Change, Key, Record, Source, Store, StoreError, canon};

/// A key with its components.
#[derive(Clone, Debug, PartialEq)]
pub struct Keyed {
    /// The key.
    pub key: Key,
    /// Its components, as the record keeps them.
    pub components: Components,
}

impl From<Components> for Keyed {
    fn from(components: Components) -> Self {
        Self { key: components.key(), components }
    }
}

/// The digests of a task's inputs. `None` unless every task that it needs has a record.
pub(in crate::pipeline) fn inputs<'r>(
    task: &Task,
    record: impl Fn(TaskId) -> Option<&'r Record>,
) -> Option<Inputs> {
    let known = known_inputs(task, record);
    (known.len() == task.input_names().count()).then_some(known)
}

/// The digests of a task's inputs that have a record.
pub(super) fn known_inputs<'r>(task: &Task, record: impl Fn(TaskId) -> Option<&'r Record>) -> Inputs {
    let mut inputs = Inputs::new();
    for connection in &task.inputs {
        let Some(record) = record(connection.producer) else { continue };
        let known = |(name, output): &(String, &'static str)| Some((name.clone(), *record.output(output)?));
        inputs.extend(connection.artifacts.iter().filter_map(known));
    }
    inputs
}

/// Everything about a task that enters its key, except its inputs.
#[derive(Clone, Copy)]
pub(in crate::pipeline) struct Subject<'a> {
    /// The stage's name, for messages.
    pub stage: &'a str,
    /// The stage kind.
    pub kind: &'a str,
    /// The version of its implementation.
    pub version: u32,
    /// The kind with its parameters.
    pub bound: &'a dyn Bound,
    /// The seed, if the outputs depend on it.
    pub seed: Option<u64>,
    /// The class of numerics.
    pub numerics: &'a str,
}

impl<'a> Subject<'a> {
    /// A task of a plan.
    pub fn of(plan: &'a Plan, task: &'a Task) -> Self {
        Self {
            stage: &task.label.stage,
            kind: task.kind,
            version: task.version,
            bound: &*task.bound,
            seed: task.seed,
            numerics: plan.numerics(),
        }
    }

    /// Reads the outside files of the task, and hashes all components.
    pub fn keyed(self, inputs: &Inputs, store: &Store) -> Result<Keyed, TaskError> {
        Ok(self.components(inputs, &self.sources(store)?).into())
    }

    /// The components of the key, with these inputs and outside files.
    pub fn components(self, inputs: &Inputs, sources: &[Source]) -> Components {
        let named = |(n, source): (usize, &Source)| (format!("{SOURCE}{n}"), source.digest);
        let mut contents: Inputs = sources.iter().enumerate().map(named).collect();
        contents.extend(inputs.clone());
        Components {
            encoding: canon::VERSION,
            kind: self.kind.to_owned(),
            version: self.version,
            params: self.bound.params(),
            inputs: contents,
            numerics: self.numerics.to_owned(),
            seed: self.seed,
        }
    }

    /// Reads the outside files and folders of the task.
    pub fn sources(self, store: &Store) -> Result<Vec<Source>, TaskError> {
        self.bound.sources().iter().map(|path| self.source(path, store)).collect()
    }

    /// Fails if an outside file or folder of the task has changed since it was read as `before`.
    pub fn check_unchanged(self, before: &[Source], store: &Store) -> Result<(), TaskError> {
        self.bound.sources().into_iter().zip(before).try_for_each(|(path, before)| {
            let change = match store.source_again(&path) {
                Err(StoreError::SourceMissing(_)) => Some(Change::Content),
                now => before.change(&now?),
            };
            change.map_or(Ok(()), |change| Err(TaskError::SourceChanged { path, change }))
        })
    }

    fn source(self, path: &Path, store: &Store) -> Result<Source, TaskError> {
        store.source(path).map_err(|error| match error {
            StoreError::SourceMissing(path) => {
                let hint = format!("the stage `{}` reads it; set its path there or with `--set`", self.stage);
                self.lacks(path, hint)
            }
            other => other.into(),
        })
    }

    /// The error of a missing file or folder, with the way to get it.
    pub fn lacks(self, path: PathBuf, hint: String) -> TaskError {
        TaskError::missing(path, hint, self.bound.advice(self.stage))
    }
}
