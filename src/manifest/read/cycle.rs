//! Stages that need each other in a circle.

use std::collections::{HashMap, VecDeque};
use std::iter::successors;

use petgraph::algo::kosaraju_scc;
use petgraph::graph::{DiGraph, EdgeIndex, NodeIndex};
use petgraph::visit::EdgeRef;

use crate::manifest::diagnostic::{Diagnostic, join};
use crate::manifest::text::source::Place;

/// How many stages of a circle an error names: a manifest can have a circle of thousands.
const SHOWN: usize = 8;

/// A stage that needs another one, by their positions.
pub(super) struct Need<'m> {
    pub(super) stage: usize,
    pub(super) needs: usize,
    /// Where the needed stage is written.
    pub(super) place: &'m Place,
}

/// Names of stages, and where each need is written.
type Graph<'m> = DiGraph<&'m str, &'m Place>;

/// A stage, the stage that it needs, and where this is written.
type Edge<'m> = (&'m str, &'m str, &'m Place);

/// Finds circles in the needs of `stages`: in each group of stages that all need each other, directly or not, the
/// shortest one with the group's first stage. Other circles of a group show when this one is resolved. The time is that
/// of reading each need once, because a manifest of others can have 20,000 stages.
pub(super) fn find(stages: &[&str], needs: &[Need<'_>]) -> Vec<Diagnostic> {
    let mut graph = Graph::with_capacity(stages.len(), needs.len());
    for name in stages {
        graph.add_node(name);
    }
    for need in needs {
        graph.add_edge(NodeIndex::new(need.stage), NodeIndex::new(need.needs), need.place);
    }
    // Not `tarjan_scc`: it recurses, and a manifest can have 20,000 stages in a row.
    let mut groups = kosaraju_scc(&graph);
    let mut group_of = vec![0; stages.len()];
    for (number, group) in groups.iter_mut().enumerate() {
        group.sort();
        group.iter().for_each(|stage| group_of[stage.index()] = number);
    }
    groups.sort();
    let circles = groups.iter().filter_map(|group| shortest(&graph, group[0], &group_of));
    circles.map(|circle| error(&circle)).collect()
}

/// The shortest circle that begins with `start`, if there is one. All of its stages are in the group of `start`.
fn shortest<'m>(graph: &Graph<'m>, start: NodeIndex, group_of: &[usize]) -> Option<Vec<Edge<'m>>> {
    // The need that led to a stage first.
    let mut came_by = HashMap::new();
    let mut waiting = VecDeque::from([start]);
    while let Some(at) = waiting.pop_front() {
        let inside = graph.edges(at).filter(|edge| group_of[edge.target().index()] == group_of[at.index()]);
        let mut inside: Vec<_> = inside.collect();
        inside.sort_by_key(EdgeRef::id);
        for edge in inside {
            if edge.target() == start {
                return Some(back(graph, &came_by, edge.id()));
            }
            came_by.entry(edge.target()).or_insert_with(|| {
                waiting.push_back(edge.target());
                edge.id()
            });
        }
    }
    None
}

/// The needs that lead to `last`, and `last`.
fn back<'m>(graph: &Graph<'m>, came_by: &HashMap<NodeIndex, EdgeIndex>, last: EdgeIndex) -> Vec<Edge<'m>> {
    let before = |edge: &EdgeIndex| came_by.get(&graph.edge_endpoints(*edge)?.0).copied();
    let edges = successors(Some(last), before);
    let named = edges.filter_map(|edge| {
        let (from, to) = graph.edge_endpoints(edge)?;
        Some((graph[from], graph[to], *graph.edge_weight(edge)?))
    });
    let mut circle: Vec<_> = named.collect();
    circle.reverse();
    circle
}

fn error(circle: &[Edge<'_>]) -> Diagnostic {
    let (first, _, place) = circle[0];
    let mut names: Vec<&str> = circle.iter().take(SHOWN).map(|(stage, ..)| *stage).collect();
    names.extend((circle.len() > SHOWN).then_some("…"));
    names.push(first);
    let names = names.join(" → ");
    let message = match circle.len() {
        1 => format!("the stage `{first}` needs itself"),
        2..=SHOWN => format!("stages need each other in a circle: {names}"),
        count => format!("{count} stages need each other in a circle: {names}"),
    };
    let label = |(stage, needs, _): &Edge<'_>| format!("`{stage}` needs `{needs}`");
    let error = Diagnostic::new(join("stages", first), place, message)
        .with_label(label(&circle[0]))
        .with_help("remove one of these needs");
    circle[1..].iter().take(SHOWN - 1).fold(error, |error, edge| error.with_related(edge.2, label(edge)))
}
