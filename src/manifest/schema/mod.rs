//! Checking a tree against a JSON Schema, so that every mistake in a stage's parameters points at its line.
//!
//! The subset of draft 2020-12 that schemars writes for serde types: `$ref` into `$defs`, `type`, `enum`, `const`,
//! `allOf`, `oneOf`, `anyOf`, ranges, `format` of integers, lengths, `items`, `prefixItems`, `properties`, `required`,
//! and closed objects. What else a schema says is left to the types that the parameters are read into.

mod choice;
mod object;
mod words;

use serde_json::Value;

use super::diagnostic::Diagnostic;
use super::fields::join;
use super::node::{Node, NodeKind};

/// Checks `node`, which belongs at `path` of the manifest, against `schema`; returns everything that is wrong.
///
/// An integer fits where a number is expected. A float does not fit where an integer is expected, not even `10.0`: it
/// is refused with the way to write it.
pub fn check(node: &Node, schema: &Value, path: &str) -> Vec<Diagnostic> {
    let mut errors = vec![];
    Checker { root: schema }.check(node, schema, path, &mut errors);
    errors
}

/// How many schemas one value may have to fit: more is a circle.
const MAX_PARTS: usize = 256;
/// How many `$ref` and `allOf` may lead from one schema to the next: more is a circle.
const MAX_HOPS: usize = 32;

struct Checker<'s> {
    root: &'s Value,
}

impl<'s> Checker<'s> {
    fn check(&self, node: &Node, schema: &'s Value, path: &str, errors: &mut Vec<Diagnostic>) {
        let (parts, undecided) = self.parts_for(node, schema, path);
        let is_decided = undecided.is_none();
        errors.extend(undecided.map(|error| *error));
        if let Some(wrong) = parts.iter().find(|part| !words::fits_type(node, part)) {
            // An undecided choice has said what is wrong with the value.
            errors.extend(is_decided.then(|| words::wrong_type(node, wrong, schema, path)));
            return;
        }
        let own_error = parts.iter().find_map(|part| check_value(node, part, schema, path));
        let has_own_error = own_error.is_some();
        errors.extend(own_error);
        match &node.kind {
            NodeKind::Map(_) => self.check_object(node, &parts, is_decided, path, errors),
            NodeKind::Seq(items) if !has_own_error => self.check_items(items, &parts, path, errors),
            _ => {}
        }
    }

    /// Returns the schemas that `node` must fit all of: `schema`, what it refers to, and of each choice the branch that
    /// is meant; and an error if no branch can be meant.
    fn parts_for(
        &self,
        node: &Node,
        schema: &'s Value,
        path: &str,
    ) -> (Vec<&'s Value>, Option<Box<Diagnostic>>) {
        let mut parts = vec![];
        self.flatten(schema, &mut parts, 0);
        let mut at = 0;
        while let Some(&part) = parts.get(at).filter(|_| at < MAX_PARTS) {
            at += 1;
            for branches in ["oneOf", "anyOf"].iter().filter_map(|&word| part.get(word)?.as_array()) {
                match self.choose(node, branches, schema, path) {
                    Ok(branch) => self.flatten(branch, &mut parts, 0),
                    Err(error) => return (parts, Some(error)),
                }
            }
        }
        (parts, None)
    }

    /// Adds `schema` and everything that it refers to or consists of.
    fn flatten(&self, schema: &'s Value, parts: &mut Vec<&'s Value>, hops: usize) {
        if hops > MAX_HOPS {
            return;
        }
        parts.push(schema);
        if let Some(target) = self.target(schema) {
            self.flatten(target, parts, hops + 1);
        }
        let all = schema.get("allOf").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        all.iter().for_each(|part| self.flatten(part, parts, hops + 1));
    }

    /// Returns what `$ref` of a schema points at.
    fn target(&self, schema: &'s Value) -> Option<&'s Value> {
        self.root.pointer(schema.get("$ref")?.as_str()?.strip_prefix('#')?)
    }

    fn check_items(&self, items: &[Node], parts: &[&'s Value], path: &str, errors: &mut Vec<Diagnostic>) {
        for (at, item) in items.iter().enumerate() {
            for part in parts {
                let prefix = part.get("prefixItems").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
                if let Some(schema) = prefix.get(at).or_else(|| part.get("items")) {
                    self.check(item, schema, &join(path, &at.to_string()), errors);
                }
            }
        }
    }
}

/// Checks a value by itself: its choice of words, range and length. `schema` is the field's own, for its description.
fn check_value(node: &Node, part: &Value, schema: &Value, path: &str) -> Option<Diagnostic> {
    if let Some(allowed) = words::literals(part) {
        let value = node.to_json();
        return (!allowed.contains(&&value)).then(|| words::unknown_value(node, &allowed, schema, path));
    }
    let (measure, bounds) = match &node.kind {
        NodeKind::Int(value) => (*value as f64, words::number_bounds(part, *value as f64)),
        NodeKind::Float(value) => (*value, words::number_bounds(part, *value)),
        NodeKind::Str(text) => {
            (text.chars().count() as f64, words::size_bounds(part, "minLength", "maxLength"))
        }
        NodeKind::Seq(items) => (items.len() as f64, words::size_bounds(part, "minItems", "maxItems")),
        _ => return None,
    };
    (!bounds.contain(measure)).then(|| words::out_of_bounds(node, &bounds, schema, path))
}

#[cfg(test)]
mod tests;
