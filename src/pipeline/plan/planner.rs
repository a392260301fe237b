//! Manifest to plan: one task per stage and distinct cell of the axes that the stage uses, directly or through its
//! needs.
//!
//! All errors of the stages are found here, before anything runs, and reported together. The time is linear in cells
//! times stages. Parameters are checked and typed once per cell of the axes that the stage's own text uses.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::binding::Binding;
use super::classes;
use super::dag::{Frame, Plan, ResultsSpec};
use super::label::{Label, TaskId};
use super::stage_plan::{Coordinates, SEED, StagePlan, coordinates};
use super::task::{Connection, Policy, Task};
use super::wiring::{check_results, noun, wire};
use crate::manifest::{Cell, Diagnostic, Draft, Errors, Manifest};
use crate::nn::Backend;
use crate::stages::Stage;

/// Makes the plan of a manifest, or reports all its errors.
///
/// `backend` computes its networks. The class of its numerics enters every key.
pub fn plan(draft: Draft, kinds: &[Box<dyn Stage>], backend: &Backend) -> Result<Plan, Errors> {
    let (stages, errors) = draft.manifest().map_or((vec![], vec![]), |manifest| check(manifest, kinds));
    let manifest = draft.with(errors).finish()?;
    let tasks = Expansion::new(&manifest, &stages).expand(&manifest.cells());
    Ok(Plan::new(frame(&manifest, backend), tasks))
}

/// Finds all errors of the stages. Without errors, every stage is returned.
fn check<'k>(manifest: &Manifest, kinds: &'k [Box<dyn Stage>]) -> (Vec<StagePlan<'k>>, Vec<Diagnostic>) {
    let mut errors = vec![];
    let cells = manifest.cells();
    let wired = wire(manifest, kinds, &mut errors);
    errors.extend(check_results(manifest, &wired));
    let stages: Vec<Option<StagePlan<'_>>> = wired
        .into_iter()
        .enumerate()
        .map(|(stage, wired)| wired.map(|wired| StagePlan::new(manifest, stage, wired, &cells, &mut errors)))
        .collect();
    errors.extend(unmade(manifest, &stages));
    errors.extend(classes::unknown(manifest, &stages, &cells));
    (stages.into_iter().flatten().collect(), errors)
}

fn frame(manifest: &Manifest, backend: &Backend) -> Frame {
    Frame {
        source: manifest.source.clone(),
        name: manifest.name.clone(),
        backend: backend.clone(),
        seed: manifest.seed,
        axes: manifest.matrix.axes.iter().map(|axis| axis.name.clone()).collect(),
        stages: manifest.stages.iter().map(|def| def.name.clone()).collect(),
        results: manifest.results.as_ref().map(|results| ResultsSpec {
            csv: results.csv.value.clone(),
            from: results.from.iter().map(|stage| stage.value.clone()).collect(),
        }),
    }
}

/// Finds ports that take an output that is not made in every cell.
fn unmade(manifest: &Manifest, stages: &[Option<StagePlan<'_>>]) -> Vec<Diagnostic> {
    let mut errors = vec![];
    for (def, plan) in manifest.stages.iter().zip(stages) {
        for port in plan.iter().flat_map(|plan| &plan.wired.ports) {
            let missing = stages[port.producer].as_ref().and_then(|producer| producer.lacks(port));
            let needed = def.needs.iter().find(|(name, _)| name.value == port.name);
            if let (Some(output), Some((_, stage))) = (missing, needed) {
                let path = format!("stages.{}.needs.{}", def.name, port.name);
                let (takes, by) = (noun(output.makes), &stage.value);
                let message =
                    format!("`{}` takes {takes}, but `{by}` makes it only with other parameters", port.name);
                errors.push(Diagnostic::new(path, &stage.place, message).with_help(output.about));
            }
        }
    }
    errors
}

/// Stages to tasks, cell by cell.
struct Expansion<'a> {
    manifest: &'a Manifest,
    stages: &'a [StagePlan<'a>],
    seed_axis: Option<usize>,
    /// By stage: the tasks made so far.
    known: Vec<HashMap<Coordinates, TaskId>>,
    tasks: Vec<Task>,
    /// By task.
    places: Vec<Coordinates>,
}

impl<'a> Expansion<'a> {
    fn new(manifest: &'a Manifest, stages: &'a [StagePlan<'a>]) -> Self {
        let seed_axis = manifest.matrix.axes.iter().position(|axis| axis.name == SEED);
        let known = stages.iter().map(|_| HashMap::new()).collect();
        Self { manifest, stages, seed_axis, known, tasks: vec![], places: vec![] }
    }

    /// Makes all tasks, cell by cell. Then the first cell's results are ready first.
    fn expand(mut self, cells: &[Cell]) -> Vec<Task> {
        let order = stage_order(self.stages);
        let mut here = vec![TaskId(0); self.stages.len()];
        for cell in cells {
            for &stage in &order {
                here[stage] = self.task(stage, cell, &here);
            }
        }
        self.tasks
    }

    /// The task of a stage in a cell. `here` has the tasks of the earlier stages in that cell.
    fn task(&mut self, stage: usize, cell: &Cell, here: &[TaskId]) -> TaskId {
        let StagePlan { wired, own_axes, bindings } = &self.stages[stage];
        let def = &self.manifest.stages[stage];
        let Binding { with, bound } = &bindings[&coordinates(self.manifest, cell, |axis| own_axes[axis])];
        let uses = |axis: usize| {
            own_axes[axis]
                || (self.seed_axis == Some(axis) && bound.seeded() && def.seed.is_none())
                || wired.ports.iter().any(|port| self.places[here[port.producer].0][axis].is_some())
        };
        let place = coordinates(self.manifest, cell, uses);
        if let Some(&id) = self.known[stage].get(&place) {
            return id;
        }
        let id = TaskId(self.tasks.len());
        let inputs = wired.ports.iter().map(|port| Connection {
            port: port.name,
            producer: here[port.producer],
            artifacts: port.artifacts.clone(),
        });
        let task = Task {
            label: self.label(id, stage, &place).into(),
            kind: wired.kind.kind(),
            version: wired.kind.version(),
            outputs: wired.kind.outputs().iter().filter(|output| bound.makes(output)).collect(),
            with: Arc::clone(with),
            bound: Arc::clone(bound),
            seed: bound.seeded().then(|| self.manifest.seed_of(def, cell)),
            inputs: inputs.collect(),
            policy: Policy::default(),
        };
        self.tasks.push(task);
        self.known[stage].insert(place.clone(), id);
        self.places.push(place);
        id
    }

    fn label(&self, id: TaskId, stage: usize, place: &Coordinates) -> Label {
        let axes = self.manifest.matrix.axes.iter().zip(place);
        let axes =
            axes.filter_map(|(axis, value)| Some((axis.name.clone(), axis.values[(*value)?].label.clone())));
        Label { id, stage: self.manifest.stages[stage].name.clone(), axes: axes.collect() }
    }
}

/// The stages in topological order, and otherwise in the manifest's order.
///
/// `petgraph::algo::toposort` does not keep the manifest's order among independent stages. Users see the order of the
/// plan, so this function keeps it.
fn stage_order(stages: &[StagePlan<'_>]) -> Vec<usize> {
    let mut waits_for: Vec<usize> = stages.iter().map(|plan| plan.wired.ports.len()).collect();
    let mut needed_by = vec![vec![]; stages.len()];
    for (stage, plan) in stages.iter().enumerate() {
        plan.wired.ports.iter().for_each(|port| needed_by[port.producer].push(stage));
    }
    let mut ready: BTreeSet<usize> = (0..stages.len()).filter(|&stage| waits_for[stage] == 0).collect();
    let mut order = Vec::with_capacity(stages.len());
    while let Some(stage) = ready.pop_first() {
        order.push(stage);
        for &next in &needed_by[stage] {
            waits_for[next] -= 1;
            if waits_for[next] == 0 {
                ready.insert(next);
            }
        }
    }
    order
}
