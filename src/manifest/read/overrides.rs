//! `--set path.to.key=value` and `--matrix axis=values`: changes to the tree before it is read as a manifest.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use thiserror::Error;

use super::fields;
use crate::manifest::diagnostic::Diagnostic;
use crate::manifest::text::budget::MAX_CELLS;
use crate::manifest::text::node::{Entry, Node, NodeKind};
use crate::manifest::text::parse::parse;
use crate::manifest::text::source::{Place, Source, Span, Spanned};

/// The name of an override in messages.
pub const OVERRIDE_SOURCE: &str = "--set";

/// The name of an axis override in messages.
const AXIS_SOURCE: &str = "--matrix";

/// One `--set` or `--matrix` argument: a path into the manifest and a YAML value.
///
/// The path must exist (`vars.source`, `matrix.clean_ratio`, `stages.poisoned.with.rate`; items of a list by their
/// position from 0), or be a field that a manifest may have: a top-level one such as `seed`, a stage's `with` and
/// everything in it, `matrix.seed`, `matrix.include`, `matrix.exclude`. The last of several overrides wins. `--matrix`
/// adds or replaces an axis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Override {
    source: Arc<Source>,
    /// Where the `=` is.
    equals: usize,
}

/// Why an argument is not an [`Override`].
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum OverrideError {
    /// There is no `=`.
    #[error("`{0}` has no `=`; write a path and a value, such as `vars.source=cifar10`")]
    NoValue(String),
    /// A name of the path is empty.
    #[error(
        "the path of `{0}` is incomplete; write names with dots between them, such as `vars.source=cifar10`"
    )]
    BadPath(String),
    /// There is nothing after the `=`.
    #[error("`{0}` has no value after `=`; write `null` for nothing, or `''` for an empty string")]
    EmptyValue(String),
    /// The name of an axis has more than one part.
    #[error(
        "`{0}` is not an axis; write a name and its values, such as `clean_ratio=0.01,0.05` or `seed=1..5`"
    )]
    NoAxis(String),
    /// A range of integers that is descending or too long.
    #[error(
        "`{0}` is not a range; write the first and the last integer, such as `seed=1..5`, at most {MAX_CELLS} in all"
    )]
    BadRange(String),
}

impl Override {
    /// Reads `path=value`.
    ///
    /// # Errors
    /// If there is no `=`, a name of the path is empty, or there is nothing after the `=`.
    pub fn new(text: &str) -> Result<Self, OverrideError> {
        let (path, value) = text.split_once('=').ok_or_else(|| OverrideError::NoValue(text.to_owned()))?;
        if path.split('.').any(|step| step.trim() != step || step.is_empty()) {
            return Err(OverrideError::BadPath(text.to_owned()));
        }
        if value.trim().is_empty() {
            return Err(OverrideError::EmptyValue(text.to_owned()));
        }
        let source = Source { name: OVERRIDE_SOURCE.to_owned(), text: text.to_owned() };
        Ok(Self { source: Arc::new(source), equals: path.len() })
    }

    /// Reads `axis=values`, which sets an axis of the matrix: values separated by commas, a range of integers that
    /// includes both ends (`1..5`), or a YAML list. The name of an existing value of the axis refers to that value.
    ///
    /// # Errors
    /// If there is no `=`, the axis has not exactly one name, or there are no values.
    pub fn axis(text: &str) -> Result<Self, OverrideError> {
        let (name, values) = text.split_once('=').ok_or_else(|| OverrideError::NoAxis(text.to_owned()))?;
        if name.trim() != name || name.is_empty() || name.contains('.') {
            return Err(OverrideError::NoAxis(text.to_owned()));
        }
        let values = values.trim();
        let list = match values.split_once("..") {
            _ if values.is_empty() => return Err(OverrideError::EmptyValue(text.to_owned())),
            _ if values.starts_with('[') => values.to_owned(),
            Some((first, last)) => {
                integers(first, last).ok_or_else(|| OverrideError::BadRange(text.to_owned()))?
            }
            None => format!("[{values}]"),
        };
        let path = format!("matrix.{name}");
        let source = Source { name: AXIS_SOURCE.to_owned(), text: format!("{path}={list}") };
        Ok(Self { source: Arc::new(source), equals: path.len() })
    }

    /// Returns the path: `stages.poisoned.with.rate`.
    pub fn path(&self) -> &str {
        &self.source.text[..self.equals]
    }

    fn steps(&self) -> Vec<Spanned<String>> {
        let mut offset = 0;
        let step = |name: &str| {
            let span = Span { offset, len: name.len() };
            offset += name.len() + 1;
            Spanned::new(name.to_owned(), Place::new(&self.source, span))
        };
        self.path().split('.').map(step).collect()
    }
}

/// Writes the argument: `path=value`.
impl fmt::Display for Override {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.source.text)
    }
}

impl FromStr for Override {
    type Err = OverrideError;

    fn from_str(text: &str) -> Result<Self, OverrideError> {
        Self::new(text)
    }
}

/// Lists the integers from `first` to `last`, if they are not more than a matrix can have.
fn integers(first: &str, last: &str) -> Option<String> {
    let (first, last): (i64, i64) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
    let count = last.checked_sub(first).filter(|&count| (0..MAX_CELLS as i64).contains(&count))?;
    let listed: Vec<String> = (first..=first + count).map(|value| value.to_string()).collect();
    Some(format!("[{}]", listed.join(", ")))
}

/// Returns whether a place is in an override.
pub(in crate::manifest) fn is_override(place: &Place) -> bool {
    [OVERRIDE_SOURCE, AXIS_SOURCE].contains(&place.source.name.as_str())
}

/// Applies the overrides to `root` in their order; returns their errors.
pub(in crate::manifest) fn apply(root: &mut Node, overrides: &[Override]) -> Vec<Diagnostic> {
    overrides.iter().flat_map(|change| apply_one(root, change)).collect()
}

fn apply_one(root: &mut Node, change: &Override) -> Vec<Diagnostic> {
    let parsed = parse(&change.source, change.equals + 1..change.source.text.len(), change.path());
    let Some(value) = parsed.node.filter(|_| parsed.errors.is_empty()) else {
        let place = Place::new(&change.source, Span::between(change.equals + 1, change.source.text.len()));
        let empty = || {
            vec![Diagnostic::new(change.path(), &place, "this is not a value").with_help("quote the value")]
        };
        return if parsed.errors.is_empty() { empty() } else { parsed.errors };
    };
    let steps = change.steps();
    let is_axis = change.source.name == AXIS_SOURCE;
    let mut node = root;
    for (depth, step) in steps.iter().enumerate() {
        node = match descend(node, &steps[..depth], step, is_axis) {
            Ok(below) => below,
            Err(error) => return vec![*error],
        };
    }
    *node = if is_of_axis(&steps) { picked(node, value) } else { value };
    vec![]
}

/// Whether a path leads to the values of an axis.
fn is_of_axis(steps: &[Spanned<String>]) -> bool {
    matches!(steps, [matrix, axis] if matrix.value == "matrix" && !["include", "exclude"].contains(&&*axis.value))
}

/// The new values of an axis: the name of an old value refers to that value, with its parameters.
fn picked(axis: &Node, mut values: Node) -> Node {
    if let (NodeKind::Seq(old), NodeKind::Seq(new)) = (&axis.kind, &mut values.kind) {
        for value in new {
            let is_named = |old: &&Node| old.entry("name").is_some_and(|name| name.value.kind == value.kind);
            if let Some(named) = old.iter().find(is_named) {
                *value = named.clone();
            }
        }
    }
    values
}

/// Returns the part `step` of `node`, which is at the path `walked`; adds it if that is allowed.
fn descend<'n>(
    node: &'n mut Node,
    walked: &[Spanned<String>],
    step: &Spanned<String>,
    is_axis: bool,
) -> Result<&'n mut Node, Box<Diagnostic>> {
    let walked: Vec<&str> = walked.iter().map(|step| step.value.as_str()).collect();
    let addable = if is_axis { Addable::Anything } else { addable(&walked) };
    let unknown = unknown_path(node, &walked, step, &addable);
    if matches!(node.kind, NodeKind::Null) && !matches!(addable, Addable::Names([])) {
        node.kind = NodeKind::Map(vec![]);
    }
    match &mut node.kind {
        NodeKind::Seq(items) => {
            let at = step.value.parse::<usize>().ok();
            at.and_then(|at| items.get_mut(at)).ok_or(unknown)
        }
        NodeKind::Map(entries) => {
            if let Some(at) = entries.iter().position(|entry| entry.key.value == step.value) {
                return Ok(&mut entries[at].value);
            }
            if !addable.allows(&step.value) {
                return Err(unknown);
            }
            let value = Node::new(step.place.clone(), NodeKind::Null);
            entries.push(Entry { key: step.clone(), value });
            entries.last_mut().map(|entry| &mut entry.value).ok_or(unknown)
        }
        _ => Err(unknown),
    }
}

/// The names that an override may add to a mapping.
enum Addable {
    Names(&'static [&'static str]),
    Anything,
}

impl Addable {
    fn allows(&self, name: &str) -> bool {
        match self {
            Self::Names(names) => names.contains(&name),
            Self::Anything => true,
        }
    }

    fn names(&self) -> &'static [&'static str] {
        match self {
            Self::Names(names) => names,
            Self::Anything => &[],
        }
    }
}

fn addable(walked: &[&str]) -> Addable {
    match walked {
        [] => Addable::Names(&fields::MANIFEST),
        ["matrix"] => Addable::Names(&["seed", "include", "exclude"]),
        ["results"] => Addable::Names(&fields::RESULTS),
        ["stages", _] => Addable::Names(&fields::STAGE),
        ["stages", _, "with", ..] => Addable::Anything,
        _ => Addable::Names(&[]),
    }
}

fn unknown_path(node: &Node, walked: &[&str], step: &Spanned<String>, addable: &Addable) -> Box<Diagnostic> {
    let name = &step.value;
    let parent =
        if walked.is_empty() { "the manifest".to_owned() } else { format!("`{}`", walked.join(".")) };
    let path = walked.iter().copied().chain([name.as_str()]).collect::<Vec<_>>().join(".");
    let error = |message| Diagnostic::new(path, &step.place, message);
    Box::new(match &node.kind {
        NodeKind::Map(_) | NodeKind::Null => {
            let entries = node.entries();
            let mut names: Vec<&str> = entries.iter().map(|entry| entry.key.value.as_str()).collect();
            names
                .extend(addable.names().iter().filter(|&name| !entries.iter().any(|e| e.key.value == *name)));
            error(format!("{parent} has no `{name}`")).with_names(&format!("names in {parent}"), name, names)
        }
        NodeKind::Seq(items) => error(format!("{parent} is a list and has no `{name}`")).with_help(format!(
            "use a position from 0 to {}, or set the whole list",
            items.len().saturating_sub(1)
        )),
        _ => error(format!("{parent} is {}, so it has no `{name}`", node.describe())).with_help(format!(
            "set {parent} itself, for example to a mapping: `--set '{}={{{name}: ...}}'`",
            walked.join(".")
        )),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(text: &str) -> Node {
        let source = Arc::new(Source { name: "m.yaml".into(), text: text.into() });
        parse(&source, 0..text.len(), "").node.unwrap()
    }

    fn applied(text: &str, overrides: &[&str]) -> (Node, Vec<Diagnostic>) {
        let mut root = tree(text);
        let overrides: Vec<Override> = overrides.iter().map(|text| text.parse().unwrap()).collect();
        let errors = apply(&mut root, &overrides);
        (root, errors)
    }

    #[test]
    fn values_have_yaml_types_and_the_later_wins() {
        let (root, errors) =
            applied("vars: {a: 1, b: [1, {c: x}]}", &["vars.a=2", "vars.a='3'", "vars.b.1.c=[4]"]);
        assert_eq!(errors, vec![]);
        assert_eq!(root.to_json(), serde_json::json!({"vars": {"a": "3", "b": [1, {"c": [4]}]}}));
    }

    #[test]
    fn a_named_value_of_an_axis_is_picked_by_its_name() {
        let text = "matrix: {d: [plain, {name: strong, w: 2}], include: [{d: 1}]}";
        let (root, errors) = applied(text, &["matrix.d=[strong, {name: strong, w: 3}, other, plain]"]);
        assert_eq!(errors, vec![]);
        let [strong, mine] = [2, 3].map(|w| serde_json::json!({"name": "strong", "w": w}));
        let axis = root.get(["matrix", "d"]).unwrap().to_json();
        assert_eq!(axis, serde_json::json!([strong, mine, "other", "plain"]));
    }

    #[test]
    fn a_value_is_placed_in_the_argument() {
        let (root, _) = applied("vars: {a: 1}", &["vars.a= [x, yz]"]);
        let yz = root.get(["vars", "a", "1"]).unwrap();
        assert_eq!((yz.place.source.name.as_str(), yz.place.text()), ("--set", "yz"));
    }

    #[test]
    fn known_fields_and_parameters_may_be_added() {
        let (root, errors) = applied(
            "stages: {a: {kind: x}}\nmatrix:",
            &["seed=3", "stages.a.with.augment.flip=false", "matrix.seed=[1, 2]"],
        );
        assert_eq!(errors, vec![]);
        assert_eq!(root.get(["stages", "a", "with", "augment", "flip"]).unwrap().to_json(), false);
        assert_eq!(root.get(["matrix", "seed"]).unwrap().to_json(), serde_json::json!([1, 2]));
        assert_eq!(root.get(["seed"]).unwrap().to_json(), 3);
    }

    #[test]
    fn an_axis_is_a_list_a_range_or_values_with_commas() {
        let axis = |text: &str| {
            let mut root = tree("matrix: {ratio: [1]}");
            assert_eq!(apply(&mut root, &[Override::axis(text).unwrap()]), vec![]);
            root.get(["matrix"]).unwrap().to_json()
        };
        assert_eq!(axis("seed=1..3"), serde_json::json!({"ratio": [1], "seed": [1, 2, 3]}));
        assert_eq!(axis("ratio=0.01,nad"), serde_json::json!({"ratio": [0.01, "nad"]}));
        assert_eq!(axis("ratio=[{name: x, a: 1}]"), serde_json::json!({"ratio": [{"name": "x", "a": 1}]}));
        assert_eq!(axis("seed=-1..-1")["seed"], serde_json::json!([-1]));
        for text in ["seed", "=1", "a.b=1", "seed=", "seed=3..1", "seed=1..x", "seed=1..9999999999"] {
            let message = Override::axis(text).unwrap_err().to_string();
            assert!(message.contains("write"), "{message}");
        }
    }

    #[test]
    fn unknown_paths_are_refused_with_the_nearest_name() {
        for (change, label) in [
            ("vars.sorce=1", "did you mean `source`?"),
            ("sede=1", "did you mean `seed`?"),
            ("stages.b.kind=x", ""),
            ("vars.source.deep=1", ""),
            ("matrix.ratio.7=1", ""),
        ] {
            let (_, errors) =
                applied("vars: {source: 1}\nmatrix: {ratio: [1]}\nstages: {erased: {kind: x}}", &[change]);
            assert_eq!((errors.len(), errors[0].label.as_str()), (1, label), "{change}");
            assert!(errors[0].help.is_some());
        }
    }

    #[test]
    fn wrong_arguments_report_what_to_write() {
        for text in ["vars.a", "=1", "vars..a=1", "vars.a=", "vars.a= "] {
            let message = Override::new(text).unwrap_err().to_string();
            assert!(message.contains("write"), "{message}");
        }
    }

    #[test]
    fn a_value_with_a_syntax_error_points_into_the_argument() {
        let (_, errors) = applied("vars: {a: 1}", &["vars.a=[1, 2"]);
        assert_eq!(errors.len(), 1);
        assert_eq!((errors[0].place.source.name.as_str(), errors[0].path.as_str()), ("--set", "vars.a"));
    }
}
