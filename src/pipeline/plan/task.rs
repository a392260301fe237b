//! Tasks: what a stage becomes at one cell of the axes that it uses.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::label::{Label, TaskId, TaskRef};
use crate::stages::{Bound, Output};

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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Policy {
    /// If the store does not have what it makes.
    #[default]
    IfMissing,
    /// Whether or not the store has what it makes.
    Always,
    /// Not at all: tasks that need it use what the store has, or are skipped.
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
    /// The parameters as the manifest gives them, references filled in.
    pub with: Arc<Value>,
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
