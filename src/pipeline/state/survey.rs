//! What the store has of a plan, without running anything.

use std::sync::Arc;

use super::key::{self, Keyed, Subject};
use crate::pipeline::error::TaskError;
use crate::pipeline::plan::{Plan, Policy, TaskId, TaskRef};
use crate::stages::Output;
use crate::store::{Damage, Key, Lookup, Record, Store, StoreError};

/// What is known about a task before anything runs.
#[derive(Debug)]
pub enum State {
    /// The store has what it makes.
    Cached(Arc<Record>),
    /// The store does not have what it makes, and all its inputs are known.
    ToRun(Keyed),
    /// Its inputs are not known before others have run; it may turn out to be cached.
    Pending,
    /// It cannot be keyed: a file that the manifest names is missing, or the like.
    Failed(TaskError),
}

/// How many tasks are in each [`State`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// [`State::Cached`].
    pub cached: usize,
    /// [`State::ToRun`].
    pub to_run: usize,
    /// [`State::Pending`].
    pub pending: usize,
    /// [`State::Failed`].
    pub failed: usize,
}

/// What the store has of a plan.
#[derive(Debug)]
pub struct Survey {
    states: Vec<State>,
}

/// Hears of damaged files of a task that the store has set aside.
pub type OnDamage<'a> = &'a mut dyn FnMut(&TaskRef, &Damage);

/// Looks up every task whose inputs are known, inputs first. Damaged artifacts are set aside by the store, and
/// reported through `on_damage`.
pub fn survey(plan: &Plan, store: &Store, on_damage: OnDamage<'_>) -> Result<Survey, StoreError> {
    let mut survey = Survey { states: Vec::with_capacity(plan.len()) };
    for task in plan.tasks() {
        let subject = Subject::of(plan, task);
        let mut damaged = |what: &Damage| on_damage(&task.label, what);
        let state = match key::inputs(task, |id| survey.record(id)) {
            None => subject.sources(store).map_or_else(State::Failed, |_| State::Pending),
            Some(inputs) => match subject.keyed(&inputs, store) {
                Err(error) => State::Failed(error),
                Ok(keyed) => match (find(store, &task.outputs, &keyed.key, &mut damaged)?, task.policy) {
                    (_, Policy::Always) => State::ToRun(keyed),
                    (Some(record), _) => State::Cached(record),
                    (None, Policy::IfMissing) => State::ToRun(keyed),
                    (None, Policy::Never) => State::Failed(TaskError::Withheld),
                },
            },
        };
        survey.states.push(state);
    }
    Ok(survey)
}

/// Looks up what a task makes. A record that lacks one of the outputs is not a hit.
pub(in crate::pipeline) fn find(
    store: &Store,
    outputs: &[&'static Output],
    key: &Key,
    damaged: &mut dyn FnMut(&Damage),
) -> Result<Option<Arc<Record>>, StoreError> {
    let whole = |record: &Record| outputs.iter().all(|output| record.output(output.name).is_some());
    match store.lookup(key)? {
        Lookup::Hit(record) if whole(&record) => Ok(Some(Arc::from(record))),
        Lookup::Hit(_) | Lookup::Miss => Ok(None),
        Lookup::Damaged(damages) => {
            damages.iter().for_each(damaged);
            Ok(None)
        }
    }
}

impl Survey {
    /// What is known about a task.
    pub fn state(&self, id: TaskId) -> &State {
        &self.states[id.0]
    }

    /// The record of a task that the store has.
    pub fn record(&self, id: TaskId) -> Option<&Record> {
        match self.states.get(id.0)? {
            State::Cached(record) => Some(record),
            _ => None,
        }
    }

    /// How many tasks are in each state.
    pub fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for state in &self.states {
            match state {
                State::Cached(_) => counts.cached += 1,
                State::ToRun(_) => counts.to_run += 1,
                State::Pending => counts.pending += 1,
                State::Failed(_) => counts.failed += 1,
            }
        }
        counts
    }

    /// The states by task.
    pub(in crate::pipeline) fn into_states(self) -> Vec<State> {
        self.states
    }
}
