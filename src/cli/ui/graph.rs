//! Graphs of stages or tasks, drawn with lines, or written for Graphviz or Mermaid.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use super::style::Style;
use crate::pipeline::Standing;
use crate::plain::visible;

/// What is drawn.
pub(in crate::cli) struct Graph {
    /// The nodes, each after the ones that it needs: the plan has them in this order.
    nodes: Vec<Node>,
}

/// A stage or a task.
#[derive(Default)]
pub(in crate::cli) struct Node {
    pub name: String,
    /// How many tasks it represents, by state.
    pub counts: BTreeMap<Standing, usize>,
    /// The nodes that it needs directly.
    pub needs: BTreeSet<usize>,
}

impl Node {
    /// `12 tasks: 8 cached, 4 stale`, or the state of its only task.
    fn summary(&self) -> String {
        let tasks: usize = self.counts.values().sum();
        let parts: Vec<String> =
            self.counts.iter().map(|(standing, count)| format!("{count} {}", standing.name())).collect();
        match (tasks, self.counts.len()) {
            (1, _) => self.gravest().name().to_owned(),
            (_, 1) => format!("{tasks} tasks, {}", self.gravest().name()),
            _ => format!("{tasks} tasks: {}", parts.join(", ")),
        }
    }

    /// The gravest state of its tasks.
    fn gravest(&self) -> Standing {
        self.counts.keys().next_back().copied().unwrap_or(Standing::Cached)
    }
}

impl Graph {
    pub(in crate::cli) fn new(nodes: Vec<Node>) -> Self {
        Self { nodes }
    }

    /// By node: the nodes that need it.
    fn needed_by(&self) -> Vec<Vec<usize>> {
        let mut needed_by = vec![vec![]; self.nodes.len()];
        for (at, node) in self.nodes.iter().enumerate() {
            node.needs.iter().for_each(|&need| needed_by[need].push(at));
        }
        needed_by
    }

    /// Draws a line per node. All edges that lead to a node share one lane, which ends at the node.
    pub(super) fn ascii(&self, style: Style) -> String {
        let mut lanes = Lanes::default();
        let mut text = String::new();
        for (at, needed_by) in self.needed_by().iter().enumerate() {
            let node = &self.nodes[at];
            let lane = lanes.lane_of(at);
            let summary = style.standing(node.gravest(), &node.summary());
            let _ = writeln!(text, "{}  {}  {summary}", lanes.node_row(lane), visible(&node.name));
            let row = lanes.edge_row(lane, needed_by);
            text.extend(row.map(|row| row + "\n"));
        }
        text
    }

    /// Writes the graph for Graphviz.
    pub(in crate::cli) fn dot(&self, name: &str) -> String {
        let mut text = format!("digraph \"{name}\" {{\n  node [shape=box, style=\"rounded,filled\"];\n");
        for (at, node) in self.nodes.iter().enumerate() {
            let name = in_dot(&node.name);
            let (summary, color) = (node.summary(), fill(node.gravest()));
            let _ = writeln!(text, "  n{at} [label=\"{name}\\n{summary}\", fillcolor=\"{color}\"];");
        }
        for (from, to) in self.edges() {
            let _ = writeln!(text, "  n{from} -> n{to};");
        }
        text + "}\n"
    }

    /// Writes the graph for Mermaid.
    pub(in crate::cli) fn mermaid(&self) -> String {
        let mut text = "flowchart TD\n".to_owned();
        for (at, node) in self.nodes.iter().enumerate() {
            let name = in_mermaid(&node.name);
            let (summary, class) = (node.summary(), node.gravest().key());
            let _ = writeln!(text, "  n{at}[\"{name}<br/>{summary}\"]:::{class}");
        }
        for (from, to) in self.edges() {
            let _ = writeln!(text, "  n{from} --> n{to}");
        }
        let used: BTreeSet<Standing> = self.nodes.iter().map(Node::gravest).collect();
        for standing in used {
            let _ = writeln!(text, "  classDef {} fill:{}", standing.key(), fill(standing));
        }
        text
    }

    fn edges(&self) -> impl Iterator<Item = (usize, usize)> + '_ {
        self.nodes.iter().enumerate().flat_map(|(to, node)| node.needs.iter().map(move |&from| (from, to)))
    }
}

/// Writes a name inside of the quotes of Graphviz. A backslash begins an escape there, and `\"` does not end the quotes.
fn in_dot(name: &str) -> String {
    visible(name).replace('\\', r"\\").replace('"', r#"\""#)
}

/// Writes a name inside of the quotes of Mermaid, which shows labels as HTML, and knows entities that begin with `#`.
fn in_mermaid(name: &str) -> String {
    let entity = |c: char| match c {
        '#' => "#35;".to_owned(),
        '"' => "#quot;".to_owned(),
        '&' => "#amp;".to_owned(),
        '<' => "#lt;".to_owned(),
        '>' => "#gt;".to_owned(),
        '`' => "#96;".to_owned(),
        c => c.to_string(),
    };
    visible(name).chars().map(entity).collect()
}

/// The color of a box.
fn fill(standing: Standing) -> &'static str {
    match standing {
        Standing::Cached => "#c8e6c9",
        Standing::Stale => "#fff3c4",
        Standing::Missing => "#eceff1",
        Standing::Running => "#bbdefb",
        Standing::Failed | Standing::CannotRun => "#ffcdd2",
    }
}

/// The vertical lines of a drawing: each leads down to its node.
#[derive(Default)]
struct Lanes(Vec<Option<usize>>);

impl Lanes {
    /// The lane that leads to a node, or the first free one.
    fn lane_of(&mut self, node: usize) -> usize {
        let found = self.0.iter().position(|lane| *lane == Some(node));
        found.unwrap_or_else(|| self.take(node))
    }

    fn take(&mut self, node: usize) -> usize {
        let free = self.0.iter().position(Option::is_none).unwrap_or(self.0.len());
        if free == self.0.len() {
            self.0.push(None);
        }
        self.0[free] = Some(node);
        free
    }

    /// The row of a node: its mark, and the lanes that pass by.
    fn node_row(&self, own: usize) -> String {
        let mark = |(at, lane): (usize, &Option<usize>)| match lane {
            _ if at == own => "o",
            Some(_) => "│",
            None => " ",
        };
        let marks: Vec<&str> = self.0.iter().enumerate().map(mark).collect();
        marks.join(" ").trim_end().to_owned()
    }

    /// The row below a node, with lines to the lanes of the nodes that need it; `None` if a straight line is enough.
    fn edge_row(&mut self, own: usize, needed_by: &[usize]) -> Option<String> {
        self.0[own] = None;
        let before = self.0.clone();
        let to: BTreeSet<usize> = needed_by.iter().map(|&node| self.lane_of(node)).collect();
        while self.0.last() == Some(&None) {
            self.0.pop();
        }
        if to.iter().all(|&lane| lane == own) {
            return None;
        }
        let (left, right) = (own.min(*to.first()?), own.max(*to.last()?));
        let width = self.0.len().max(before.len());
        let row: String = (0..width).map(|at| cell(at, own, &before, &to, left..=right)).collect();
        Some(row.trim_end().to_owned())
    }
}

/// One lane's part of an edge row: the lane itself, and the line to the next.
fn cell(
    at: usize,
    own: usize,
    before: &[Option<usize>],
    to: &BTreeSet<usize>,
    span: std::ops::RangeInclusive<usize>,
) -> String {
    let passes = before.get(at).copied().flatten().is_some();
    let (up, down) = (passes || at == own, passes || to.contains(&at));
    let (left, right) = (span.contains(&at) && at > *span.start(), span.contains(&at) && at < *span.end());
    let joint = match (up, down, left, right) {
        // A line that crosses a lane goes behind it.
        _ if passes && !to.contains(&at) => '│',
        (false, false, false, false) => ' ',
        (false, false, _, _) => '─',
        (true, true, false, false) => '│',
        (true, true, false, true) => '├',
        (true, true, true, false) => '┤',
        (true, true, true, true) => '┼',
        (true, false, true, true) => '┴',
        (true, false, true, false) => '╯',
        (true, false, false, _) => '╰',
        (false, true, true, true) => '┬',
        (false, true, true, false) => '╮',
        (false, true, false, _) => '╭',
    };
    format!("{joint}{}", if right { '─' } else { ' ' })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph(edges: &[&[usize]]) -> Graph {
        let node = |(at, needs): (usize, &&[usize])| Node {
            name: at.to_string(),
            counts: BTreeMap::from([(Standing::Cached, 1)]),
            needs: needs.iter().copied().collect(),
        };
        Graph::new(edges.iter().enumerate().map(node).collect())
    }

    fn drawn(edges: &[&[usize]]) -> String {
        let text = graph(edges).ascii(Style { colored: false });
        text.replace("  cached", "")
    }

    #[test]
    fn a_chain_is_a_column() {
        assert_eq!(drawn(&[&[], &[0], &[1]]), "o  0\no  1\no  2\n");
    }

    #[test]
    fn a_diamond_forks_and_joins() {
        assert_eq!(drawn(&[&[], &[0], &[0], &[1, 2]]), "o  0\n├─╮\no │  1\n│ o  2\n├─╯\no  3\n");
    }

    #[test]
    fn all_formats_have_all_nodes_and_edges() {
        let graph = graph(&[&[], &[0], &[0, 1]]);
        let dot = graph.dot("p");
        assert!(dot.contains(r##"n2 [label="2\ncached", fillcolor="#c8e6c9"];"##), "{dot}");
        assert_eq!(dot.matches(" -> ").count(), 3);
        let mermaid = graph.mermaid();
        assert!(mermaid.contains(r#"n0["0<br/>cached"]:::cached"#), "{mermaid}");
        assert_eq!(mermaid.matches(" --> ").count(), 3);
    }

    #[test]
    fn a_name_does_not_leave_its_quotes() {
        let counts = BTreeMap::from([(Standing::Cached, 1)]);
        let node = Node { name: "a\\\"];\nx[<b>#quot;`".to_owned(), counts, ..Node::default() };
        let graph = Graph::new(vec![node]);
        assert!(graph.dot("p").contains(r#"[label="a\\\"];\\nx[<b>#quot;`\ncached","#), "{}", graph.dot("p"));
        let mermaid = r#"n0["a\#quot;];\nx[#lt;b#gt;#35;quot;#96;<br/>cached"]"#;
        assert!(graph.mermaid().contains(mermaid), "{}", graph.mermaid());
    }

    #[test]
    fn a_node_of_several_tasks_counts_them() {
        let counts = BTreeMap::from([(Standing::Cached, 8), (Standing::Stale, 4)]);
        let node = Node { counts, ..Node::default() };
        assert_eq!(node.summary(), "12 tasks: 8 cached, 4 stale");
        let node = Node { counts: BTreeMap::from([(Standing::Stale, 4)]), ..Node::default() };
        assert_eq!(node.summary(), "4 tasks, stale");
    }
}
