//! YAML's merge key: `<<: *defaults`, or a list of aliases. The mapping's own keys win, then those of earlier sources.
//!
//! The source may also be `${...}`. It then stays as an entry with the key `<<` until it is filled in.

use std::collections::HashSet;

use super::node::{Entry, Node, NodeKind};
use crate::manifest::diagnostic::{Diagnostic, join};

/// The merge key.
pub(in crate::manifest) const KEY: &str = "<<";

/// Reports that `wrong`, the value of a merge key in the mapping at `path`, is not a mapping.
pub(in crate::manifest) fn error(wrong: &Node, path: &str) -> Diagnostic {
    Diagnostic::new(join(path, KEY), &wrong.place, format!("`<<` cannot merge {}", wrong.describe()))
        .with_use(wrong.used_at.as_ref())
        .with_help("`<<` takes a mapping, as an alias or `${...}`, or a list of mappings")
}

/// Returns whether `value` cannot be merged before its references are filled in.
pub(in crate::manifest) fn is_pending(value: &Node) -> bool {
    let is_template = |node: &Node| matches!(node.kind, NodeKind::Template(_));
    is_template(value) || value.items().iter().any(is_template)
}

/// Merges `value` into `entries`, whose keys are `own`.
///
/// # Errors
/// With the value that is not a mapping.
pub(in crate::manifest) fn into(
    entries: &mut Vec<Entry>,
    own: &mut HashSet<String>,
    value: Node,
) -> Result<(), Box<Node>> {
    match value.kind {
        NodeKind::Map(more) => {
            entries.extend(more.into_iter().filter(|entry| own.insert(entry.key.value.clone())));
            Ok(())
        }
        NodeKind::Seq(sources) if sources.iter().all(|source| matches!(source.kind, NodeKind::Map(_))) => {
            sources.into_iter().try_for_each(|source| into(entries, own, source))
        }
        NodeKind::Seq(ref sources) => {
            let wrong = sources.iter().find(|source| !matches!(source.kind, NodeKind::Map(_)));
            Err(Box::new(wrong.unwrap_or(&value).clone()))
        }
        _ => Err(Box::new(value)),
    }
}
