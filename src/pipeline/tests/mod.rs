//! Plans and runs with stage kinds that do almost nothing.

mod budget;
mod faults;
mod forecast;
mod keys;
mod kinds;
mod planning;
mod random;
mod recompute;
mod results;
mod running;
mod stale;
mod targets;

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use tempfile::TempDir;

use super::*;
use crate::manifest::{Draft, Errors};
use crate::nn::Backend;
use crate::store::Store;
use kinds::{Fake, Lab, fakes, registry};

/// An example with one axis for a split and one for a method.
const SWEEP: &str = r#"
name: badnets
seed: 2
matrix:
  clean_ratio: [0.01, 0.05, 0.10, 0.20]
  defense: [finetune, nad, argd]
stages:
  images:     {kind: dataset,  with: {text: synthetic}}
  poisoned:   {kind: poison,   needs: {dataset: images}}
  backdoored: {kind: train,    needs: {dataset: images, poison: poisoned}}
  clean:      {kind: split,    needs: {dataset: images}, with: {ratio: "${matrix.clean_ratio}"}}
  teacher:    {kind: finetune, needs: {model: backdoored, dataset: clean}}
  erased:     {kind: erase,    needs: {student: backdoored, teacher: teacher, dataset: clean}, with: {text: "${matrix.defense}"}}
  before:     {kind: evaluate, needs: {model: backdoored, dataset: images, trigger: poisoned}}
  after:      {kind: evaluate, needs: {model: erased, dataset: images, trigger: poisoned, baseline: before}}
results: {csv: results/badnets.csv, from: [before, after]}
"#;

/// The number of tasks of [`SWEEP`].
const SWEEP_TASKS: usize = 1 + 1 + 1 + 4 + 4 + 12 + 1 + 12;

/// A store, stage kinds, and a folder for manifests.
struct Bench {
    folder: TempDir,
    lab: Arc<Lab>,
    kinds: Vec<Fake>,
    backend: Backend,
    settings: Settings,
    stop: AtomicBool,
}

/// A run and its events.
struct Seen {
    run: Run,
    events: Vec<Event>,
}

impl Bench {
    fn new() -> Self {
        let lab = Arc::new(Lab::default());
        Self {
            folder: tempfile::tempdir().unwrap(),
            kinds: fakes(&lab),
            lab,
            backend: Backend::default(),
            settings: Settings { jobs: 1, threads: 2, memory: None, fail_fast: false },
            stop: AtomicBool::new(false),
        }
    }

    fn store(&self) -> Store {
        Store::open(&self.folder.path().join("cache")).unwrap()
    }

    fn try_plan(&self, yaml: &str) -> Result<Plan, Errors> {
        let path = self.folder.path().join("m.yaml");
        fs::write(&path, yaml).unwrap();
        plan(Draft::load(&path, &[]).unwrap(), &registry(self.kinds.clone()), &self.backend)
    }

    fn plan(&self, yaml: &str) -> Plan {
        self.try_plan(yaml).unwrap_or_else(|errors| panic!("{errors}"))
    }

    /// The errors of a manifest: `path: message`.
    fn errors(&self, yaml: &str) -> Vec<String> {
        let errors = self.try_plan(yaml).err().map_or(vec![], |errors| errors.0);
        errors.iter().map(|error| format!("{}: {}", error.path, error.message)).collect()
    }

    fn run(&self, yaml: &str) -> Seen {
        self.run_plan(&self.plan(yaml))
    }

    fn run_plan(&self, plan: &Plan) -> Seen {
        let mut events = vec![];
        let run = self.watch(plan, &mut |event| events.push(event)).unwrap();
        Seen { run, events }
    }

    /// Runs a plan in threads.
    fn watch(&self, plan: &Plan, on_event: &mut dyn FnMut(Event)) -> Result<Run, RunError> {
        let (kinds, store) = (registry(self.kinds.clone()), self.store());
        let executor = Local::new(&kinds, &self.backend, &store, &self.stop);
        run(plan, &store, &self.settings, &executor, &self.stop, on_event)
    }

    /// The path of the object that is a task's output.
    fn object(&self, run: &Run, id: TaskId, output: &str) -> PathBuf {
        self.store().object(run.record(id).unwrap().output(output).unwrap())
    }
}

impl Seen {
    /// The sorted names of the tasks whose events `pick` picks.
    fn tasks(&self, pick: fn(&Event) -> bool) -> Vec<String> {
        let picked = self.events.iter().filter(|event| pick(event));
        let mut names: Vec<String> = picked.map(|event| event.task().unwrap().to_string()).collect();
        names.sort();
        names
    }

    /// The numbers of tasks that finished, were cached, failed, were skipped, and are unfinished.
    fn counts(&self) -> [usize; 5] {
        match self.events.last().unwrap() {
            &Event::RunFinished { ran, cached, failed, skipped, unfinished, .. } => {
                [ran, cached, failed, skipped, unfinished]
            }
            other => panic!("the last event is {other:?}"),
        }
    }
}

/// The task that has this name.
fn named(plan: &Plan, name: &str) -> TaskId {
    plan.tasks().find(|task| task.label.to_string() == name).unwrap_or_else(|| panic!("no task {name}")).id()
}
