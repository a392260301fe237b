//! The sweep: axes, their values, and its cells.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::fields::{Fields, NAME_CHARACTERS, is_name_character};
use super::overrides::is_override;
use crate::manifest::diagnostic::{Diagnostic, join};
use crate::manifest::text::budget::MAX_CELLS;
use crate::manifest::text::node::{Entry, Node, NodeKind};
use crate::manifest::text::source::Place;
use crate::manifest::text::template::Reference;
use crate::plain::visible;

/// One combination: by the name of each axis, the position of its value in [`Axis::values`].
pub type Cell = BTreeMap<String, usize>;

/// The sweep of a manifest.
///
/// The cells are the product of the axes in the order of the file, with the last axis fastest. `exclude` removes cells
/// from it, and `include` adds cells at the end. Each of their entries is a mapping from axes to values.
/// - An `exclude` entry removes every cell that has all its values.
/// - An `include` entry adds one cell for each combination of the axes that it does not name. It may use values that are
///   not in the list of the axis. Existing cells are not added again.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Matrix {
    /// The axes, in the order of the file.
    pub axes: Vec<Axis>,
    /// The cells as positions in the axes' values, in the order of `axes`.
    cells: Vec<Vec<usize>>,
}

/// A dimension of the sweep.
#[derive(Clone, Debug, PartialEq)]
pub struct Axis {
    /// Its name.
    pub name: String,
    /// Where its name is written.
    pub place: Place,
    /// Its values: those of its list, then those that only `include` names.
    pub values: Vec<AxisValue>,
}

/// A value of an axis.
#[derive(Clone, Debug, PartialEq)]
pub struct AxisValue {
    /// Its name in tables and text: the `name` of a mapping, or the text of another value. Unique in the axis.
    pub label: String,
    /// The value; a mapping without its `name`.
    pub node: Node,
}

impl AxisValue {
    /// Returns the part that `${matrix.axis.steps}` refers to; `name` is the label of every value.
    pub(in crate::manifest) fn part(&self, steps: &[String]) -> Option<Node> {
        match steps {
            [name] if name == "name" => {
                Some(Node::new(self.node.place.clone(), NodeKind::Str(self.label.clone())))
            }
            _ => self.node.get(steps.iter().map(String::as_str)).cloned(),
        }
    }

    /// Reports a missing part of the value.
    pub(in crate::manifest) fn no_such_part(
        &self,
        reference: &Reference,
        steps: &[String],
        path: &str,
    ) -> Diagnostic {
        let names = self.node.keys().chain(["name"]);
        let wanted = steps.join(".");
        Diagnostic::new(
            path,
            &reference.place,
            format!("`{reference}`: the value `{}` has no `{wanted}`", self.label),
        )
        .with_names("fields of that value", &wanted, names)
        .with_related(&self.node.place, "this value")
    }
}

impl Matrix {
    /// Returns an axis by its name.
    pub fn axis(&self, name: &str) -> Option<&Axis> {
        self.axes.iter().find(|axis| axis.name == name)
    }

    /// Returns the cells; without axes, one empty cell.
    pub fn cells(&self) -> Vec<Cell> {
        let named = |cell: &Vec<usize>| {
            self.axes.iter().map(|axis| axis.name.clone()).zip(cell.iter().copied()).collect()
        };
        self.cells.iter().map(named).collect()
    }

    /// Returns the number of cells.
    pub fn len(&self) -> usize {
        self.cells.len()
    }

    /// Returns whether there is no cell; a valid manifest has at least one.
    pub fn is_empty(&self) -> bool {
        self.cells.is_empty()
    }

    /// Returns the matrix without axes.
    pub(in crate::manifest) fn single() -> Self {
        Self { axes: vec![], cells: vec![vec![]] }
    }
}

/// Reads `matrix`. Its variables are already filled in.
pub(in crate::manifest) fn read(fields: &mut Fields, entry: &Entry) -> Matrix {
    let mut matrix = Matrix::single();
    let Some(entries) = fields.map("matrix", &entry.value, "write axes: `clean_ratio: [0.01, 0.05]`") else {
        return matrix;
    };
    let before = fields.errors.len();
    let is_axis = |entry: &&Entry| !matches!(entry.key.value.as_str(), "include" | "exclude");
    matrix.axes = entries.iter().filter(is_axis).filter_map(|entry| read_axis(fields, entry)).collect();
    let listed: Vec<usize> = matrix.axes.iter().map(|axis| axis.values.len()).collect();
    let partial = |name| entries.iter().find(|entry| entry.key.value == name);
    if fields.errors.len() > before {
        return matrix; // the cells of wrong axes would only give more errors
    }
    let excluded =
        partial("exclude").map_or(vec![], |entry| read_partial(fields, &mut matrix.axes, entry, false));
    let included =
        partial("include").map_or(vec![], |entry| read_partial(fields, &mut matrix.axes, entry, true));
    match expand(&listed, &excluded, &included) {
        Ok(cells) => matrix.cells = cells,
        Err(count) => fields.report(too_many_cells(&matrix, &listed, count, &entry.key.place)),
    }
    if matrix.is_empty() && fields.errors.len() == before {
        let error = Diagnostic::new("matrix", &entry.key.place, "`exclude` matches all cells");
        fields.report(error.with_help("remove an entry of `exclude`, or add axes to it"));
    }
    matrix
}

/// Reads an axis. A wrong axis is kept, too, so that references to it give no further errors.
fn read_axis(fields: &mut Fields, entry: &Entry) -> Option<Axis> {
    let Entry { key, value } = entry;
    let path = join("matrix", &key.value);
    if !fields.name(&path, key, "the name of an axis", is_name_character, NAME_CHARACTERS) {
        return None;
    }
    let help = format!("write the values in brackets: `{}: [{}]`", key.value, visible(&value.to_text()));
    let items = fields.list(&path, value, if value.entries().is_empty() { &help } else { LIST_HELP });
    if items.is_some_and(<[Node]>::is_empty) {
        let error = Diagnostic::new(&path, &value.place, format!("the axis `{}` has no values", key.value));
        fields.report(error.with_use(value.used_at.as_ref()).with_help("add a value, or remove the axis"));
    }
    let mut axis = Axis { name: key.value.clone(), place: key.place.clone(), values: vec![] };
    let mut labels: HashMap<String, Place> = HashMap::new();
    for (at, item) in items.unwrap_or_default().iter().enumerate() {
        let path = join(&path, &at.to_string());
        let Some(value) = read_value(fields, &path, item, &axis.name) else { continue };
        match labels.insert(identity(&value), item.place.clone()) {
            Some(first) => fields.report(duplicate_value(&path, &axis.name, &value.label, item, &first)),
            None => axis.values.push(value),
        }
    }
    Some(axis)
}

const LIST_HELP: &str = "write the values as a list: each after a `- `";

fn read_value(fields: &mut Fields, path: &str, node: &Node, axis: &str) -> Option<AxisValue> {
    let label = match &node.kind {
        NodeKind::Map(entries) => {
            let place = &node.place;
            let help = "add a `name` to the mapping: its label in tables";
            let name = fields.required(path, place, entries, "name", help)?;
            fields.string(&join(path, "name"), &name.value, "quote the name")?.value
        }
        NodeKind::Template(_) => {
            fields.wrong_type(path, node, "a value", "write a value, or `${vars.name}`");
            return None;
        }
        _ => node.to_text(),
    };
    if axis == "seed" && !is_seed(node) {
        fields.wrong_type(path, node, "a seed, an integer of at least 0", "write `seed: [1, 2, 3]`");
        return None;
    }
    let mut node = node.clone();
    if let NodeKind::Map(entries) = &mut node.kind {
        entries.retain(|entry| entry.key.value != "name");
    }
    Some(AxisValue { label, node })
}

/// Whether a value can be a seed.
pub(in crate::manifest) fn is_seed(node: &Node) -> bool {
    matches!(node.kind, NodeKind::Int(value) if u64::try_from(value).is_ok())
}

/// The label as two values are compared by it: `1.0` is `1`.
fn identity(value: &AxisValue) -> String {
    match value.node.kind {
        NodeKind::Float(float) if float.fract() == 0.0 && float.abs() < 1e15 => format!("{float:.0}"),
        _ => value.label.clone(),
    }
}

fn duplicate_value(path: &str, axis: &str, label: &str, node: &Node, first: &Place) -> Diagnostic {
    Diagnostic::new(path, &node.place, format!("duplicate value `{label}` of the axis `{axis}`"))
        .with_label("second one here")
        .with_related(first, "first one here")
        .with_use(node.used_at.as_ref())
        .with_help("remove one of them; mappings need different `name`s")
}

/// A partial cell: positions in axes and in their values.
type Partial = Vec<(usize, usize)>;

/// Reads `include` or `exclude`. New values are added to the axes if `may_add`.
fn read_partial(fields: &mut Fields, axes: &mut [Axis], entry: &Entry, may_add: bool) -> Vec<Partial> {
    let path = join("matrix", &entry.key.value);
    let help = "write a list of mappings from axes to values: `- {clean_ratio: 0.01, defense: nad}`";
    let items = fields.list(&path, &entry.value, help).unwrap_or_default();
    let mut partials = vec![];
    for (at, item) in items.iter().enumerate() {
        let path = join(&path, &at.to_string());
        let entries = fields.map(&path, item, help).unwrap_or_default();
        let steps = entries.iter().map(|entry| read_partial_value(fields, axes, &path, entry, may_add));
        let steps: Vec<Option<(usize, usize)>> = steps.collect();
        // An entry with an unknown value, or an empty one, must match nothing.
        partials.extend(steps.into_iter().collect::<Option<Partial>>().filter(|partial| !partial.is_empty()));
    }
    partials
}

fn read_partial_value(
    fields: &mut Fields,
    axes: &mut [Axis],
    path: &str,
    entry: &Entry,
    may_add: bool,
) -> Option<(usize, usize)> {
    let Entry { key, value } = entry;
    let path = join(path, &key.value);
    let Some(at) = axes.iter().position(|axis| axis.name == key.value) else {
        let names = axes.iter().map(|axis| axis.name.as_str());
        let error = Diagnostic::new(&path, &key.place, format!("unknown axis `{}`", key.value));
        fields.report(error.with_names("axes", &key.value, names));
        return None;
    };
    let text = value.to_text();
    let matches = |candidate: &AxisValue| {
        candidate.label == text
            || candidate.node.same_value(value)
            || Some(candidate.label.as_str()) == value.child("name").and_then(Node::as_str)
    };
    if let Some(position) = axes[at].values.iter().position(matches) {
        return Some((at, position));
    }
    if may_add {
        let added = read_value(fields, &path, value, &key.value)?;
        axes[at].values.push(added);
        return Some((at, axes[at].values.len() - 1));
    }
    // `exclude` of the file may name values that `--set` has removed from the axis.
    if !is_override(&axes[at].place) && !axes[at].values.iter().any(|value| is_override(&value.node.place)) {
        let labels = axes[at].values.iter().map(|value| value.label.as_str());
        let error =
            Diagnostic::new(&path, &value.place, format!("the axis `{}` has no value `{text}`", key.value));
        fields.report(error.with_names("its values", &text, labels));
    }
    None
}

/// Returns the cells, or their number if there are too many.
///
/// `listed` is, for each axis, the number of values in its list.
fn expand(listed: &[usize], excluded: &[Partial], included: &[Partial]) -> Result<Vec<Vec<usize>>, u128> {
    let free = |partial: &Partial| {
        let fixed: HashSet<usize> = partial.iter().map(|&(axis, _)| axis).collect();
        (0..listed.len()).filter(move |axis| !fixed.contains(axis)).map(|axis| listed[axis] as u128)
    };
    let product = listed.iter().map(|&values| values as u128).fold(1, u128::saturating_mul);
    let added: u128 = included
        .iter()
        .map(|partial| free(partial).fold(1, u128::saturating_mul))
        .fold(0, u128::saturating_add);
    let count = product.saturating_add(added);
    if count > MAX_CELLS as u128 {
        return Err(count);
    }
    let excluded = by_axes(excluded);
    let is_excluded = |cell: &Vec<usize>| {
        excluded.iter().any(|(axes, values)| {
            values.contains(&axes.iter().map(|&axis| cell[axis]).collect::<Vec<usize>>())
        })
    };
    let mut cells: Vec<Vec<usize>> =
        combinations(listed, &vec![]).into_iter().filter(|cell| !is_excluded(cell)).collect();
    let mut seen: HashSet<Vec<usize>> = cells.iter().cloned().collect();
    let added = included.iter().flat_map(|partial| combinations(listed, partial));
    cells.extend(added.filter(|cell| seen.insert(cell.clone())));
    Ok(cells)
}

/// Groups partial cells by the axes that they name: a match is then a lookup. There may be thousands.
fn by_axes(partials: &[Partial]) -> BTreeMap<Vec<usize>, HashSet<Vec<usize>>> {
    let mut groups: BTreeMap<Vec<usize>, HashSet<Vec<usize>>> = BTreeMap::new();
    for partial in partials {
        let (axes, values) = partial.iter().copied().collect::<BTreeMap<_, _>>().into_iter().unzip();
        groups.entry(axes).or_default().insert(values);
    }
    groups
}

/// Returns all combinations with the values of `fixed`, the last axis fastest.
fn combinations(listed: &[usize], fixed: &Partial) -> Vec<Vec<usize>> {
    listed.iter().enumerate().fold(vec![vec![]], |cells, (axis, &values)| {
        let fixed = fixed.iter().find(|&&(fixed, _)| fixed == axis).map(|&(_, value)| value);
        let choices = fixed.map_or(0..values, |value| value..value + 1);
        let extend =
            |cell: Vec<usize>| choices.clone().map(move |value| [cell.as_slice(), &[value]].concat());
        cells.into_iter().flat_map(extend).collect()
    })
}

fn too_many_cells(matrix: &Matrix, listed: &[usize], count: u128, place: &Place) -> Diagnostic {
    let sizes = matrix.axes.iter().zip(listed).map(|(axis, values)| format!("{} {values}", axis.name));
    Diagnostic::new("matrix", place, format!("the matrix has {count} cells; the limit is {MAX_CELLS}"))
        .with_label(sizes.collect::<Vec<_>>().join(" × "))
        .with_help("shorten an axis, or split the sweep into several manifests")
}

/// Reports axes that no stage uses: the reference to them is misspelled or missing. Stages use the axis `seed` without a
/// reference. If a reference is misspelled, only that is reported.
pub(in crate::manifest) fn unused(matrix: &Matrix, referred_to: &BTreeSet<String>) -> Vec<Diagnostic> {
    if referred_to.iter().any(|name| matrix.axis(name).is_none()) {
        return vec![];
    }
    let is_used = |axis: &&Axis| axis.name == "seed" || referred_to.contains(&axis.name);
    let error = |Axis { name, place, .. }: &Axis| {
        Diagnostic::new(join("matrix", name), place, format!("no stage uses the axis `{name}`"))
            .with_help(format!("write `${{matrix.{name}}}` in the `with` of a stage, or remove the axis"))
    };
    matrix.axes.iter().filter(|axis| !is_used(axis)).map(error).collect()
}
