//! Keys: the hash of everything that determines what a task makes, and of nothing else.
//!
//! In: the version of the encoding, the kind and the version of its implementation, the typed parameters after
//! defaults, the content of every input (artifacts by port, outside files and folders as `source:<n>`), the seed
//! if the task depends on it, and the class of numerics. Out: names, axes, paths, times, threads, `-j`, and how
//! an input was computed. A kind that takes a path keeps it out of its serialised parameters and lists it among
//! its sources, so that moved data is the same data.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::error::TaskError;
use super::plan::Plan;
use super::task::{Task, TaskId};
use crate::store::{Digest, Key, Record, Store, StoreError, canon};

/// Content digests of a task's input artifacts, by `port` or `port.part`.
pub(super) type Inputs = BTreeMap<String, Digest>;

/// What the names of outside files and folders among the inputs begin with; a number follows.
pub(super) const SOURCE: &str = "source:";

/// A key with what it was made of.
#[derive(Clone, Debug, PartialEq)]
pub struct Keyed {
    /// The key.
    pub key: Key,
    /// Its components, as the record keeps them.
    pub components: Value,
}

/// The digests of a task's inputs; `None` unless there is a record for every task that it needs.
pub(super) fn inputs<'r>(task: &Task, record: impl Fn(TaskId) -> Option<&'r Record>) -> Option<Inputs> {
    let known = known_inputs(task, record);
    (known.len() == task.input_names().count()).then_some(known)
}

/// The digests of those inputs of a task that there is a record for.
pub(super) fn known_inputs<'r>(task: &Task, record: impl Fn(TaskId) -> Option<&'r Record>) -> Inputs {
    let mut inputs = Inputs::new();
    for connection in &task.inputs {
        let Some(record) = record(connection.producer) else { continue };
        let known = |(name, output): &(String, &'static str)| Some((name.clone(), *record.output(output)?));
        inputs.extend(connection.artifacts.iter().filter_map(known));
    }
    inputs
}

/// Keys a task: reads the outside files that it names, if any, and hashes all components.
pub(super) fn keyed(plan: &Plan, task: &Task, inputs: &Inputs, store: &Store) -> Result<Keyed, TaskError> {
    let components = components(plan, task, inputs, store)?;
    Ok(Keyed { key: Key::of(&components), components })
}

/// The components of a task's key, with these inputs.
pub(super) fn components(
    plan: &Plan,
    task: &Task,
    inputs: &Inputs,
    store: &Store,
) -> Result<Value, TaskError> {
    let mut contents = sources(task, store)?;
    contents.extend(inputs.clone());
    Ok(written(task, &contents, plan.numerics()))
}

/// The digests of the outside files and folders that a task reads.
pub(super) fn sources(task: &Task, store: &Store) -> Result<Inputs, TaskError> {
    let sources = task.bound.sources();
    let named =
        |(n, path): (usize, &PathBuf)| Ok((format!("{SOURCE}{n}"), source_digest(task, path, store)?));
    sources.iter().enumerate().map(named).collect()
}

fn source_digest(task: &Task, path: &Path, store: &Store) -> Result<Digest, TaskError> {
    store.digest_source(path).map_err(|error| match error {
        StoreError::SourceMissing(path) => {
            let hint = format!("the stage `{}` reads it; set its path there or by --set", task.label.stage);
            task.lacks(path, hint)
        }
        other => other.into(),
    })
}

fn written(task: &Task, contents: &Inputs, numerics: &str) -> Value {
    let contents: Map<String, Value> =
        contents.iter().map(|(name, digest)| (name.clone(), digest.to_string().into())).collect();
    let mut components = json!({
        "encoding": canon::VERSION,
        "kind": task.kind,
        "version": task.version,
        "params": task.bound.params(),
        "inputs": contents,
        "numerics": numerics,
    });
    if let (Some(seed), Value::Object(fields)) = (task.seed, &mut components) {
        fields.insert("seed".to_owned(), seed.into());
    }
    components
}
