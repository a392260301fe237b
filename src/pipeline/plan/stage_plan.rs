//! A stage with its parameters in all cells, checked and typed: from it the tasks of the stage are made.

use std::collections::HashMap;

use super::binding::{Binding, bind};
use super::wiring::{Port, Wired};
use crate::manifest::{Cell, Diagnostic, Manifest};
use crate::stages::Output;

/// The axis whose value replaces the manifest's seed.
pub(super) const SEED: &str = "seed";

/// Value index by axis, `None` for an unused axis. The coordinates identify a task among those of its stage.
pub(super) type Coordinates = Vec<Option<usize>>;

/// Typed parameters by the coordinates on a stage's own axes.
pub(super) type Bindings = HashMap<Coordinates, Binding>;

/// A stage with what its tasks share.
pub(super) struct StagePlan<'k> {
    pub wired: Wired<'k>,
    /// By axis: whether the stage's own text uses it.
    pub own_axes: Vec<bool>,
    pub bindings: Bindings,
}

impl<'k> StagePlan<'k> {
    pub(super) fn new(
        manifest: &Manifest,
        stage: usize,
        wired: Wired<'k>,
        cells: &[Cell],
        errors: &mut Vec<Diagnostic>,
    ) -> Self {
        let def = &manifest.stages[stage];
        let schema = wired.kind.schema().to_value();
        let own_axes: Vec<bool> =
            manifest.matrix.axes.iter().map(|axis| def.axes.contains(&axis.name)).collect();
        let mut bindings: HashMap<Coordinates, Option<Binding>> = HashMap::new();
        // The cells of an invalid matrix have no values. That error is already reported.
        let has_values = |cell: &&Cell| def.axes.iter().all(|axis| cell.contains_key(axis) || axis == SEED);
        for cell in cells.iter().filter(has_values) {
            let bind_once =
                || bind(manifest, def, wired.kind, &schema, cell).map_err(|wrong| errors.extend(wrong)).ok();
            bindings.entry(coordinates(manifest, cell, |axis| own_axes[axis])).or_insert_with(bind_once);
        }
        let bindings: Bindings =
            bindings.into_iter().filter_map(|(at, binding)| Some((at, binding?))).collect();
        if let Some(seed) = &def.seed
            && !bindings.is_empty()
            && !bindings.values().any(|binding| binding.bound.seeded())
        {
            let (path, message) = (format!("stages.{}.seed", def.name), "this seed has no effect");
            let help = format!("remove it: with these parameters, `{}` does not use a seed", def.kind.value);
            errors.push(Diagnostic::new(path, &seed.place, message).with_help(help));
        }
        Self { wired, own_axes, bindings }
    }

    /// An output that a port takes, but that this stage does not make in every cell.
    pub(super) fn lacks(&self, port: &Port) -> Option<&'static Output> {
        let is_taken = |output: &Output| port.artifacts.iter().any(|(_, name)| *name == output.name);
        let is_made = |output: &Output| self.bindings.values().all(|binding| binding.bound.makes(output));
        self.wired.kind.outputs().iter().find(|output| is_taken(output) && !is_made(output))
    }
}

/// A cell's coordinates on those axes that `uses` picks by their position.
pub(super) fn coordinates(manifest: &Manifest, cell: &Cell, uses: impl Fn(usize) -> bool) -> Coordinates {
    let axes = manifest.matrix.axes.iter().enumerate();
    axes.map(|(axis, def)| cell.get(&def.name).copied().filter(|_| uses(axis))).collect()
}
