//! Fills in `${...}`: variables once, when the manifest is loaded; the matrix for each cell.

use std::collections::{BTreeMap, HashSet};

use crate::manifest::diagnostic::{Diagnostic, join};
use crate::manifest::text::budget::{self, Budget, MAX_DEPTH};
use crate::manifest::text::merge;
use crate::manifest::text::node::{Entry, Node, NodeKind};
use crate::manifest::text::source::Place;
use crate::manifest::text::template::{Piece, Reference, Root, Template, push_text};

/// The value of a reference.
pub(in crate::manifest) enum Resolved {
    /// A value, and its text inside other text if that is not the usual one.
    Value(Node, Option<String>),
    /// Not known yet.
    Later,
    /// An error, which was reported.
    Failed,
}

/// Where references are looked up.
pub(in crate::manifest) trait Scope {
    /// Looks up a reference that is used at `path`.
    fn resolve(&mut self, reference: &Reference, path: &str) -> Resolved;
    /// The cost and the errors so far.
    fn progress(&mut self) -> &mut Progress;
}

/// The cost and the errors so far.
pub(in crate::manifest) struct Progress {
    pub(in crate::manifest) errors: Vec<Diagnostic>,
    budget: Budget,
    depth: usize,
}

impl Progress {
    pub(in crate::manifest) fn new() -> Self {
        Self { errors: vec![], budget: Budget::new(), depth: 0 }
    }

    /// Pays for a copy of `value` at `place`, or reports that it is too large.
    fn afford(&mut self, value: &Node, path: &str, place: &Place) -> bool {
        if !self.budget.take(value) {
            self.errors.extend(self.budget.report(path, place));
            return false;
        }
        if self.depth + value.depth() > MAX_DEPTH {
            self.errors.push(budget::too_deep(path, place));
            return false;
        }
        true
    }
}

/// Fills in the references in `node`, at `path`, that `scope` knows. A reference that fails stays unchanged.
pub(in crate::manifest) fn substitute(scope: &mut dyn Scope, node: &Node, path: &str) -> Node {
    if scope.progress().depth >= MAX_DEPTH {
        scope.progress().errors.push(budget::too_deep(path, &node.place));
        return node.clone();
    }
    scope.progress().depth += 1;
    let kind = match &node.kind {
        NodeKind::Template(template) => {
            let filled = fill(scope, node, template, path);
            scope.progress().depth -= 1;
            return filled;
        }
        NodeKind::Seq(items) => {
            let item = |(at, item): (usize, &Node)| substitute(scope, item, &join(path, &at.to_string()));
            NodeKind::Seq(items.iter().enumerate().map(item).collect())
        }
        NodeKind::Map(entries) => NodeKind::Map(substitute_map(scope, entries, path)),
        scalar => scalar.clone(),
    };
    scope.progress().depth -= 1;
    Node { place: node.place.clone(), used_at: node.used_at.clone(), kind }
}

fn substitute_map(scope: &mut dyn Scope, entries: &[Entry], path: &str) -> Vec<Entry> {
    let filled = |entry: &Entry| Entry {
        key: entry.key.clone(),
        value: substitute(scope, &entry.value, &join(path, &entry.key.value)),
    };
    let (merged, mut own): (Vec<Entry>, Vec<Entry>) =
        entries.iter().map(filled).partition(|entry| entry.key.value == merge::KEY);
    let mut keys: HashSet<String> = own.iter().map(|entry| entry.key.value.clone()).collect();
    for entry in merged {
        if merge::is_pending(&entry.value) {
            own.push(entry);
        } else if let Err(wrong) = merge::into(&mut own, &mut keys, entry.value) {
            scope.progress().errors.push(merge::error(&wrong, path));
        }
    }
    own
}

fn fill(scope: &mut dyn Scope, node: &Node, template: &Template, path: &str) -> Node {
    let use_place = node.used_at.as_ref().unwrap_or(&node.place);
    let filled = match template.alone() {
        Some(reference) => match scope.resolve(reference, path) {
            Resolved::Value(value, _) if scope.progress().afford(&value, path, &node.place) => {
                Some(value.used_at(use_place))
            }
            _ => None,
        },
        None => fill_text(scope, node, template, path),
    };
    filled.unwrap_or_else(|| node.clone())
}

/// Fills in text with references in it. The place of the result is that of the text, not of the values.
fn fill_text(scope: &mut dyn Scope, node: &Node, template: &Template, path: &str) -> Option<Node> {
    let (mut pieces, mut nodes) = (vec![], 1);
    for piece in &template.pieces {
        let bytes = match piece {
            Piece::Text(text) => push(&mut pieces, text),
            Piece::Reference(reference) => match scope.resolve(reference, path) {
                Resolved::Value(value, text) => {
                    push_value(scope, &mut pieces, reference, &value, text, path)?
                }
                Resolved::Later => {
                    pieces.push(Piece::Reference(reference.clone()));
                    reference.place.span.len
                }
                Resolved::Failed => return None,
            },
        };
        // Each piece is paid for at once: a text of many references is large before it is complete.
        if !scope.progress().budget.take_amount(std::mem::take(&mut nodes), bytes) {
            let error = scope.progress().budget.report(path, &node.place);
            scope.progress().errors.extend(error);
            return None;
        }
    }
    let template = Template { pieces };
    let is_text = template.references().next().is_none();
    let kind = if is_text { NodeKind::Str(template.to_string()) } else { NodeKind::Template(template) };
    Some(Node { place: node.place.clone(), used_at: node.used_at.clone(), kind })
}

/// Appends text, and returns its bytes.
fn push(pieces: &mut Vec<Piece>, text: &str) -> usize {
    push_text(pieces, text);
    text.len()
}

/// Appends a value, and returns the bytes of its text; `None` if it cannot be part of a text, which is reported.
fn push_value(
    scope: &mut dyn Scope,
    pieces: &mut Vec<Piece>,
    reference: &Reference,
    value: &Node,
    text: Option<String>,
    path: &str,
) -> Option<usize> {
    match (&value.kind, text) {
        (_, Some(text)) => Some(push(pieces, &text)),
        (NodeKind::Template(template), _) => {
            pieces.extend(template.pieces.iter().cloned());
            Some(template.len())
        }
        (NodeKind::Null | NodeKind::Seq(_) | NodeKind::Map(_), _) => {
            let message = format!("`{reference}` is {}, which cannot be part of a text", value.describe());
            let error = Diagnostic::new(path, &reference.place, message)
                .with_related(&value.place, "its value")
                .with_help(format!("write `{reference}` alone, or refer to a string or a number"));
            scope.progress().errors.push(error);
            None
        }
        _ => Some(push(pieces, &value.to_text())),
    }
}

/// The name of the seed among the variables; no variable can have it.
const SEED: &str = "${seed}";

/// The references that are known when a manifest is loaded: `vars`, and the seed unless it is an axis.
pub(in crate::manifest) struct Variables<'n> {
    entries: BTreeMap<&'n str, &'n Entry>,
    /// The value of `seed`; `None` if it is an axis.
    seed: Option<&'n Node>,
    /// The filled-in values.
    known: BTreeMap<String, Node>,
    /// The variables with an error in them. What refers to them fails without another error: filling them in further would
    /// multiply their references.
    failed: HashSet<String>,
    /// How often a reference led to one of them.
    failures: usize,
    /// The variables that are being filled in, the outermost first.
    open: Vec<String>,
    progress: Progress,
}

impl<'n> Variables<'n> {
    /// Fills in all variables.
    pub(in crate::manifest) fn new(vars: &'n [Entry], seed: Option<&'n Node>) -> Self {
        let entries = vars.iter().map(|entry| (entry.key.value.as_str(), entry)).collect();
        let mut variables = Self {
            entries,
            seed,
            known: BTreeMap::new(),
            failed: HashSet::new(),
            failures: 0,
            open: vec![],
            progress: Progress::new(),
        };
        for entry in vars {
            variables.know(&entry.key.value, &entry.value, &join("vars", &entry.key.value));
        }
        variables
    }

    /// Returns the errors.
    pub(in crate::manifest) fn into_errors(self) -> Vec<Diagnostic> {
        self.progress.errors
    }

    /// Returns the variables, filled in.
    pub(in crate::manifest) fn known(&self) -> BTreeMap<String, Node> {
        self.known
            .iter()
            .filter(|(name, _)| self.entries.contains_key(name.as_str()))
            .map(|(n, v)| (n.clone(), v.clone()))
            .collect()
    }

    /// Fills in a variable, once.
    fn know(&mut self, name: &str, raw: &Node, path: &str) -> Node {
        if let Some(known) = self.known.get(name) {
            return known.clone();
        }
        self.open.push(name.to_owned());
        let before = (self.progress.errors.len(), self.failures);
        let value = substitute(self, raw, path);
        if (self.progress.errors.len(), self.failures) != before {
            self.failed.insert(name.to_owned());
        }
        self.open.pop();
        self.known.insert(name.to_owned(), value.clone());
        value
    }

    fn variable(&mut self, reference: &Reference, path: &str) -> Resolved {
        let (name, inside) = match reference.steps.split_first() {
            Some((name, inside)) => (name.as_str(), inside),
            None => return Resolved::Failed,
        };
        let Some(&entry) = self.entries.get(name) else {
            let error =
                Diagnostic::new(path, &reference.place, format!("`{reference}`: unknown variable `{name}`"))
                    .with_names("variables", name, self.entries.keys().copied());
            self.progress.errors.push(error);
            return Resolved::Failed;
        };
        if let Some(start) = self.open.iter().position(|open| open == name) {
            self.report_cycle(start, reference, path);
            return Resolved::Failed;
        }
        let value = self.know(name, &entry.value, &join("vars", name));
        if self.failed.contains(name) {
            self.failures += 1;
            return Resolved::Failed;
        }
        match inside.iter().try_fold(&value, |value, step| value.child(step)) {
            Some(found) => Resolved::Value(found.clone(), None),
            None => {
                self.progress.errors.push(no_such_part(reference, &value, inside, path));
                Resolved::Failed
            }
        }
    }

    fn report_cycle(&mut self, start: usize, reference: &Reference, path: &str) {
        let mut names: Vec<&str> = self.open[start..].iter().map(String::as_str).collect();
        let places: Vec<&Place> = names
            .iter()
            .skip(1)
            .filter_map(|name| self.entries.get(name))
            .map(|entry| &entry.key.place)
            .collect();
        names.push(names[0]);
        let message = format!("variables refer to each other in a circle: {}", names.join(" → "));
        let error = Diagnostic::new(path, &reference.place, message)
            .with_label("this closes the circle")
            .with_help("give one of them a value without references to the others");
        let error = places.iter().fold(error, |error, place| error.with_related(place, "part of the circle"));
        self.progress.errors.push(error);
    }
}

impl Scope for Variables<'_> {
    fn resolve(&mut self, reference: &Reference, path: &str) -> Resolved {
        match (reference.root, self.seed) {
            (Root::Vars, _) => self.variable(reference, path),
            (Root::Seed, Some(seed)) => match self.open.iter().position(|open| open == SEED) {
                Some(start) => {
                    self.report_cycle(start, reference, path);
                    Resolved::Failed
                }
                None => Resolved::Value(self.know(SEED, seed, "seed"), None),
            },
            (Root::Seed, None) | (Root::Matrix, _) => Resolved::Later,
        }
    }

    fn progress(&mut self) -> &mut Progress {
        &mut self.progress
    }
}

/// Reports a missing part of a value: `${vars.a.b}` if `a` has no `b`.
pub(in crate::manifest) fn no_such_part(
    reference: &Reference,
    value: &Node,
    inside: &[String],
    path: &str,
) -> Diagnostic {
    let mut holder = value;
    let mut steps = inside.iter();
    let missing = loop {
        let Some(step) = steps.next() else { break "" };
        match holder.child(step) {
            Some(below) => holder = below,
            None => break step,
        }
    };
    let message = format!("`{reference}`: {} has no `{missing}`", holder.describe());
    let names = holder.keys();
    Diagnostic::new(path, &reference.place, message)
        .with_names("fields there", missing, names)
        .with_related(&holder.place, "this value")
}
