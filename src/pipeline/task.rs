//! Tasks: what a stage becomes at one cell of the axes that it uses.

use std::fmt;
use std::ops::Deref;
use std::path::PathBuf;
use std::sync::Arc;

use serde::ser::{Serialize, SerializeMap, SerializeStruct, Serializer};

use super::error::TaskError;
use crate::stages::{Bound, Output, StageError};

/// A task's position in its plan: inputs come before what needs them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskId(pub usize);

impl Serialize for TaskId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.0 as u64)
    }
}

/// How a task is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    /// Its position in the plan.
    pub id: TaskId,
    /// The stage's name.
    pub stage: String,
    /// Axis and value label for each axis that it uses, in the manifest's axis order.
    pub axes: Vec<(String, String)>,
}

impl Label {
    /// The label of its value on an axis, if it uses that axis.
    pub fn axis(&self, name: &str) -> Option<&str> {
        self.axes.iter().find(|(axis, _)| axis == name).map(|(_, value)| value.as_str())
    }
}

/// Writes `stage`, or `stage@axis=value,axis=value`.
impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.stage)?;
        for (i, (axis, value)) in self.axes.iter().enumerate() {
            write!(f, "{}{axis}={value}", if i == 0 { '@' } else { ',' })?;
        }
        Ok(())
    }
}

/// A label that is cheap to copy into every event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskRef(Arc<Label>);

impl From<Label> for TaskRef {
    fn from(label: Label) -> Self {
        Self(Arc::new(label))
    }
}

impl Deref for TaskRef {
    type Target = Label;

    fn deref(&self) -> &Label {
        &self.0
    }
}

impl fmt::Display for TaskRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Writes `{id, name, stage, axes: {axis: value}}`.
impl Serialize for TaskRef {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("Task", 4)?;
        fields.serialize_field("id", &self.id)?;
        fields.serialize_field("name", &self.to_string())?;
        fields.serialize_field("stage", &self.stage)?;
        fields.serialize_field("axes", &InOrder(&self.axes))?;
        fields.end()
    }
}

/// Pairs as a JSON object that keeps their order.
pub(super) struct InOrder<'a, V>(pub &'a [(String, V)]);

impl<V: Serialize> Serialize for InOrder<'_, V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in self.0 {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

/// Where the artifacts of one port come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connection {
    /// The port.
    pub port: &'static str,
    /// The task that makes them.
    pub producer: TaskId,
    /// What the stage gets (`port`, `port.part`) and the producer's output that it is.
    pub artifacts: Vec<(String, &'static str)>,
}

impl Connection {
    /// Whether an input (`port`, `port.part`) comes this way.
    pub fn has(&self, input: &str) -> bool {
        self.artifacts.iter().any(|(name, _)| name == input)
    }
}

/// When a task is to run. No part of its key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Policy {
    /// If the store does not have what it makes.
    #[default]
    IfMissing,
    /// In any case.
    Always,
    /// In no case: what needs it can do with what the store has, or not at all.
    Never,
}

/// A stage at one cell of the axes that it uses: what is scheduled, keyed and cached.
pub struct Task {
    /// How it is called.
    pub label: TaskRef,
    /// The stage kind.
    pub kind: &'static str,
    /// The version of the kind's implementation.
    pub version: u32,
    /// What the kind makes with its parameters.
    pub outputs: Vec<&'static Output>,
    /// The kind with its parameters.
    pub bound: Arc<dyn Bound>,
    /// The effective seed; `None` if the outputs do not depend on it.
    pub seed: Option<u64>,
    /// Where its inputs come from, by port as the kind lists them.
    pub inputs: Vec<Connection>,
    /// When it is to run.
    pub policy: Policy,
}

impl Task {
    /// The task in a plan with other ids; `None` if it, or something that it needs, has none there.
    pub(super) fn renumbered(mut self, new: impl Fn(TaskId) -> Option<TaskId>) -> Option<Self> {
        let id = new(self.id())?;
        self.label = Label { id, ..(*self.label).clone() }.into();
        for connection in &mut self.inputs {
            connection.producer = new(connection.producer)?;
        }
        Some(self)
    }

    /// Says that a file or folder that it reads is not there, and how to come by it.
    pub(super) fn lacks(&self, path: PathBuf, mut hint: String) -> TaskError {
        if let Some(advice) = self.bound.advice(&self.label.stage) {
            hint = format!("{advice}\n{hint}");
        }
        StageError::InputMissing { path, hint }.into()
    }

    /// Its position in the plan.
    pub fn id(&self) -> TaskId {
        self.label.id
    }

    /// The names of its inputs: `port`, `port.part`.
    pub fn input_names(&self) -> impl Iterator<Item = &str> + '_ {
        self.inputs.iter().flat_map(|connection| connection.artifacts.iter().map(|(name, _)| name.as_str()))
    }

    /// The tasks that it needs; one that feeds two ports comes twice.
    pub fn needs(&self) -> impl Iterator<Item = TaskId> + '_ {
        self.inputs.iter().map(|connection| connection.producer)
    }
}
