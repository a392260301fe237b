//! The survey: finds the cached tasks of a plan, without running anything.

use std::sync::Arc;

use super::key::{self, Keyed, Subject};
use crate::pipeline::error::TaskError;
use crate::pipeline::plan::{Plan, Policy, TaskId, TaskRef};
use crate::stages::Output;
use crate::store::{Damage, Key, Lookup, Record, Store, StoreError};

/// The state of a task before anything runs.
#[derive(Debug)]
pub enum State {
    /// The store has its outputs.
    Cached(Arc<Record>),
    /// The store does not have its outputs, and all its inputs are known.
    ToRun(Keyed),
    /// Its inputs are unknown until other tasks have run. It may then be cached.
    Pending,
    /// Its key cannot be computed, for example because a file of the manifest is missing.
    Failed(TaskError),
}

/// The number of tasks in each [`State`].
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

/// The states of a plan's tasks before it runs.
#[derive(Debug)]
pub struct Survey {
    states: Vec<State>,
}

/// Receives the damaged files of a task that the store has set aside.
pub type OnDamage<'a> = &'a mut dyn FnMut(&TaskRef, &Damage);

/// Looks up every task whose inputs are known, inputs first. The store sets damaged artifacts aside, and `on_damage`
/// receives them.
///
/// # Errors
/// If the store cannot be read, or its watch stops it while it hashes files ([`StoreError::Stopped`]).
pub fn survey(plan: &Plan, store: &Store, on_damage: OnDamage<'_>) -> Result<Survey, StoreError> {
    let _begun = store.begin_hashing();
    let mut survey = Survey { states: Vec::with_capacity(plan.len()) };
    for task in plan.tasks() {
        let subject = Subject::of(plan, task);
        let mut damaged = |what: &Damage| on_damage(&task.label, what);
        let state = match key::inputs(task, |id| survey.record(id)) {
            None => match subject.sources(store) {
                Err(error) => failed(error)?,
                Ok(_) => State::Pending,
            },
            Some(inputs) => match subject.keyed(&inputs, store) {
                Err(error) => failed(error)?,
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

/// A task whose key cannot be computed. If the store was stopped, this is not the task's failure.
fn failed(error: TaskError) -> Result<State, StoreError> {
    match error {
        TaskError::Store(StoreError::Stopped) => Err(StoreError::Stopped),
        error => Ok(State::Failed(error)),
    }
}

/// Looks up a task's record. A record without one of the outputs is not a hit.
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
    /// The state of a task.
    pub fn state(&self, id: TaskId) -> &State {
        &self.states[id.0]
    }

    /// The record of a cached task.
    pub fn record(&self, id: TaskId) -> Option<&Record> {
        match self.states.get(id.0)? {
            State::Cached(record) => Some(record),
            _ => None,
        }
    }

    /// The number of tasks in each state.
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
