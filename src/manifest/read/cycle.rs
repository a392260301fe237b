//! Stages that need each other in a circle.

use petgraph::algo::kosaraju_scc;
use petgraph::graph::{DiGraph, NodeIndex};
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

/// Finds circles in the needs of `stages`: one in each group of stages that all need each other, directly or not.
/// Other circles of a group show when this one is resolved.
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
    let circles = groups.iter().map(|group| walk(&graph, group[0], &group_of));
    circles.filter(|circle| !circle.is_empty()).map(|circle| error(&circle)).collect()
}

/// Follows the first need inside the group of `start`, until a stage comes again. Empty if there is no such need.
fn walk<'m>(graph: &Graph<'m>, start: NodeIndex, group_of: &[usize]) -> Vec<Edge<'m>> {
    let mut edges = vec![];
    let mut position = vec![None; graph.node_count()];
    let mut at = start;
    while position[at.index()].is_none() {
        position[at.index()] = Some(edges.len());
        let inside = graph.edges(at).filter(|edge| group_of[edge.target().index()] == group_of[at.index()]);
        let Some(edge) = inside.min_by_key(EdgeRef::id) else { return vec![] };
        edges.push((graph[at], graph[edge.target()], *edge.weight()));
        at = edge.target();
    }
    edges.split_off(position[at.index()].unwrap_or_default())
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
