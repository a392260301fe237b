//! Reads types, ranges and descriptions from a schema, and words the errors about values that do not match.

use serde_json::Value;

use crate::manifest::diagnostic::Diagnostic;
use crate::manifest::text::node::{Node, NodeKind};
use crate::manifest::text::scalar;

use saphyr_parser::ScalarStyle;

/// Returns the names of the types that a schema allows; an empty list allows every type.
pub(super) fn types(schema: &Value) -> Vec<&str> {
    match schema.get("type") {
        Some(Value::String(name)) => vec![name],
        Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).collect(),
        _ => vec![],
    }
}

/// Returns whether a schema allows the type of a value.
pub(super) fn fits_type(node: &Node, schema: &Value) -> bool {
    let types = types(schema);
    let own: &[&str] = match &node.kind {
        NodeKind::Null => &["null"],
        NodeKind::Bool(_) => &["boolean"],
        NodeKind::Int(_) => &["integer", "number"],
        NodeKind::Float(_) => &["number"],
        NodeKind::Str(_) | NodeKind::Template(_) => &["string"],
        NodeKind::Seq(_) => &["array"],
        NodeKind::Map(_) => &["object"],
    };
    schema != &Value::Bool(false) && (types.is_empty() || own.iter().any(|name| types.contains(name)))
}

/// Returns the allowed values, if a schema lists them.
pub(super) fn literals(schema: &Value) -> Option<Vec<&Value>> {
    match (schema.get("const"), schema.get("enum")) {
        (Some(only), _) => Some(vec![only]),
        (None, Some(Value::Array(allowed))) => Some(allowed.iter().collect()),
        _ => None,
    }
}

/// A range of numbers or lengths.
pub(super) struct Bounds {
    low: Option<(f64, bool)>,
    high: Option<(f64, bool)>,
}

impl Bounds {
    pub(super) fn contain(&self, value: f64) -> bool {
        let above = self.low.is_none_or(|(low, open)| value > low || (!open && value == low));
        above && self.high.is_none_or(|(high, open)| value < high || (!open && value == high))
    }

    /// Describes the range: "greater than 0 and at most 1".
    fn describe(&self) -> String {
        let low =
            self.low.map(|(low, open)| format!("{} {low}", if open { "greater than" } else { "at least" }));
        let high =
            self.high.map(|(high, open)| format!("{} {high}", if open { "less than" } else { "at most" }));
        let both: Vec<String> = low.into_iter().chain(high).collect();
        both.join(" and ")
    }
}

/// Returns the range of a number: from its keywords, and from its integer format if `value` is outside of that.
pub(super) fn number_bounds(schema: &Value, value: f64) -> Bounds {
    let number = |word: &str| schema.get(word).and_then(Value::as_f64);
    let (format_low, format_high) = match schema.get("format").and_then(Value::as_str) {
        Some("uint8") => (Some(0.0), Some(f64::from(u8::MAX))),
        Some("uint16") => (Some(0.0), Some(f64::from(u16::MAX))),
        Some("uint32") => (Some(0.0), Some(f64::from(u32::MAX))),
        Some("uint64" | "uint") => (Some(0.0), None),
        Some("int8") => (Some(f64::from(i8::MIN)), Some(f64::from(i8::MAX))),
        Some("int16") => (Some(f64::from(i16::MIN)), Some(f64::from(i16::MAX))),
        Some("int32") => (Some(f64::from(i32::MIN)), Some(f64::from(i32::MAX))),
        _ => (None, None),
    };
    let (format_low, format_high) =
        (format_low.filter(|&low| value < low), format_high.filter(|&high| value > high));
    let tightest = |closed: [Option<f64>; 2], open: Option<f64>, is_tighter: fn(f64, f64) -> bool| {
        let closed = closed.into_iter().flatten().map(|bound| (bound, false));
        let all = closed.chain(open.map(|bound| (bound, true)));
        all.reduce(|best, next| if is_tighter(next.0, best.0) { next } else { best })
    };
    Bounds {
        low: tightest([format_low, number("minimum")], number("exclusiveMinimum"), |a, b| a >= b),
        high: tightest([format_high, number("maximum")], number("exclusiveMaximum"), |a, b| a <= b),
    }
}

/// Returns the range of a length.
pub(super) fn size_bounds(schema: &Value, low: &str, high: &str) -> Bounds {
    let number = |word: &str| schema.get(word).and_then(Value::as_f64).map(|bound| (bound, false));
    Bounds { low: number(low), high: number(high) }
}

/// Reports a value that is out of range.
pub(super) fn out_of_bounds(node: &Node, bounds: &Bounds, schema: &Value, path: &str) -> Diagnostic {
    let range = bounds.describe();
    let message = match &node.kind {
        NodeKind::Seq(items) => format!("expected {range} items, found {}", items.len()),
        NodeKind::Str(text) => format!("expected {range} characters, found {}", text.chars().count()),
        _ => format!("expected a number that is {range}, found `{}`", node.to_text()),
    };
    described(Diagnostic::new(path, &node.place, message), node, schema, path)
}

/// Reports a value of the wrong type for `part`; `schema` is that of the field, for its description.
pub(super) fn wrong_type(node: &Node, part: &Value, schema: &Value, path: &str) -> Diagnostic {
    let types = types(part);
    let message = format!("expected {}, found {}", expected(&types), node.describe());
    let error = Diagnostic::new(path, &node.place, message);
    let error = match remedy(node, part, schema) {
        Some(remedy) => error.with_label(remedy),
        None => error,
    };
    described(error, node, schema, path)
}

/// Reports a value that matches no branch of a choice.
pub(super) fn fits_no_branch(
    node: &Node,
    types: &[&str],
    words: &[&Value],
    schema: &Value,
    path: &str,
) -> Diagnostic {
    let words = (!words.is_empty()).then(|| format!("one of {}", quoted(words)));
    let types = (!types.is_empty()).then(|| expected(types));
    let expected = words.into_iter().chain(types).collect::<Vec<_>>().join(", or ");
    let message = format!("expected {expected}, found {}", node.describe());
    described(Diagnostic::new(path, &node.place, message), node, schema, path)
}

/// Reports a value that is not one of the allowed ones.
pub(super) fn unknown_value(node: &Node, allowed: &[&Value], schema: &Value, path: &str) -> Diagnostic {
    let name = path.rsplit('.').next().unwrap_or(path);
    let message = match &node.kind {
        NodeKind::Str(text) => format!("unknown value `{text}` for `{name}`"),
        _ => format!("expected one of {}, found {}", quoted(allowed), node.describe()),
    };
    let names = allowed.iter().filter_map(|value| value.as_str());
    let error =
        Diagnostic::new(path, &node.place, message).with_names("valid values", &node.to_text(), names);
    described(error, node, schema, path)
}

/// Lists values: `` `a`, `b` or `c` ``.
pub(super) fn quoted(values: &[&Value]) -> String {
    let shown: Vec<String> = values.iter().map(|value| format!("`{}`", plain(value))).collect();
    match shown.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        _ => shown.join(""),
    }
}

/// Describes a field: the first paragraph of its description, and its default. `None` without a description.
pub(super) fn about(schema: &Value, name: &str) -> Option<String> {
    let description = schema.get("description")?.as_str()?;
    let paragraph = description.split("\n\n").next().unwrap_or(description).replace('\n', " ");
    let default = schema.get("default").filter(|default| !default.is_null() && !default.is_object());
    let default = default.map_or(String::new(), |default| format!(" Default: `{}`.", plain(default)));
    Some(format!("`{name}`: {paragraph}{default}"))
}

fn described(error: Diagnostic, node: &Node, schema: &Value, path: &str) -> Diagnostic {
    let is_index = |name: &&str| name.bytes().all(|byte| byte.is_ascii_digit());
    let name = path.rsplit('.').find(|name| !is_index(name)).unwrap_or(path);
    let error = match about(schema, name) {
        Some(about) => error.with_help(about),
        None => error,
    };
    error.with_use(node.used_at.as_ref())
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Lists the expected types; null only if it is the only one.
fn expected(types: &[&str]) -> String {
    let mut names: Vec<&str> = vec![];
    for name in types {
        let name = match *name {
            "integer" => "an integer",
            "number" => "a number",
            "string" => "a string",
            "boolean" => "`true` or `false`",
            "array" => "a list",
            "object" => "a mapping",
            _ if types.len() > 1 => continue,
            _ => "nothing (null)",
        };
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names.join(" or ")
}

/// Suggests how to write the value in the expected type, if that is clear.
fn remedy(node: &Node, part: &Value, schema: &Value) -> Option<String> {
    let types = types(part);
    let expects = |name| types.contains(&name);
    match &node.kind {
        NodeKind::Null => Some(match schema.get("default").filter(|default| !default.is_null()) {
            Some(default) => format!("write a value; without this line it is `{}`", plain(default)),
            None => "write a value".to_owned(),
        }),
        NodeKind::Float(value) if expects("integer") && value.fract() == 0.0 && value.abs() < 1e15 => {
            Some(format!("write `{value:.0}`"))
        }
        NodeKind::Str(text) if expects("boolean") && is_yes_or_no(text) => {
            Some("write `true` or `false`".to_owned())
        }
        NodeKind::Str(text) if !expects("array") => {
            let unquoted = scalar::read(text, ScalarStyle::Plain, None).ok()?;
            let unquoted = Node { kind: unquoted, ..node.clone() };
            let fits = fits_type(&unquoted, part);
            (fits && !text.is_empty()).then(|| format!("write `{text}` without quotes"))
        }
        NodeKind::Int(_) | NodeKind::Float(_) | NodeKind::Bool(_) if expects("string") => {
            Some(format!("write `\"{}\"`, with quotes", node.to_text()))
        }
        NodeKind::Str(_) | NodeKind::Int(_) | NodeKind::Float(_)
            if expects("array") && fits_alone(node, part) =>
        {
            Some(format!("write `[{}]`", node.to_text()))
        }
        _ => None,
    }
}

/// Whether a list with only this item is allowed, as far as the schema itself says.
fn fits_alone(node: &Node, list: &Value) -> bool {
    let items = list.get("items");
    items.is_none_or(|items| items.get("$ref").is_none() && fits_type(node, items))
        && size_bounds(list, "minItems", "maxItems").contain(1.0)
}

fn is_yes_or_no(text: &str) -> bool {
    matches!(text.to_ascii_lowercase().as_str(), "yes" | "no" | "on" | "off" | "y" | "n")
}
