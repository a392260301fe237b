//! Classes that parameters name, checked against the data set, where the manifest alone gives its number of classes.

use std::collections::HashSet;

use super::binding::{Binding, locate};
use super::stage_plan::{StagePlan, coordinates};
use crate::manifest::{Cell, Diagnostic, Manifest};

/// The port whose data set has the classes. A split of a data set has the same classes.
const DATASET: &str = "dataset";

/// Finds classes that the data set does not have. Where its classes are not known, the stage finds them when it runs.
pub(super) fn unknown(
    manifest: &Manifest,
    stages: &[Option<StagePlan<'_>>],
    cells: &[Cell],
) -> Vec<Diagnostic> {
    let mut errors = vec![];
    for (def, stage) in manifest.stages.iter().zip(stages) {
        let Some(stage) = stage.as_ref().filter(|stage| stage.bindings.values().any(names_a_class)) else {
            continue;
        };
        let mut checked = HashSet::new();
        for cell in cells {
            let at = coordinates(manifest, cell, |axis| stage.own_axes[axis]);
            let (Some(binding), Some(classes)) =
                (stage.bindings.get(&at), classes(manifest, stages, stage, cell))
            else {
                continue;
            };
            if !checked.insert((at, classes)) {
                continue;
            }
            let wrong = binding.bound.check_classes(classes);
            // Parameters that could be bound can be instantiated again.
            if let (false, Ok(with)) = (wrong.is_empty(), manifest.instantiate(def, cell)) {
                let path = format!("stages.{}.with", def.name);
                errors.extend(wrong.iter().map(|error| locate(error, &with, &path)));
            }
        }
    }
    errors
}

/// Whether a parameter names a class: then it does not fit a data set without classes.
fn names_a_class(binding: &Binding) -> bool {
    !binding.bound.check_classes(0).is_empty()
}

/// The number of classes of the data set that a stage reads in a cell, if the manifest gives it.
fn classes(
    manifest: &Manifest,
    stages: &[Option<StagePlan<'_>>],
    of: &StagePlan<'_>,
    cell: &Cell,
) -> Option<usize> {
    let mut reader = of;
    // A circle, which is reported elsewhere, has at most as many steps as there are stages.
    for _ in stages {
        let port = reader.wired.ports.iter().find(|port| port.name == DATASET)?;
        reader = stages[port.producer].as_ref()?;
        let at = coordinates(manifest, cell, |axis| reader.own_axes[axis]);
        if let Some(classes) = reader.bindings.get(&at)?.bound.classes() {
            return Some(classes);
        }
    }
    None
}
