//! The states of all tasks: from the store, and from the journal of earlier runs for those that are not cached.

use serde::Serialize;

use super::components::Components;
use super::key::{self, Subject};
use super::stale::{StaleReason, differences};
use super::survey::{OnDamage, State, Survey, survey};
use crate::pipeline::plan::{Connection, Plan, Task, TaskId, TaskRef};
use crate::store::{Failure, Journal, Key, Past, Record, Store, StoreError};
use crate::train::Reached;

/// The state of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// The store has its outputs.
    Cached,
    /// Its last result is out of date, or a task that it needs must run first.
    Stale,
    /// It never had a result, or the store no longer has it.
    Missing,
    /// Another process computes it now.
    Running,
    /// It failed when it last ran, and nothing has changed since.
    Failed,
    /// Its key cannot be computed, for example because a file of the manifest is missing.
    CannotRun,
}

impl Standing {
    /// All states, in the order of the counts.
    pub const ALL: [Self; 6] =
        [Self::Cached, Self::Stale, Self::Missing, Self::Running, Self::Failed, Self::CannotRun];

    /// Its name in JSON.
    pub fn key(self) -> &'static str {
        match self {
            Self::CannotRun => "cannot-run",
            other => other.name(),
        }
    }

    /// Its name in text.
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

/// The state of a task, and the reasons.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TaskStatus {
    /// The task.
    pub task: TaskRef,
    /// Its state.
    #[serde(rename = "state")]
    pub standing: Standing,
    /// Its key, if all its inputs are known.
    pub key: Option<Key>,
    /// The key of its last record in a run of this pipeline, if it differs.
    pub last: Option<Key>,
    /// Why it is not cached, from its keys.
    pub reasons: Vec<StaleReason>,
    /// The process that computes it now, its error, or why it cannot run.
    pub note: Option<String>,
}

/// The states of a plan's tasks.
#[derive(Debug)]
pub struct Status {
    survey: Survey,
    tasks: Vec<TaskStatus>,
}

/// Finds the state of every task. It runs nothing and waits for nothing.
pub fn status(plan: &Plan, store: &Store, on_damage: OnDamage<'_>) -> Result<Status, StoreError> {
    let survey = survey(plan, store, on_damage)?;
    let all_cached = survey.counts().cached == plan.len();
    let look =
        Look { plan, store, survey: &survey, journal: (!all_cached).then(|| store.journal(plan.name())) };
    let tasks = plan.tasks().map(|task| look.at(task)).collect::<Result<_, _>>()?;
    Ok(Status { survey, tasks })
}

impl Status {
    /// The state of a task.
    pub fn of(&self, id: TaskId) -> &TaskStatus {
        &self.tasks[id.0]
    }

    /// The states of all tasks, in the order of the plan.
    pub fn tasks(&self) -> &[TaskStatus] {
        &self.tasks
    }

    /// The record of a cached task.
    pub fn record(&self, id: TaskId) -> Option<&Record> {
        self.survey.record(id)
    }
}

/// The sources of a task's state.
struct Look<'a> {
    plan: &'a Plan,
    store: &'a Store,
    survey: &'a Survey,
    /// `None` if all tasks are cached.
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
                // An unreadable source file is unknown, too. The run will report it.
                if let Ok(keyed) = Subject::of(self.plan, task).keyed(&inputs, self.store) {
                    self.explain(task, &keyed.components, past, &mut found)?;
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
        // A record that cannot be read explains nothing.
        match self.store.record(&last).ok().flatten().filter(|record| found.key != Some(record.key)) {
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

    /// Finds whether another process computes the task, or it failed or was interrupted under the same key.
    fn look_for_others(&self, key: Key, past: Option<&Past>, found: &mut TaskStatus) {
        if let Some(holder) = self.store.locked_by(&key) {
            found.standing = Standing::Running;
            found.note = Some(holder.to_string());
        } else if let Some(Failure { message, .. }) =
            past.and_then(|past| past.failed.as_ref()).filter(|failure| failure.key == Some(key))
        {
            found.standing = Standing::Failed;
            found.note = Some(message.clone());
        } else if let Some(interrupted) = self.interrupted(&key) {
            found.reasons.retain(|reason| *reason != StaleReason::NeverRan);
            found.reasons.push(interrupted);
        }
    }

    /// How far an earlier attempt at a key came, by its last checkpoint.
    fn interrupted(&self, key: &Key) -> Option<StaleReason> {
        let reached = self.store.checkpoints(key).iter().find_map(|file| Reached::of(file))?;
        let (epoch, step) = match reached {
            Reached::Epoch(epoch, step) => (Some(epoch), Some(step)),
            Reached::Part => (None, None),
        };
        Some(StaleReason::Interrupted { epoch, step })
    }

    /// The inputs that are not known yet.
    fn pending<'t>(&self, task: &'t Task) -> impl Iterator<Item = &'t Connection> {
        task.inputs.iter().filter(|connection| self.survey.record(connection.producer).is_none())
    }
}
