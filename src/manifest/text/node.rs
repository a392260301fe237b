//! The tree of a YAML text: values that know where they are written.

use serde_json::{Map, Number, Value};

use super::source::{Place, Spanned};
use super::template::Template;

/// A value, the place where it is written, and the place where it is used if that differs.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Where it is written: the text that the user should change.
    pub place: Place,
    /// Where it is used, if it comes from an alias, `${...}` or the matrix.
    pub used_at: Option<Place>,
    /// The value.
    pub kind: NodeKind,
}

/// The value of a [`Node`].
#[derive(Clone, Debug, PartialEq)]
pub enum NodeKind {
    /// Nothing, `null` or `~`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// An integer that fits `i64` or `u64`.
    Int(i128),
    /// A finite number.
    Float(f64),
    /// Text.
    Str(String),
    /// Text with `${...}` in it.
    Template(Template),
    /// A list.
    Seq(Vec<Node>),
    /// A mapping in the order of the file, each key once. A key `<<` holds a `${...}` that is not merged yet.
    Map(Vec<Entry>),
}

/// A key of a mapping with its value.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The key.
    pub key: Spanned<String>,
    /// The value.
    pub value: Node,
}

impl Node {
    /// Returns a node that is written and used at `place`.
    pub fn new(place: Place, kind: NodeKind) -> Self {
        Self { place, used_at: None, kind }
    }

    /// Returns the entries of a mapping; none for anything else.
    pub fn entries(&self) -> &[Entry] {
        match &self.kind {
            NodeKind::Map(entries) => entries,
            _ => &[],
        }
    }

    /// Returns the keys of a mapping; none for anything else.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.entries().iter().map(|entry| entry.key.value.as_str())
    }

    /// Returns the items of a list; none for anything else.
    pub fn items(&self) -> &[Node] {
        match &self.kind {
            NodeKind::Seq(items) => items,
            _ => &[],
        }
    }

    /// Returns the text of a string.
    pub fn as_str(&self) -> Option<&str> {
        match &self.kind {
            NodeKind::Str(text) => Some(text),
            _ => None,
        }
    }

    /// Returns the entry of a mapping.
    pub fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries().iter().find(|entry| entry.key.value == key)
    }

    /// Returns the value under a key of a mapping, or at a position (from 0) of a list.
    pub fn child(&self, step: &str) -> Option<&Node> {
        match &self.kind {
            NodeKind::Seq(items) => items.get(step.parse::<usize>().ok()?),
            _ => self.entry(step).map(|entry| &entry.value),
        }
    }

    /// Follows steps down the tree; see [`Node::child`].
    pub fn get<'s>(&self, steps: impl IntoIterator<Item = &'s str>) -> Option<&Node> {
        steps.into_iter().try_fold(self, Self::child)
    }

    /// Returns the value as JSON. A `${...}` that is not filled in is text.
    pub fn to_json(&self) -> Value {
        match &self.kind {
            NodeKind::Null => Value::Null,
            NodeKind::Bool(value) => Value::Bool(*value),
            NodeKind::Int(value) => Number::from_i128(*value).map_or(Value::Null, Value::Number),
            NodeKind::Float(value) => Number::from_f64(*value).map_or(Value::Null, Value::Number),
            NodeKind::Str(text) => Value::String(text.clone()),
            NodeKind::Template(template) => Value::String(template.to_string()),
            NodeKind::Seq(items) => Value::Array(items.iter().map(Self::to_json).collect()),
            NodeKind::Map(entries) => Value::Object(
                entries
                    .iter()
                    .map(|entry| (entry.key.value.clone(), entry.value.to_json()))
                    .collect::<Map<_, _>>(),
            ),
        }
    }

    /// Returns the value as `${...}` inside text writes it: strings without quotes, other values as JSON.
    pub fn to_text(&self) -> String {
        match &self.kind {
            NodeKind::Str(text) => text.clone(),
            NodeKind::Template(template) => template.to_string(),
            _ => self.to_json().to_string(),
        }
    }

    /// Describes the value for messages: "the string `abc`".
    pub fn describe(&self) -> String {
        let short = |text: &str| match text.char_indices().nth(40) {
            Some((end, _)) => format!("{}…", &text[..end]),
            None => text.to_owned(),
        };
        match &self.kind {
            NodeKind::Null => "nothing (null)".to_owned(),
            NodeKind::Bool(value) => format!("`{value}`"),
            NodeKind::Int(_) | NodeKind::Float(_) => format!("the number `{}`", short(&self.to_text())),
            NodeKind::Str(text) => format!("the string `{}`", short(text)),
            NodeKind::Template(template) => format!("the string `{}`", short(&template.to_string())),
            NodeKind::Seq(_) => "a list".to_owned(),
            NodeKind::Map(_) => "a mapping".to_owned(),
        }
    }

    /// Sets where the value and everything in it is used.
    pub(in crate::manifest) fn used_at(mut self, place: &Place) -> Self {
        self.mark_used_at(place);
        self
    }

    fn mark_used_at(&mut self, place: &Place) {
        self.used_at = Some(place.clone());
        match &mut self.kind {
            NodeKind::Seq(items) => items.iter_mut().for_each(|item| item.mark_used_at(place)),
            NodeKind::Map(entries) => entries.iter_mut().for_each(|entry| entry.value.mark_used_at(place)),
            _ => {}
        }
    }

    /// Calls `visit` with this node and every node below it.
    pub(in crate::manifest) fn walk<'n>(&'n self, visit: &mut dyn FnMut(&'n Node)) {
        visit(self);
        self.items().iter().for_each(|item| item.walk(visit));
        self.entries().iter().for_each(|entry| entry.value.walk(visit));
    }

    /// Returns the number of levels: 1 for a scalar.
    pub(in crate::manifest) fn depth(&self) -> usize {
        let below = match &self.kind {
            NodeKind::Seq(items) => items.iter().map(Self::depth).max(),
            NodeKind::Map(entries) => entries.iter().map(|entry| entry.value.depth()).max(),
            _ => None,
        };
        1 + below.unwrap_or(0)
    }

    /// Returns whether both have the same value; their places do not matter. `1` and `1.0` are the same.
    pub fn same_value(&self, other: &Self) -> bool {
        match (&self.kind, &other.kind) {
            (NodeKind::Int(int), NodeKind::Float(float)) | (NodeKind::Float(float), NodeKind::Int(int)) => {
                *int as f64 == *float
            }
            _ => self.to_json() == other.to_json(),
        }
    }
}
