//! Objects: unknown fields, missing fields, and the values of the other fields.

use serde_json::Value;

use super::{Checker, words};
use crate::manifest::diagnostic::{Diagnostic, join};
use crate::manifest::suggest::listed;
use crate::manifest::text::node::{Entry, Node};
use crate::plain::visible;

impl<'s> Checker<'s> {
    /// Checks a mapping against schemas that it must all match. If no branch of a choice was chosen (`is_decided` is
    /// false), only the values of known fields are checked: the other allowed and required fields are not known.
    pub(super) fn check_object(
        &self,
        node: &Node,
        parts: &[&'s Value],
        is_decided: bool,
        path: &str,
        errors: &mut Vec<Diagnostic>,
    ) {
        let known = properties(parts);
        let rest = parts.iter().find_map(|part| part.get("additionalProperties"));
        for entry in node.entries() {
            let name = entry.key.value.as_str();
            let path = join(path, name);
            let schemas: Vec<&Value> =
                known.iter().filter(|(known, _)| *known == name).map(|(_, s)| *s).collect();
            match schemas.as_slice() {
                [] if !is_decided => {}
                [] if is_closed(parts) => errors.push(unknown_field(entry, &known, node, path)),
                [] => rest.into_iter().for_each(|schema| self.check(&entry.value, schema, &path, errors)),
                schemas => schemas.iter().for_each(|schema| self.check(&entry.value, schema, &path, errors)),
            }
        }
        let required = parts.iter().filter_map(|part| part.get("required")?.as_array()).flatten();
        let missing =
            required.filter_map(Value::as_str).filter(|name| is_decided && node.entry(name).is_none());
        errors.extend(missing.map(|name| missing_field(node, name, &known, path)));
    }
}

/// Returns the fields of the schemas, each once unless its schemas differ.
fn properties<'s>(parts: &[&'s Value]) -> Vec<(&'s str, &'s Value)> {
    let mut known: Vec<(&str, &Value)> = vec![];
    let objects = parts.iter().filter_map(|part| part.get("properties")?.as_object());
    for (name, schema) in objects.flatten() {
        if !known.contains(&(name.as_str(), schema)) {
            known.push((name, schema));
        }
    }
    known
}

fn is_closed(parts: &[&Value]) -> bool {
    let refuses = |part: &&Value, word| part.get(word) == Some(&Value::Bool(false));
    parts.iter().any(|part| refuses(part, "additionalProperties") || refuses(part, "unevaluatedProperties"))
}

fn unknown_field(entry: &Entry, known: &[(&str, &Value)], node: &Node, path: String) -> Diagnostic {
    let name = &entry.key.value;
    let mut names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
    names.dedup();
    // The tag of a choice may be written elsewhere, and may differ between the cells of a matrix.
    let (chosen, fields) = match tag(node, known) {
        Some(tag) => (format!(" with `{tag}`"), format!("fields with `{tag}`")),
        None => (String::new(), "fields here".to_owned()),
    };
    let error = Diagnostic::new(path, &entry.key.place, format!("unknown field `{name}`{chosen}"));
    let error = match elsewhere(name).filter(|(field, _)| names.contains(field)) {
        Some((field, what)) => {
            let write = format!("{what} is `{field}`: write `{field}: {}`", visible(&entry.value.to_text()));
            error
                .with_label(format!("did you mean `{field}`?"))
                .with_help(write)
                .with_help(listed(&fields, &names))
        }
        None => error.with_names(&fields, name, names),
    };
    error.with_use(entry.value.used_at.as_ref())
}

/// Returns what other programs call by this name, and the field that we have for it.
fn elsewhere(name: &str) -> Option<(&'static str, &'static str)> {
    match name.replace('-', "_").as_str() {
        "lr" | "learning_rate" => Some(("schedule", "the learning rate")),
        "batch_size" => Some(("batch", "the number of images in one step")),
        "num_epochs" | "n_epochs" => Some(("epochs", "the number of epochs")),
        "wd" => Some(("weight_decay", "the weight decay")),
        _ => None,
    }
}

/// Writes the tag of a choice between mappings, and its value: `method: nad`.
fn tag(node: &Node, known: &[(&str, &Value)]) -> Option<String> {
    let is_tag = |(_, schema): &&(&str, &Value)| schema.get("const").is_some();
    let (name, _) = known.iter().find(is_tag)?;
    Some(format!("{name}: {}", node.entry(name)?.value.to_text()))
}

fn missing_field(node: &Node, name: &str, known: &[(&str, &Value)], path: &str) -> Diagnostic {
    let error =
        Diagnostic::new(join(path, name), &node.place.start(), format!("the field `{name}` is missing"))
            .with_label("missing in this mapping")
            .with_use(node.used_at.as_ref());
    let schema = known.iter().find(|(known, _)| *known == name).map_or(&Value::Null, |(_, schema)| schema);
    match words::about(schema, name) {
        Some(about) => error.with_help(about),
        None => error.with_help(format!("add `{name}: ...`")),
    }
}
