//! [`Manifest`]: a manifest that is read and checked, and the parameters of its stages in each cell.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::diagnostic::{Diagnostic, Errors};
use super::read::fields::Fields;
use super::read::interpolate::{Progress, Resolved, Scope, substitute};
use super::read::matrix::{AxisValue, Cell, Matrix};
use super::read::stage::{Results, StageDef};
use super::text::node::{Node, NodeKind};
use super::text::source::Source;
use super::text::template::{Reference, Root};

/// A manifest that is valid, except for checks that need the stage kinds.
#[derive(Clone, Debug, PartialEq)]
pub struct Manifest {
    /// The file.
    pub source: Arc<Source>,
    /// Its name: lower-case letters, digits, `-` and `_`.
    pub name: String,
    /// The author's description.
    pub description: Option<String>,
    /// The seed of the stages; 0 by default. A stage's own seed and the axis `seed` take precedence: see
    /// [`Manifest::seed_of`].
    pub seed: u64,
    /// The variables, with their references filled in, except those to the matrix.
    pub vars: BTreeMap<String, Node>,
    /// The sweep; without `matrix` it has no axes and one cell.
    pub matrix: Matrix,
    /// The stages, in the order of the file.
    pub stages: Vec<StageDef>,
    /// The results table to write.
    pub results: Option<Results>,
}

impl Manifest {
    /// Returns the cells of the matrix; without a matrix, one empty cell.
    pub fn cells(&self) -> Vec<Cell> {
        self.matrix.cells()
    }

    /// Returns the seed of a stage in a cell: its own seed, or the cell's value of the axis `seed`, or the manifest's seed.
    pub fn seed_of(&self, stage: &StageDef, cell: &Cell) -> u64 {
        let axis_seed = || match self.value_of("seed", cell)?.node.kind {
            NodeKind::Int(seed) => u64::try_from(seed).ok(),
            _ => None,
        };
        let own = stage.seed.as_ref().map(|seed| seed.value);
        own.or_else(axis_seed).unwrap_or(self.seed)
    }

    /// Returns a stage by its name.
    pub fn stage(&self, name: &str) -> Option<&StageDef> {
        self.stages.iter().find(|stage| stage.name == name)
    }

    /// Returns the value that an axis has in a cell.
    pub fn value_of(&self, axis: &str, cell: &Cell) -> Option<&AxisValue> {
        self.matrix.axis(axis)?.values.get(*cell.get(axis)?)
    }

    /// Returns the parameters of a stage in a cell: a mapping with all references filled in. The cell must have the axes
    /// of the stage, [`StageDef::axes`].
    ///
    /// # Errors
    /// If `with` refers to a value that is not a mapping, or a reference cannot be filled in.
    pub fn instantiate(&self, stage: &StageDef, cell: &Cell) -> Result<Node, Errors> {
        let path = format!("stages.{}.with", stage.name);
        let mut scope = InCell { manifest: self, cell, progress: Progress::new() };
        let with = substitute(&mut scope, &stage.with, &path);
        let mut fields = Fields { errors: scope.progress.errors };
        if fields.errors.is_empty() {
            fields.map(&path, &with, "refer to a mapping, such as `{name: argd, method: argd}`");
        }
        Errors::check(fields.errors).map(|()| with)
    }
}

/// The references of a cell: its value of each axis.
struct InCell<'m> {
    manifest: &'m Manifest,
    cell: &'m Cell,
    progress: Progress,
}

impl Scope for InCell<'_> {
    fn resolve(&mut self, reference: &Reference, path: &str) -> Resolved {
        let (axis, inside) = match (reference.root, reference.steps.split_first()) {
            (Root::Seed, _) => ("seed", &[][..]),
            (_, Some((axis, inside))) => (axis.as_str(), inside),
            (_, None) => ("", &[][..]),
        };
        let Some(value) = self.manifest.value_of(axis, self.cell) else {
            let error =
                Diagnostic::new(path, &reference.place, format!("`{reference}` has no value in this cell"));
            self.progress.errors.push(error);
            return Resolved::Failed;
        };
        match value.part(inside) {
            Some(node) => Resolved::Value(node, inside.is_empty().then(|| value.label.clone())),
            None => {
                self.progress.errors.push(value.no_such_part(reference, inside, path));
                Resolved::Failed
            }
        }
    }

    fn progress(&mut self) -> &mut Progress {
        &mut self.progress
    }
}
