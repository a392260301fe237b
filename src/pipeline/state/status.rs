//! How every task stands: what the store has, and what the journal of earlier runs says of the rest.

use serde::Serialize;

use super::components::Components;
use super::key::{self, Subject};
use super::stale::{StaleReason, differences};
use super::survey::{OnDamage, State, Survey, survey};
use crate::pipeline::plan::{Connection, Plan, Task, TaskId, TaskRef};
use crate::store::{Failure, Journal, Key, Past, Record, Store, StoreError};

/// How a task stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// The store has what it makes.
    Cached,
    /// It had a result once; what determines it has changed, or what it needs has to run first.
    Stale,
    /// It never had a result, or that is not in the store any more.
    Missing,
    /// Another process computes it now.
    Running,
    /// It failed last time, and nothing that determines it has changed since.
    Failed,
    /// It cannot be keyed: a file that the manifest names is missing, or the like.
    CannotRun,
}

impl Standing {
    /// All, in the order in which they are counted.
    pub const ALL: [Self; 6] =
        [Self::Cached, Self::Stale, Self::Missing, Self::Running, Self::Failed, Self::CannotRun];

    /// What JSON calls it.
    pub fn key(self) -> &'static str {
        match self {
            Self::CannotRun => "cannot-run",
            other => other.name(),
        }
    }

    /// What people call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cached => "cached",
            Self::Stale => "stale",
            Self::Missing => "missing",
            Self::Running => "running",
            Self::Failed => "failed",
            Self::CannotRun => "cannot run",
        }
    }
}

/// How a task stands, and why.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TaskStatus {
    /// Which task.
    pub task: TaskRef,
    /// How it stands.
    #[serde(rename = "state")]
    pub standing: Standing,
    /// Its key, if all its inputs are known.
    pub key: Option<Key>,
    /// The key of the last record that it had in a run of this pipeline, if that is another.
    pub last: Option<Key>,
    /// Why it is not cached, as far as keys tell.
    pub reasons: Vec<StaleReason>,
    /// Who computes it now, why it failed, or why it cannot run.
    pub note: Option<String>,
}

/// How all tasks of a plan stand.
#[derive(Debug)]
pub struct Status {
    survey: Survey,
    tasks: Vec<TaskStatus>,
}

/// Finds out how every task stands. Runs nothing and waits for nobody.
pub fn status(plan: &Plan, store: &Store, on_damage: OnDamage<'_>) -> Result<Status, StoreError> {
    let survey = survey(plan, store, on_damage)?;
    let all_cached = survey.counts().cached == plan.len();
    let look =
        Look { plan, store, survey: &survey, journal: (!all_cached).then(|| store.journal(plan.name())) };
    let tasks = plan.tasks().map(|task| look.at(task)).collect::<Result<_, _>>()?;
    Ok(Status { survey, tasks })
}

impl Status {
    /// How a task stands.
    pub fn of(&self, id: TaskId) -> &TaskStatus {
        &self.tasks[id.0]
    }

    /// How all tasks stand, in the order of the plan.
    pub fn tasks(&self) -> &[TaskStatus] {
        &self.tasks
    }

    /// The record of a task that the store has.
    pub fn record(&self, id: TaskId) -> Option<&Record> {
        self.survey.record(id)
    }
}

/// Everything that tells how a task stands.
struct Look<'a> {
    plan: &'a Plan,
    store: &'a Store,
    survey: &'a Survey,
    /// Not read if all is cached.
    journal: Option<Journal>,
}

impl Look<'_> {
    fn at(&self, task: &Task) -> Result<TaskStatus, StoreError> {
        let label = task.label.clone();
        let mut found = TaskStatus {
            standing: Standing::Missing,
            key: None,
            last: None,
            reasons: vec![],
            note: None,
            task: label,
        };
        let past = self.journal.as_ref().and_then(|journal| journal.past(&task.label.to_string()));
        match self.survey.state(task.id()) {
            State::Cached(record) => {
                found.standing = Standing::Cached;
                found.key = Some(record.key);
                return Ok(found);
            }
            State::Failed(error) => {
                found.standing = Standing::CannotRun;
                found.note = Some(error.with_hint());
                return Ok(found);
            }
            State::ToRun(keyed) => {
                found.key = Some(keyed.key);
                self.explain(task, &keyed.components, past, &mut found)?;
                self.look_for_others(keyed.key, past, &mut found);
            }
            State::Pending => {
                let inputs = key::known_inputs(task, |id| self.survey.record(id));
                // A source that cannot be read is one more thing that is not known; the run will say so.
                if let Ok(components) = Subject::of(self.plan, task).components(&inputs, self.store) {
                    self.explain(task, &components, past, &mut found)?;
                }
                found.reasons.extend(self.pending(task).map(|connection| StaleReason::InputPending {
                    port: connection.port,
                    task: self.plan.task(connection.producer).label.clone(),
                }));
            }
        }
        Ok(found)
    }

    /// Compares with the last record of the task.
    fn explain(
        &self,
        task: &Task,
        components: &Components,
        past: Option<&Past>,
        found: &mut TaskStatus,
    ) -> Result<(), StoreError> {
        let Some(last) = past.and_then(|past| past.done) else {
            found.reasons.push(StaleReason::NeverRan);
            return Ok(());
        };
        found.last = Some(last).filter(|last| found.key != Some(*last));
        match self.store.record(&last)?.filter(|record| found.key != Some(record.key)) {
            None => found.reasons.push(StaleReason::Removed),
            Some(record) => {
                found.standing = Standing::Stale;
                let pending = |name: &str| self.pending(task).any(|connection| connection.has(name));
                let feeds = |name: &str| self.plan.feeding(task, name);
                found.reasons = Components::of(&record)
                    .map_or(vec![], |old| differences(task, &old, components, pending, feeds));
            }
        }
        Ok(())
    }

    /// Whether another process computes the task, or it failed under the same key.
    fn look_for_others(&self, key: Key, past: Option<&Past>, found: &mut TaskStatus) {
        if let Some(holder) = self.store.locked_by(&key) {
            found.standing = Standing::Running;
            found.note = Some(holder.to_string());
        } else if let Some(Failure { message, .. }) =
            past.and_then(|past| past.failed.as_ref()).filter(|failure| failure.key == Some(key))
        {
            found.standing = Standing::Failed;
            found.note = Some(message.clone());
        }
    }

    /// The inputs that are not known yet.
    fn pending<'t>(&self, task: &'t Task) -> impl Iterator<Item = &'t Connection> {
        task.inputs.iter().filter(|connection| self.survey.record(connection.producer).is_none())
    }
}
