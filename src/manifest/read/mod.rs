//! Reads the tree as a manifest: the fields, the matrix, the stages, and `${...}` filled in.
//!
//! The stage kinds and their ports are not known here.

mod cycle;
pub(in crate::manifest) mod fields;
pub(in crate::manifest) mod interpolate;
pub(in crate::manifest) mod matrix;
pub(in crate::manifest) mod overrides;
pub(in crate::manifest) mod stage;

use std::collections::BTreeMap;
use std::sync::Arc;

use super::diagnostic::{Diagnostic, join};
use super::document::Manifest;
use super::text::node::{Entry, Node, NodeKind};
use super::text::source::{Place, Span};
use fields::{Fields, NAME_CHARACTERS, is_name_character};
use interpolate::{Variables, substitute};
use matrix::Matrix;
use overrides::is_override;
use stage::StageDef;

const EXAMPLE: &str = "start a manifest like this:\n  name: badnets\n  stages:\n    images: {kind: dataset}";

/// Reads the tree, as far as it is valid. Errors go to `fields`.
pub(in crate::manifest) fn manifest(fields: &mut Fields, root: &Node) -> Option<Manifest> {
    let colons = "write a space after the colon of each `key: value`";
    let entries = fields.map("", root, if root.as_str().is_some() { colons } else { EXAMPLE })?;
    fields.known("", entries, &fields::MANIFEST, None);
    let (filled, vars) = fill_in(fields, root, entries);
    let find = |name: &str| find(&filled, name);

    let name = read_name(fields, root, find("name"));
    let description =
        find("description").and_then(|entry| fields.string("description", &entry.value, "write a sentence"));
    let seed = find("seed").and_then(|entry| fields.seed("seed", &entry.value));
    let matrix = find("matrix").map_or_else(Matrix::single, |entry| matrix::read(fields, entry));
    let stages = read_stages(fields, root, find("stages"), &matrix);
    let stage_names: Vec<&str> = find("stages").map_or(vec![], |entry| entry.value.keys().collect());
    let results = find("results").and_then(|entry| stage::read_results(fields, entry, &stage_names));
    Some(Manifest {
        source: Arc::clone(&root.place.source),
        name: name.unwrap_or_default(),
        description: description.map(|text| text.value),
        seed: seed.map_or(0, |seed| seed.value),
        vars,
        matrix,
        stages,
        results,
    })
}

fn find<'n>(entries: &'n [Entry], name: &str) -> Option<&'n Entry> {
    entries.iter().find(|entry| entry.key.value == name)
}

/// Returns the known fields with variables filled in, and the variables.
fn fill_in(fields: &mut Fields, root: &Node, entries: &[Entry]) -> (Vec<Entry>, BTreeMap<String, Node>) {
    let vars = find(entries, "vars").map_or(&[][..], |vars| read_vars(fields, vars));
    let seed_axis = find(entries, "matrix").and_then(|matrix| matrix.value.entry("seed"));
    let seed = find(entries, "seed");
    if let (Some(axis), Some(seed)) = (seed_axis, seed) {
        fields.errors.extend(seed_is_shadowed(axis, seed));
    }
    let default_seed = Node::new(root.place.clone(), NodeKind::Int(0));
    let seed = seed.map_or(&default_seed, |entry| &entry.value);
    let mut variables = Variables::new(vars, seed_axis.is_none().then_some(seed));
    let is_known =
        |entry: &&Entry| fields::MANIFEST.contains(&entry.key.value.as_str()) && entry.key.value != "vars";
    let filled = entries.iter().filter(is_known).map(|Entry { key, value }| Entry {
        key: key.clone(),
        value: substitute(&mut variables, value, &key.value),
    });
    let filled = filled.collect();
    let known = variables.known();
    fields.errors.extend(variables.into_errors());
    (filled, known)
}

fn read_stages(fields: &mut Fields, root: &Node, entry: Option<&Entry>, matrix: &Matrix) -> Vec<StageDef> {
    let Some(Entry { value, .. }) = entry else {
        let help = "add `stages`, by name: `images: {kind: dataset}`";
        return missing(fields, root, "stages", help).unwrap_or_default();
    };
    let stages = stage::read_all(fields, value, matrix);
    fields.errors.extend(matrix::unused(matrix, &stage::axes_referred_to(value)));
    stages
}

/// Reports a missing field at the beginning of the file.
fn missing<T>(fields: &mut Fields, root: &Node, name: &str, help: &str) -> Option<T> {
    let start = Place::new(&root.place.source, Span::default());
    fields.required("", &start, &[], name, help);
    None
}

/// The error of an empty manifest.
pub(in crate::manifest) fn empty(place: &Place) -> Diagnostic {
    Diagnostic::new("", place, "the manifest is empty").with_help(EXAMPLE)
}

fn read_name(fields: &mut Fields, root: &Node, entry: Option<&Entry>) -> Option<String> {
    let Some(entry) = entry else {
        let help = "name the manifest in its first line: `name: badnets`";
        return missing(fields, root, "name", help);
    };
    let name = fields.string("name", &entry.value, "quote the name")?;
    let is_allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
    let allowed = "lower-case letters, digits, `-` and `_`";
    fields.name("name", &name, "the name of a manifest", is_allowed, allowed).then_some(name.value)
}

fn read_vars<'n>(fields: &mut Fields, entry: &'n Entry) -> &'n [Entry] {
    if matches!(entry.value.kind, NodeKind::Null) {
        return &[];
    }
    let entries = fields.map("vars", &entry.value, "write `vars: {source: synthetic}`").unwrap_or_default();
    for Entry { key, .. } in entries {
        let path = join("vars", &key.value);
        fields.name(&path, key, "the name of a variable", is_name_character, NAME_CHARACTERS);
    }
    entries
}

/// Reports a `seed` beside an axis `seed`, because it would have no effect. An axis from `--set` may replace the seed of
/// the file, so that every manifest can be swept over seeds.
fn seed_is_shadowed(axis: &Entry, seed: &Entry) -> Option<Diagnostic> {
    let replaces = is_override(&axis.value.place) && !is_override(&seed.value.place);
    let error =
        Diagnostic::new("seed", &seed.value.place, "this seed has no effect: the axis `seed` replaces it")
            .with_related(&axis.key.place, "the axis")
            .with_help("remove one of them, or set the axis: `--set matrix.seed=[1, 2]`");
    (!replaces).then_some(error)
}
