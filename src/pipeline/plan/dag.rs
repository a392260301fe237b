//! The plan: the DAG of a manifest's tasks.

use std::collections::{BTreeSet, HashMap};
use std::iter;
use std::path::PathBuf;
use std::sync::Arc;

use petgraph::Direction;
use petgraph::graph::{DiGraph, NodeIndex};
use petgraph::visit::{Dfs, IntoNeighbors, Reversed, Visitable};

use super::label::{TaskId, TaskRef};
use super::task::{Policy, Task};
use crate::manifest::Source;
use crate::nn::Backend;

/// The stages of the results, and their file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResultsSpec {
    /// The CSV file.
    pub csv: PathBuf,
    /// Stages whose tasks each make a row, in the order of the rows.
    pub from: Vec<String>,
}

/// The DAG of a manifest's tasks. Everything in it has been validated.
pub struct Plan {
    source: Arc<Source>,
    name: String,
    backend: Backend,
    seed: u64,
    axes: Vec<String>,
    stages: Vec<String>,
    results: Option<ResultsSpec>,
    graph: DiGraph<Task, ()>,
    by_stage: HashMap<String, Vec<TaskId>>,
}

/// These tasks and all tasks that can be reached from them.
fn reached<G>(graph: G, from: &BTreeSet<TaskId>) -> BTreeSet<TaskId>
where
    G: IntoNeighbors<NodeId = NodeIndex> + Visitable,
{
    let starts = from.iter().map(|id| NodeIndex::new(id.0)).collect();
    let mut search = Dfs::from_parts(starts, graph.visit_map());
    iter::from_fn(|| search.next(graph)).map(|node| TaskId(node.index())).collect()
}

/// The fields of a plan except its tasks.
pub(super) struct Frame {
    pub source: Arc<Source>,
    pub name: String,
    pub backend: Backend,
    pub seed: u64,
    pub axes: Vec<String>,
    pub stages: Vec<String>,
    pub results: Option<ResultsSpec>,
}

impl Plan {
    /// Links tasks. They must be in order: each task after the tasks that it needs, and at the position of its id.
    pub(super) fn new(frame: Frame, tasks: Vec<Task>) -> Self {
        let Frame { source, name, backend, seed, axes, stages, results } = frame;
        let edges = tasks.iter().map(|task| task.inputs.len()).sum();
        let mut graph = DiGraph::with_capacity(tasks.len(), edges);
        let mut by_stage: HashMap<String, Vec<TaskId>> = HashMap::new();
        for task in tasks {
            let (id, mut needs) = (task.id(), task.needs().collect::<Vec<_>>());
            by_stage.entry(task.label.stage.clone()).or_default().push(id);
            let node = graph.add_node(task);
            debug_assert_eq!(node.index(), id.0);
            needs.sort_unstable();
            needs.dedup();
            for need in needs {
                graph.add_edge(NodeIndex::new(need.0), node, ());
            }
        }
        Self { source, name, backend, seed, axes, stages, results, graph, by_stage }
    }

    /// The text of the manifest.
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// The manifest's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The backend that computes networks.
    pub fn backend(&self) -> &Backend {
        &self.backend
    }

    /// The class of numerics that every key holds.
    pub fn numerics(&self) -> &'static str {
        self.backend.numerics()
    }

    /// The manifest's seed. The axis `seed` replaces it.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The axes' names, in the manifest's order.
    pub fn axes(&self) -> &[String] {
        &self.axes
    }

    /// The stages' names, in the manifest's order.
    pub fn stages(&self) -> &[String] {
        &self.stages
    }

    /// The manifest's `results`, if it has any.
    pub fn results(&self) -> Option<&ResultsSpec> {
        self.results.as_ref()
    }

    /// The task that makes an input (`port`, `port.part`) of a task.
    pub(in crate::pipeline) fn feeding(&self, task: &Task, input: &str) -> Option<TaskRef> {
        let connection = task.inputs.iter().find(|connection| connection.has(input))?;
        Some(self.task(connection.producer).label.clone())
    }

    /// The number of tasks.
    pub fn len(&self) -> usize {
        self.graph.node_count()
    }

    /// Whether the plan has no tasks.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All tasks, each after the tasks that it needs.
    pub fn tasks(&self) -> impl ExactSizeIterator<Item = &Task> {
        (0..self.len()).map(|index| self.task(TaskId(index)))
    }

    /// A task of this plan.
    pub fn task(&self, id: TaskId) -> &Task {
        &self.graph[NodeIndex::new(id.0)]
    }

    /// The tasks of a stage, in the order of the cells.
    pub fn of_stage(&self, stage: &str) -> impl Iterator<Item = &Task> {
        self.by_stage.get(stage).into_iter().flatten().map(|&id| self.task(id))
    }

    /// The tasks that need a task directly.
    pub fn dependents(&self, id: TaskId) -> impl Iterator<Item = TaskId> + '_ {
        let node = NodeIndex::new(id.0);
        self.graph.neighbors_directed(node, Direction::Outgoing).map(|node| TaskId(node.index()))
    }

    /// The distinct tasks that a task needs directly.
    pub fn needs(&self, id: TaskId) -> impl Iterator<Item = TaskId> + '_ {
        let node = NodeIndex::new(id.0);
        self.graph.neighbors_directed(node, Direction::Incoming).map(|node| TaskId(node.index()))
    }

    /// Sets when a task runs.
    pub fn set_policy(&mut self, id: TaskId, policy: Policy) {
        self.graph[NodeIndex::new(id.0)].policy = policy;
    }

    /// Adds all tasks that these need, directly or not.
    pub fn with_upstream(&self, tasks: &BTreeSet<TaskId>) -> BTreeSet<TaskId> {
        reached(Reversed(&self.graph), tasks)
    }

    /// Adds all tasks that need these, directly or not.
    pub fn with_downstream(&self, tasks: &BTreeSet<TaskId>) -> BTreeSet<TaskId> {
        reached(&self.graph, tasks)
    }

    /// Keeps only these tasks, under new ids in the same order. They must include every task that they need.
    pub fn narrowed(self, tasks: &BTreeSet<TaskId>) -> Self {
        let Self { source, name, backend, seed, axes, stages, results, graph, .. } = self;
        let new: HashMap<TaskId, TaskId> =
            tasks.iter().enumerate().map(|(index, &old)| (old, TaskId(index))).collect();
        let (nodes, _) = graph.into_nodes_edges();
        let kept = nodes.into_iter().filter_map(|node| node.weight.renumbered(|old| new.get(&old).copied()));
        let frame = Frame { source, name, backend, seed, axes, stages, results };
        Self::new(frame, kept.collect())
    }

    /// The graph: an edge leads from a task to one that needs it. Node indices are the tasks' ids.
    pub fn graph(&self) -> &DiGraph<Task, ()> {
        &self.graph
    }
}
