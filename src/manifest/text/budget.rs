//! Limits on size and depth: a manifest of a few lines must not fill the memory.

use super::node::{Node, NodeKind};
use super::source::Place;
use crate::manifest::diagnostic::Diagnostic;

/// The size of a manifest file, in bytes.
pub const MAX_FILE_BYTES: usize = 1 << 20;
/// The depth to which lists and mappings may be nested.
pub const MAX_DEPTH: usize = 64;
/// How many cells a matrix may have.
pub const MAX_CELLS: usize = 100_000;
/// How many values aliases and `${...}` may add.
pub const MAX_EXPANDED_NODES: usize = 100_000;
/// How much text aliases and `${...}` may add, in bytes.
pub const MAX_EXPANDED_BYTES: usize = 4 << 20;

/// What aliases and `${...}` may still add. Once it is used up, it stays so.
pub(in crate::manifest) struct Budget {
    nodes: usize,
    bytes: usize,
    reported: bool,
}

impl Budget {
    pub(in crate::manifest) fn new() -> Self {
        Self { nodes: MAX_EXPANDED_NODES, bytes: MAX_EXPANDED_BYTES, reported: false }
    }

    /// Pays for a copy of `node`. Returns whether the budget is enough.
    pub(in crate::manifest) fn take(&mut self, node: &Node) -> bool {
        let (mut nodes, mut bytes) = (0, 0);
        node.walk(&mut |node| {
            nodes += 1;
            bytes += own_bytes(node);
        });
        self.take_amount(nodes, bytes)
    }

    /// Pays for nodes and bytes of text. Returns whether the budget is enough.
    pub(in crate::manifest) fn take_amount(&mut self, nodes: usize, bytes: usize) -> bool {
        match (self.nodes.checked_sub(nodes), self.bytes.checked_sub(bytes)) {
            (Some(nodes), Some(bytes)) => (self.nodes, self.bytes) = (nodes, bytes),
            _ => (self.nodes, self.bytes) = (0, 0),
        }
        self.nodes > 0 && self.bytes > 0
    }

    /// Returns the error of a used-up budget, the first time only.
    pub(in crate::manifest) fn report(&mut self, path: &str, place: &Place) -> Option<Diagnostic> {
        (!std::mem::replace(&mut self.reported, true)).then(|| overspent(path, place))
    }
}

/// Returns the error of a used-up budget.
pub(in crate::manifest) fn overspent(path: &str, place: &Place) -> Diagnostic {
    let limit = format!("{MAX_EXPANDED_NODES} values or {} MiB of text", MAX_EXPANDED_BYTES >> 20);
    Diagnostic::new(path, place, "the manifest is too large with its references filled in")
        .with_label("this exceeds the limit")
        .with_help(format!("aliases and `${{...}}` may add up to {limit}"))
}

/// Returns the error of too many levels.
pub(in crate::manifest) fn too_deep(path: &str, place: &Place) -> Diagnostic {
    Diagnostic::new(
        path,
        place,
        format!("lists, mappings and references are nested more than {MAX_DEPTH} deep"),
    )
    .with_help("check the brackets and the indentation")
}

fn own_bytes(node: &Node) -> usize {
    match &node.kind {
        NodeKind::Str(text) => text.len(),
        NodeKind::Template(template) => template.len(),
        NodeKind::Map(entries) => entries.iter().map(|entry| entry.key.value.len()).sum(),
        _ => 0,
    }
}
