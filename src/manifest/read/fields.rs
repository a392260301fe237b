//! Reads single fields of the tree: checks their types, and reports unknown and missing fields.

use crate::manifest::diagnostic::{Diagnostic, join};
use crate::manifest::text::node::{Entry, Node, NodeKind};
use crate::manifest::text::source::{Place, Spanned};
use crate::manifest::text::template::Root;

/// Fields of a manifest.
pub(in crate::manifest) const MANIFEST: [&str; 7] =
    ["name", "description", "seed", "vars", "matrix", "stages", "results"];
/// Fields of a stage.
pub(in crate::manifest) const STAGE: [&str; 4] = ["kind", "needs", "with", "seed"];
/// Fields of `results`.
pub(in crate::manifest) const RESULTS: [&str; 2] = ["csv", "from"];

/// Collects errors while fields are read.
#[derive(Default)]
pub(in crate::manifest) struct Fields {
    pub(in crate::manifest) errors: Vec<Diagnostic>,
}

impl Fields {
    pub(in crate::manifest) fn report(&mut self, error: Diagnostic) {
        self.errors.push(error);
    }

    /// Reports a value of the wrong type, unless it is a reference that was reported before.
    pub(in crate::manifest) fn wrong_type(&mut self, path: &str, node: &Node, expected: &str, help: &str) {
        let error = match &node.kind {
            NodeKind::Template(template) if template.references().all(|r| r.root == Root::Vars) => return,
            NodeKind::Template(_) => {
                Diagnostic::new(path, &node.place, format!("{} is not allowed here", node.describe()))
                    .with_help("use the matrix only in the `with` of a stage")
            }
            _ => {
                Diagnostic::new(path, &node.place, format!("expected {expected}, found {}", node.describe()))
                    .with_help(help)
            }
        };
        self.report(error.with_use(node.used_at.as_ref()));
    }

    /// Reads a mapping.
    pub(in crate::manifest) fn map<'n>(
        &mut self,
        path: &str,
        node: &'n Node,
        help: &str,
    ) -> Option<&'n [Entry]> {
        match &node.kind {
            NodeKind::Map(entries) => Some(entries),
            _ => {
                self.wrong_type(path, node, "a mapping", help);
                None
            }
        }
    }

    /// Reads a seed.
    pub(in crate::manifest) fn seed(&mut self, path: &str, node: &Node) -> Option<Spanned<u64>> {
        if let NodeKind::Int(seed) = node.kind
            && let Ok(seed) = u64::try_from(seed)
        {
            return Some(Spanned::new(seed, node.place.clone()));
        }
        let help = match node.kind {
            NodeKind::Int(_) => "write a seed from 0 to 2^64 - 1: `seed: 1`",
            NodeKind::Seq(_) => "for several seeds write `matrix: {seed: [1, 2, 3]}`",
            _ => "write a number without quotes: `seed: 1`",
        };
        self.wrong_type(path, node, "an integer of at least 0", help);
        None
    }

    /// Reads a list.
    pub(in crate::manifest) fn list<'n>(
        &mut self,
        path: &str,
        node: &'n Node,
        help: &str,
    ) -> Option<&'n [Node]> {
        match &node.kind {
            NodeKind::Seq(items) => Some(items),
            _ => {
                self.wrong_type(path, node, "a list", help);
                None
            }
        }
    }

    /// Reads a string that is not empty.
    pub(in crate::manifest) fn string(
        &mut self,
        path: &str,
        node: &Node,
        help: &str,
    ) -> Option<Spanned<String>> {
        match node.as_str() {
            Some(text) if !text.trim().is_empty() => Some(Spanned::new(text.to_owned(), node.place.clone())),
            _ => {
                self.wrong_type(path, node, "a string", help);
                None
            }
        }
    }

    /// Reports unknown fields; `hint` is added to one that has no near name.
    pub(in crate::manifest) fn known(
        &mut self,
        path: &str,
        entries: &[Entry],
        known: &[&str],
        hint: Option<&str>,
    ) {
        for Entry { key, .. } in entries.iter().filter(|entry| !known.contains(&entry.key.value.as_str())) {
            let name = &key.value;
            let error = Diagnostic::new(join(path, name), &key.place, format!("unknown field `{name}`"))
                .with_names("fields here", name, known.iter().copied());
            let hint = hint.filter(|_| error.label.is_empty());
            self.report(hint.map_or(error.clone(), |hint| error.with_help(hint)));
        }
    }

    /// Finds a required field.
    pub(in crate::manifest) fn required<'n>(
        &mut self,
        path: &str,
        place: &Place,
        entries: &'n [Entry],
        name: &str,
        help: &str,
    ) -> Option<&'n Entry> {
        let found = entries.iter().find(|entry| entry.key.value == name);
        if found.is_none() {
            let error = Diagnostic::new(join(path, name), place, format!("the field `{name}` is missing"));
            self.report(error.with_help(help));
        }
        found
    }

    /// Checks the characters and the length of a name.
    pub(in crate::manifest) fn name(
        &mut self,
        path: &str,
        name: &Spanned<String>,
        what: &str,
        is_allowed: fn(char) -> bool,
        allowed: &str,
    ) -> bool {
        let wrong = name.value.chars().find(|&c| !is_allowed(c));
        if let Some(wrong) = wrong {
            let wrong = match wrong {
                '"' | '\'' | '\\' => wrong.to_string(),
                wrong => wrong.escape_debug().to_string(),
            };
            let message = format!("{what} cannot contain `{wrong}`");
            let error = Diagnostic::new(path, &name.place, message);
            self.report(error.with_help(format!("use {allowed}")));
        }
        let length = name.value.len();
        if length > LONGEST_NAME {
            let message = format!("{what} has {length} characters");
            let error = Diagnostic::new(path, &name.place, message);
            self.report(error.with_help(format!("use at most {LONGEST_NAME}")));
        }
        wrong.is_none() && length <= LONGEST_NAME
    }
}

/// Whether the name of a stage, axis or variable may have this character. A dot would break paths.
pub(in crate::manifest) fn is_name_character(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == '-'
}

/// The most characters of a name. File systems allow 255, and files are named after manifests and stages.
const LONGEST_NAME: usize = 100;

/// The characters that [`is_name_character`] allows.
pub(in crate::manifest) const NAME_CHARACTERS: &str = "letters a to z, digits, `-` and `_`";
