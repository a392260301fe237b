//! The reference of stage kinds in Markdown: ports and parameters, from the registries.

use std::fmt::Write;

use super::architectures::models;
use argd_pipe::stages::metrics::{METRICS, Metric};
use argd_pipe::stages::{self, Stage};
use serde_json::Value;

/// Writes the reference.
pub fn reference() -> String {
    let mut text = String::from(
        "# Stage kinds\n\nEvery kind of stage with its ports and parameters, written from the program. How a manifest is \
         built from them: [manifest.md](manifest.md).\n",
    );
    for kind in stages::all() {
        describe(&*kind, &mut text);
    }
    text += &models();
    metrics(&mut text);
    text
}

/// Lists what stages report as numbers.
fn metrics(text: &mut String) {
    text.push_str("\n## Metrics\n\nWhat stages report, by the name in records and CSV files. Numbers that are not counts have \
         two decimals.\n\n| metric | title | is | |\n|---|---|---|---|\n");
    for Metric { name, title, unit, about, .. } in METRICS {
        let unit = format!("{unit:?}").to_lowercase();
        writeln!(text, "| `{name}` | {} | {unit} | {} |", title.unwrap_or_default(), line(about)).unwrap();
    }
}

fn describe(kind: &dyn Stage, text: &mut String) {
    writeln!(text, "\n## {}\n\n{}", kind.kind(), kind.about()).unwrap();
    if !kind.inputs().is_empty() {
        text.push_str("\n| needs | takes | |\n|---|---|---|\n");
    }
    for input in kind.inputs() {
        let optional = if input.required { "" } else { " (optional)" };
        writeln!(text, "| `{}`{optional} | {:?} | {} |", input.name, input.takes, line(input.about)).unwrap();
    }
    text.push_str("\n| makes | | |\n|---|---|---|\n");
    for output in kind.outputs() {
        writeln!(text, "| `{}` | {:?} | {} |", output.name, output.makes, line(output.about)).unwrap();
    }
    let schema = kind.schema().to_value();
    for object in objects(&schema) {
        parameters(&schema, object, text);
    }
    if objects(&schema).is_empty() {
        text.push_str("\nIt has no parameters.\n");
    }
}

/// The mappings that the parameters of a kind may be: one, or one for each choice of a tag.
pub fn objects(schema: &Value) -> Vec<&Value> {
    let branches = schema.get("oneOf").and_then(Value::as_array);
    let all = branches.map_or_else(|| vec![schema], |branches| branches.iter().collect());
    all.into_iter().filter(|object| object.get("properties").is_some()).collect()
}

fn parameters(root: &Value, object: &Value, text: &mut String) {
    let fields = object["properties"].as_object().unwrap();
    let tag = fields.iter().find_map(|(name, field)| Some((name, field.get("const")?.as_str()?)));
    if let Some((name, value)) = tag {
        writeln!(text, "\n### {name}: {value}").unwrap();
    }
    if let Some(about) = object.get("description").and_then(Value::as_str) {
        writeln!(text, "\n{}", line(about)).unwrap();
    }
    let is_shown = |field: &Value| field.get("const").is_none() && field.get("deprecated").is_none();
    let fields: Vec<_> = fields.iter().filter(|(_, field)| is_shown(field)).collect();
    if !fields.is_empty() {
        text.push_str("\n| with | is | default | |\n|---|---|---|---|\n");
    }
    for (name, field) in fields {
        let about = field.get("description").and_then(Value::as_str).unwrap_or_default();
        let default = field.get("default").map_or_else(String::new, |default| format!("`{default}`"));
        let is = kind_of(root, field);
        writeln!(text, "| `{name}` | {is} | {default} | {} |", line(about)).unwrap();
    }
}

/// What a schema refers to.
pub fn target<'s>(root: &'s Value, schema: &Value) -> Option<&'s Value> {
    root.pointer(schema.get("$ref")?.as_str()?.strip_prefix('#')?)
}

/// What a value may be, in a few words.
fn kind_of(root: &Value, schema: &Value) -> String {
    if let Some(target) = target(root, schema) {
        return kind_of(root, target);
    }
    if let Some(only) = schema.get("const") {
        return format!("`{}`", plain(only));
    }
    if let Some(words) = schema.get("enum").and_then(Value::as_array) {
        return words.iter().map(|word| format!("`{}`", plain(word))).collect::<Vec<_>>().join(", ");
    }
    for choice in ["oneOf", "anyOf", "allOf"] {
        if let Some(branches) = schema.get(choice).and_then(Value::as_array) {
            return branches.iter().map(|branch| kind_of(root, branch)).collect::<Vec<_>>().join(", ");
        }
    }
    let types = match schema.get("type") {
        Some(Value::Array(types)) => types.iter().map(plain).collect::<Vec<_>>().join(" or "),
        Some(one) => plain(one),
        None => "anything".to_owned(),
    };
    let inside = schema.get("items").filter(|items| items.is_object());
    let inside = inside.map_or_else(String::new, |items| format!(" of {}", kind_of(root, items)));
    let fields = schema.get("properties").and_then(Value::as_object);
    let fields = fields.map_or_else(String::new, |fields| {
        format!(" with {}", fields.keys().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", "))
    });
    format!("{types}{inside}{fields}{}", range(schema))
}

fn range(schema: &Value) -> String {
    let bounds = [
        ("minimum", "from"),
        ("exclusiveMinimum", "above"),
        ("maximum", "to"),
        ("exclusiveMaximum", "below"),
    ];
    let words = bounds.iter().filter_map(|(name, word)| Some(format!(" {word} {}", schema.get(*name)?)));
    words.collect::<String>().replace(".0", "")
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Text of several lines as one cell of a table.
fn line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}
