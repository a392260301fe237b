//! Checks a tree against a JSON Schema, so that every error in the parameters of a stage has its place.
//!
//! The subset of draft 2020-12 that schemars writes for serde types: `$ref` into `$defs`, `type`, `enum`, `const`,
//! `allOf`, `oneOf`, `anyOf`, ranges, `format` of integers, lengths, `items`, `prefixItems`, `properties`, `required`,
//! and closed objects. The parameter types check
//! the rest.

mod choice;
mod object;
mod words;

use serde_json::Value;

use crate::manifest::diagnostic::{Diagnostic, join};
use crate::manifest::text::node::{Node, NodeKind};

/// Checks `node`, at `path` of the manifest, against `schema`; returns all errors.
///
/// An integer is valid where a number is expected. A float is never valid where an integer is expected: `10.0` is an
/// error that suggests `10`.
pub fn check(node: &Node, schema: &Value, path: &str) -> Vec<Diagnostic> {
    let mut errors = vec![];
    Checker { root: schema }.check(node, schema, path, &mut errors);
    errors
}

/// The most schemas for one value: more means a circle.
const MAX_PARTS: usize = 256;
/// The most `$ref` and `allOf` from one schema to the next: more means a circle.
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
            // An undecided choice has reported the value.
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

    /// Returns the schemas that `node` must match: `schema`, its references, and the chosen branch of each choice; and an
    /// error if no branch can be chosen.
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

    /// Adds `schema`, and all schemas that it refers to or contains.
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

    /// Returns the target of the `$ref` of a schema.
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

/// Checks the value itself: allowed values, range and length. `schema` is that of the field, for its description.
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
