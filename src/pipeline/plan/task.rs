//! Tasks: one stage at one cell of the axes that it uses.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::label::{Label, TaskId, TaskRef};
use crate::stages::{Bound, Output};

/// The connection of one port to the task that feeds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connection {
    /// The port.
    pub port: &'static str,
    /// The task that makes the artifacts.
    pub producer: TaskId,
    /// The input's name (`port`, `port.part`) and the producer's output.
    pub artifacts: Vec<(String, &'static str)>,
}

impl Connection {
    /// Whether the connection feeds an input (`port`, `port.part`).
    pub fn has(&self, input: &str) -> bool {
        self.artifacts.iter().any(|(name, _)| name == input)
    }
}

/// When a task runs. It does not enter the key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Policy {
    /// If the store does not have its outputs.
    #[default]
    IfMissing,
    /// Always, even if the store has its outputs.
    Always,
    /// Never. Tasks that need it use the store's outputs, or are skipped.
    Never,
}

/// A stage at one cell of the axes that it uses: the unit of scheduling and caching.
pub struct Task {
    /// Its label.
    pub label: TaskRef,
    /// The stage kind.
    pub kind: &'static str,
    /// The version of the kind's implementation.
    pub version: u32,
    /// The outputs that the kind makes with its parameters.
    pub outputs: Vec<&'static Output>,
    /// The parameters as in the manifest, with references resolved.
    pub with: Arc<Value>,
    /// The kind with its parameters.
    pub bound: Arc<dyn Bound>,
    /// The effective seed; `None` if the outputs do not depend on it.
    pub seed: Option<u64>,
    /// The connections of its ports, in the kind's order.
    pub inputs: Vec<Connection>,
    /// When it runs.
    pub policy: Policy,
}

impl Task {
    /// The task in a plan with other ids. `None` if that plan lacks it or a task that it needs.
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

    /// The tasks that it needs. A task that feeds two ports appears twice.
    pub fn needs(&self) -> impl Iterator<Item = TaskId> + '_ {
        self.inputs.iter().map(|connection| connection.producer)
    }
}
