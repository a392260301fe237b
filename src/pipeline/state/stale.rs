//! Why a task is stale or missing: the differences between its key and the key of its last record.
//!
//! The record keeps the components of its key, so the reasons are exact. Each has the old and the new value of a
//! component; `None` is an absent one.

use std::fmt;

use serde::Serialize;
use serde_json::{Map, Value};

use super::components::{Components, Inputs, SOURCE};
use crate::pipeline::plan::{Task, TaskRef};
use crate::store::Digest;

/// Why a task is stale or missing.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "reason", rename_all = "kebab-case")]
pub enum StaleReason {
    /// No run of this pipeline computed a result for it.
    NeverRan,
    /// It was stopped or killed, or failed. The next run resumes from its checkpoint.
    Interrupted {
        /// Finished epochs of the training, if it is one.
        epoch: Option<usize>,
        /// Finished steps of the next epoch.
        step: Option<usize>,
    },
    /// Its last record is no longer in the cache: removed, or set aside as damaged.
    Removed,
    /// The stage is of another kind.
    Kind {
        /// The kind then.
        old: String,
        /// The kind now.
        new: String,
    },
    /// The implementation of the kind has changed.
    Version {
        /// Its version then.
        old: u32,
        /// Its version now.
        new: u32,
    },
    /// A parameter has another value, after defaults.
    Param {
        /// Its path: names and positions with dots between them.
        path: String,
        /// Its value then.
        old: Option<Value>,
        /// Its value now.
        new: Option<Value>,
    },
    /// The seed, which the outputs depend on.
    Seed {
        /// The seed then.
        old: Option<u64>,
        /// The seed now.
        new: Option<u64>,
    },
    /// The class of arithmetic.
    Numerics {
        /// The class then.
        old: String,
        /// The class now.
        new: String,
    },
    /// The encoding of keys.
    Encoding {
        /// Its version then.
        old: u32,
        /// Its version now.
        new: u32,
    },
    /// An input artifact has another content.
    Input {
        /// The input: `port` or `port.part`.
        port: String,
        /// The task that makes it, if that still exists.
        task: Option<TaskRef>,
        /// Its digest then.
        old: Option<Digest>,
        /// Its digest now.
        new: Option<Digest>,
    },
    /// A file or folder outside the cache has another content.
    Source {
        /// Its path now.
        path: Option<String>,
        /// Its digest then.
        old: Option<Digest>,
        /// Its digest now.
        new: Option<Digest>,
    },
    /// An input is unknown until the task that makes it has run. Only then is it known whether this task is stale.
    InputPending {
        /// The port.
        port: &'static str,
        /// The task that makes the input.
        task: TaskRef,
    },
}

/// Returns every component in which two keys of a task differ. Inputs that are still unknown are omitted: `pending`
/// picks them.
pub(super) fn differences(
    task: &Task,
    old: &Components,
    new: &Components,
    pending: impl Fn(&str) -> bool,
    feeds: impl Fn(&str) -> Option<TaskRef>,
) -> Vec<StaleReason> {
    if let Some((old, new)) = changed(&old.kind, &new.kind) {
        // Parameters and ports of different kinds cannot be compared.
        return vec![StaleReason::Kind { old, new }];
    }
    let mut reasons = vec![];
    reasons.extend(changed(&old.version, &new.version).map(|(old, new)| StaleReason::Version { old, new }));
    compare_params("", Some(&old.params), Some(&new.params), &mut reasons);
    reasons.extend(changed(&old.seed, &new.seed).map(|(old, new)| StaleReason::Seed { old, new }));
    let numerics = changed(&old.numerics, &new.numerics);
    reasons.extend(numerics.map(|(old, new)| StaleReason::Numerics { old, new }));
    let encoding = changed(&old.encoding, &new.encoding);
    reasons.extend(encoding.map(|(old, new)| StaleReason::Encoding { old, new }));
    for (name, old, new) in changed_inputs(&old.inputs, &new.inputs) {
        reasons.extend(match name.strip_prefix(SOURCE) {
            Some(n) => {
                let path = n.parse().ok().and_then(|n: usize| task.bound.sources().get(n).cloned());
                Some(StaleReason::Source { path: path.map(|path| path.display().to_string()), old, new })
            }
            None if pending(name) => None,
            None => Some(StaleReason::Input { task: feeds(name), port: name.clone(), old, new }),
        });
    }
    reasons
}

/// Both values, if they differ.
fn changed<T: Clone + PartialEq>(old: &T, new: &T) -> Option<(T, T)> {
    (old != new).then(|| (old.clone(), new.clone()))
}

/// Compares two trees of parameters. It descends where both are mappings, or lists of the same length.
fn compare_params(path: &str, old: Option<&Value>, new: Option<&Value>, reasons: &mut Vec<StaleReason>) {
    let join = |step: &str| if path.is_empty() { step.to_owned() } else { format!("{path}.{step}") };
    match (old, new) {
        (Some(Value::Object(old)), Some(Value::Object(new))) => {
            for name in names(old, new) {
                compare_params(&join(name), old.get(name), new.get(name), reasons);
            }
        }
        (Some(Value::Array(old)), Some(Value::Array(new))) if old.len() == new.len() => {
            for (at, (old, new)) in old.iter().zip(new).enumerate() {
                compare_params(&join(&at.to_string()), Some(old), Some(new), reasons);
            }
        }
        (old, new) if old == new => {}
        (old, new) => {
            let (old, new) = (old.cloned(), new.cloned());
            reasons.push(StaleReason::Param { path: path.to_owned(), old, new });
        }
    }
}

/// The inputs that differ, with their digests. Those of the new components come first.
fn changed_inputs<'a>(
    old: &'a Inputs,
    new: &'a Inputs,
) -> impl Iterator<Item = (&'a String, Option<Digest>, Option<Digest>)> {
    let names = new.keys().chain(old.keys().filter(|name| !new.contains_key(*name)));
    let entry = |name: &'a String| (name, old.get(name).copied(), new.get(name).copied());
    names.map(entry).filter(|(_, old, new)| old != new)
}

/// The names in either of two mappings. Those of the new one come first.
fn names<'a>(old: &'a Map<String, Value>, new: &'a Map<String, Value>) -> impl Iterator<Item = &'a String> {
    new.keys().chain(old.keys().filter(|name| !new.contains_key(*name)))
}

impl fmt::Display for StaleReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NeverRan => f.write_str("it never ran"),
            Self::Interrupted { epoch: Some(epoch), step: Some(step) } => {
                write!(f, "it was interrupted; the next run resumes after epoch {epoch}")?;
                if *step > 0 { write!(f, ", step {step}") } else { Ok(()) }
            }
            Self::Interrupted { .. } => {
                f.write_str("it was interrupted; the next run resumes from its checkpoint")
            }
            Self::Removed => f.write_str("its result is no longer in the cache"),
            Self::Kind { old, new } => write!(f, "kind: {old:?} -> {new:?}"),
            Self::Version { old, new } => write!(f, "version of the implementation: {old} -> {new}"),
            Self::Param { path, old, new } => {
                write!(f, "parameter `{path}`: {} -> {}", Shown(old.as_ref()), Shown(new.as_ref()))
            }
            Self::Seed { old, new } => {
                write!(f, "seed: {} -> {}", Shown(old.as_ref()), Shown(new.as_ref()))
            }
            Self::Numerics { old, new } => write!(f, "numerics: {old:?} -> {new:?}"),
            Self::Encoding { old, new } => write!(f, "encoding of keys: {old} -> {new}"),
            Self::Input { port, task, old, new } => {
                write!(f, "input `{port}`")?;
                if let Some(task) = task {
                    write!(f, " from {task}")?;
                }
                write!(f, ": {} -> {}", short(old), short(new))
            }
            Self::Source { path, old, new } => {
                let path = path.as_deref().unwrap_or("a file outside the cache");
                write!(f, "content of {path}: {} -> {}", short(old), short(new))
            }
            Self::InputPending { port, task } => write!(f, "it waits for `{port}` from {task}"),
        }
    }
}

/// A value that may be absent.
struct Shown<T>(Option<T>);

impl<T: fmt::Display> fmt::Display for Shown<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(value) => value.fmt(f),
            None => f.write_str("(none)"),
        }
    }
}

/// The beginning of a digest that may be absent.
fn short(digest: &Option<Digest>) -> String {
    digest.map_or_else(|| "(none)".to_owned(), |digest| digest.short())
}
