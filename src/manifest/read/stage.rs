//! Reads `stages` and `results`. The stage kinds and their ports are not known here.

use std::collections::{BTreeSet, HashMap};
use std::path::{Component, Path, PathBuf};

use super::cycle::{self, Need};
use super::fields::{self, Fields, NAME_CHARACTERS, is_name_character};
use super::matrix::Matrix;
use crate::manifest::diagnostic::{Diagnostic, join};
use crate::manifest::text::node::{Entry, Node, NodeKind};
use crate::manifest::text::source::{Place, Spanned};
use crate::manifest::text::template::{Reference, Root};

/// A stage as written in the manifest.
#[derive(Clone, Debug, PartialEq)]
pub struct StageDef {
    /// Its name.
    pub name: String,
    /// Where its name is written.
    pub place: Place,
    /// Its stage kind.
    pub kind: Spanned<String>,
    /// Ports and the stages that feed them, in the order of the file.
    pub needs: Vec<(Spanned<String>, Spanned<String>)>,
    /// Its parameters: a mapping, or a reference to one in the matrix. Variables are filled in;
    /// [`Manifest::instantiate`](crate::manifest::Manifest::instantiate) fills in the matrix.
    pub with: Node,
    /// Its own seed, if it has one.
    pub seed: Option<Spanned<u64>>,
    /// The axes that its parameters use; `seed` among them if it is an axis and `${seed}` is used.
    pub axes: BTreeSet<String>,
}

/// The results table to write.
#[derive(Clone, Debug, PartialEq)]
pub struct Results {
    /// The CSV file: a relative path inside the workspace.
    pub csv: Spanned<PathBuf>,
    /// The stages of its rows, at least one.
    pub from: Vec<Spanned<String>>,
}

/// Reads `stages`.
pub(in crate::manifest) fn read_all(fields: &mut Fields, node: &Node, matrix: &Matrix) -> Vec<StageDef> {
    let help = "write stages by name: `images: {kind: dataset}`";
    let entries = fields.map("stages", node, help).unwrap_or_default();
    if entries.is_empty() && matches!(node.kind, NodeKind::Map(_)) {
        fields.report(Diagnostic::new("stages", &node.place, "`stages` is empty").with_help(help));
    }
    let stages: Vec<StageDef> =
        entries.iter().filter_map(|entry| read_stage(fields, entry, matrix)).collect();
    let names: Vec<&str> = entries.iter().map(|entry| entry.key.value.as_str()).collect();
    let mut needs = vec![];
    let position: HashMap<&str, usize> = names.iter().enumerate().map(|(at, name)| (*name, at)).collect();
    for stage in &stages {
        for (port, target) in &stage.needs {
            match position.get(target.value.as_str()) {
                Some(&at) => {
                    needs.push(Need {
                        stage: position[stage.name.as_str()],
                        needs: at,
                        place: &target.place,
                    });
                }
                None => {
                    let path = format!("stages.{}.needs.{}", stage.name, port.value);
                    fields.report(unknown_stage(&path, target, may_suggest(fields, &names)));
                }
            }
        }
    }
    fields.errors.extend(cycle::find(&names, &needs));
    stages
}

fn read_stage(fields: &mut Fields, entry: &Entry, matrix: &Matrix) -> Option<StageDef> {
    let Entry { key, value } = entry;
    let path = join("stages", &key.value);
    fields.name(&path, key, "the name of a stage", is_name_character, NAME_CHARACTERS);
    let entries = fields.map(&path, value, "write `{kind: ..., needs: {...}, with: {...}}`")?;
    fields.known(&path, entries, &fields::STAGE, Some("write the parameters of a stage in its `with`"));
    let find = |name: &str| entries.iter().find(|entry| entry.key.value == name);
    let with =
        find("with").map_or_else(|| empty_map(&key.place), |entry| read_with(fields, &path, &entry.value));
    let axes = axes_used(fields, &join(&path, "with"), &with, matrix);
    let needs = find("needs").map_or(vec![], |entry| read_needs(fields, &path, &entry.value));
    let seed = find("seed").and_then(|entry| fields.seed(&join(&path, "seed"), &entry.value));
    let kind =
        fields.required(&path, &key.place, entries, "kind", "add the kind of the stage: `kind: train`")?;
    let kind = fields.string(&join(&path, "kind"), &kind.value, "write the name of a kind: `kind: train`")?;
    Some(StageDef { name: key.value.clone(), place: key.place.clone(), kind, needs, with, seed, axes })
}

fn empty_map(place: &Place) -> Node {
    Node::new(place.clone(), NodeKind::Map(vec![]))
}

fn read_with(fields: &mut Fields, path: &str, node: &Node) -> Node {
    match &node.kind {
        NodeKind::Null => Node { kind: NodeKind::Map(vec![]), ..node.clone() },
        NodeKind::Map(_) => node.clone(),
        NodeKind::Template(template) if template.alone().is_some() => node.clone(),
        _ => {
            fields.map(&join(path, "with"), node, "write the parameters as `with: {epochs: 10}`");
            empty_map(&node.place)
        }
    }
}

fn read_needs(fields: &mut Fields, path: &str, node: &Node) -> Vec<(Spanned<String>, Spanned<String>)> {
    let path = join(path, "needs");
    let help = "write `needs: {port: stage}`";
    if matches!(node.kind, NodeKind::Null) {
        return vec![];
    }
    let entries = fields.map(&path, node, help).unwrap_or_default();
    let target = |entry: &Entry| {
        let stage = fields.string(&join(&path, &entry.key.value), &entry.value, help)?;
        Some((entry.key.clone(), stage))
    };
    entries.iter().filter_map(target).collect()
}

/// How many errors get a suggestion: more than are shown. To compare thousands of wrong names with thousands of right ones
/// would take minutes.
const SUGGESTIONS: usize = 200;

/// The names to suggest from, or none if there are enough errors.
fn may_suggest<'n>(fields: &Fields, names: &'n [&'n str]) -> Option<&'n [&'n str]> {
    (fields.errors.len() < SUGGESTIONS).then_some(names)
}

/// Returns the names of all axes that `stages` refers to, known or unknown.
pub(in crate::manifest) fn axes_referred_to(stages: &Node) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    stages.walk(&mut |node| {
        if let NodeKind::Template(template) = &node.kind {
            let axes = template.references().filter(|reference| reference.root == Root::Matrix);
            names.extend(axes.filter_map(|reference| reference.steps.first().cloned()));
        }
    });
    names
}

/// Returns the axes that `with` uses, and reports references to unknown axes and fields.
fn axes_used(fields: &mut Fields, path: &str, with: &Node, matrix: &Matrix) -> BTreeSet<String> {
    let mut axes = BTreeSet::new();
    let names: Vec<&str> = matrix.axes.iter().map(|axis| axis.name.as_str()).collect();
    with.walk(&mut |node| {
        let NodeKind::Template(template) = &node.kind else { return };
        for reference in template.references() {
            let checked = match reference.root {
                Root::Vars => continue, // was reported when it could not be filled in
                Root::Seed => Ok("seed"),
                Root::Matrix => check_reference(reference, matrix, may_suggest(fields, &names), path),
            };
            match checked {
                Ok(axis) => axes.extend([axis.to_owned()]),
                Err(errors) => {
                    errors.into_iter().for_each(|e| fields.report(e.with_use(node.used_at.as_ref())))
                }
            }
        }
    });
    axes
}

fn check_reference<'m>(
    reference: &Reference,
    matrix: &'m Matrix,
    names: Option<&[&str]>,
    path: &str,
) -> Result<&'m str, Vec<Diagnostic>> {
    let (name, inside) =
        reference.steps.split_first().map_or(("", &[][..]), |(name, inside)| (name.as_str(), inside));
    let Some(axis) = matrix.axis(name) else {
        let error = Diagnostic::new(path, &reference.place, format!("`{reference}`: unknown axis `{name}`"));
        return Err(vec![match names {
            Some(names) => error.with_names("axes", name, names.iter().copied()),
            None => error,
        }]);
    };
    let lacking = axis.values.iter().filter(|value| value.part(inside).is_none());
    let errors: Vec<Diagnostic> = lacking.map(|value| value.no_such_part(reference, inside, path)).collect();
    if errors.is_empty() { Ok(&axis.name) } else { Err(errors) }
}

fn unknown_stage(path: &str, target: &Spanned<String>, names: Option<&[&str]>) -> Diagnostic {
    let error = Diagnostic::new(path, &target.place, format!("unknown stage `{}`", target.value));
    match names {
        Some(names) => error.with_names("stages", &target.value, names.iter().copied()),
        None => error,
    }
}

/// Reads `results`.
pub(in crate::manifest) fn read_results(
    fields: &mut Fields,
    entry: &Entry,
    stages: &[&str],
) -> Option<Results> {
    let help = "write `results: {csv: results/name.csv, from: [stage]}`";
    let entries = fields.map("results", &entry.value, help)?;
    fields.known("results", entries, &fields::RESULTS, None);
    let csv = fields.required("results", &entry.key.place, entries, "csv", help);
    let from = fields.required("results", &entry.key.place, entries, "from", help);
    let csv = csv.and_then(|csv| read_csv(fields, &csv.value));
    let from = from.and_then(|from| read_from(fields, &from.value, stages));
    Some(Results { csv: csv?, from: from? })
}

fn read_csv(fields: &mut Fields, node: &Node) -> Option<Spanned<PathBuf>> {
    let help = "write a path inside the workspace, such as `results/name.csv`";
    let text = fields.string("results.csv", node, help)?;
    let path = Path::new(&text.value);
    let wrong = if path.is_absolute() || text.value.starts_with(['/', '\\']) {
        "is absolute"
    } else if path.components().any(|component| component == Component::ParentDir) {
        "leads out of the workspace by `..`"
    } else if text.value.ends_with('/') || path.file_name().is_none() {
        "is a folder"
    } else {
        return Some(Spanned::new(path.to_owned(), text.place));
    };
    let error = Diagnostic::new("results.csv", &text.place, format!("the path `{}` {wrong}", text.value));
    fields.report(error.with_use(node.used_at.as_ref()).with_help(help));
    None
}

fn read_from(fields: &mut Fields, node: &Node, stages: &[&str]) -> Option<Vec<Spanned<String>>> {
    let help = "name the stages of the rows: `from: [before, after]`";
    let items = fields.list("results.from", node, help)?;
    if items.is_empty() {
        fields.report(Diagnostic::new("results.from", &node.place, "`from` is empty").with_help(help));
    }
    let mut from: Vec<Spanned<String>> = vec![];
    for (at, item) in items.iter().enumerate() {
        let path = join("results.from", &at.to_string());
        let Some(stage) = fields.string(&path, item, help) else { continue };
        if !stages.contains(&stage.value.as_str()) {
            fields.report(unknown_stage(&path, &stage, may_suggest(fields, stages)));
        } else if let Some(first) = from.iter().find(|first| first.value == stage.value) {
            let error = Diagnostic::new(&path, &stage.place, format!("duplicate stage `{}`", stage.value));
            let error = error.with_label("second one here").with_related(&first.place, "first one here");
            fields.report(error.with_help("remove one of them"));
        }
        from.push(stage);
    }
    Some(from)
}
