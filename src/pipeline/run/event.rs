//! The events of a run: plain data in one order, written and read in the same form.
//!
//! Only the dispatcher emits events, so their order is a history: an event about a task follows the events about the
//! tasks that it needs. In JSON, an event is an object with an `event` tag.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::pipeline::error::Class;
use crate::pipeline::plan::TaskRef;
use crate::stages::Progress;
use crate::store::Damage;

/// Something that happened in a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case", rename_all_fields = "kebab-case")]
pub enum Event {
    /// The first event. [`Event::Cached`] follows for each cached task.
    RunStarted {
        /// The manifest's name.
        pipeline: String,
        /// Tasks of the plan.
        tasks: usize,
        /// The number of tasks that may run at once.
        jobs: usize,
        /// The threads that running tasks share.
        threads: usize,
    },
    /// The store has the task's outputs, so the task does not run.
    Cached {
        /// The task.
        task: TaskRef,
        /// Its key, in hex.
        key: String,
        /// Metrics by name.
        metrics: Map<String, Value>,
        /// Its duration when it ran.
        seconds: f64,
        /// The warnings about its result.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        warnings: Vec<String>,
    },
    /// A task has started.
    TaskStarted {
        /// The task.
        task: TaskRef,
        /// Its key, in hex.
        key: String,
        /// Threads that it may use.
        threads: usize,
    },
    /// The progress of a running task: at most about 10 events per second, and one at every epoch.
    Progress {
        /// The task.
        task: TaskRef,
        /// The progress.
        progress: Progress,
    },
    /// A note from a running task.
    Note {
        /// The task.
        task: TaskRef,
        /// The line.
        line: String,
    },
    /// A warning about the result of a running task, which is kept with the result.
    Warning {
        /// The task.
        task: TaskRef,
        /// The line.
        line: String,
    },
    /// A task waits for another process that computes the same key. Reported once per wait.
    WaitingForLock {
        /// The task.
        task: TaskRef,
        /// The process that computes it.
        holder: String,
    },
    /// An output in the store was damaged. The task is computed again. Reported once per damaged file.
    Damaged {
        /// The task.
        task: TaskRef,
        /// The file, its damage, and its new place.
        what: String,
    },
    /// A task is non-deterministic: its outputs differed when it was computed twice.
    Nondeterministic {
        /// The task.
        task: TaskRef,
        /// Its key, in hex.
        key: String,
    },
    /// A task ran, and its outputs are in the store.
    Finished {
        /// The task.
        task: TaskRef,
        /// Its key, in hex.
        key: String,
        /// Metrics by name.
        metrics: Map<String, Value>,
        /// Its duration.
        seconds: f64,
    },
    /// A task failed.
    Failed {
        /// The task.
        task: TaskRef,
        /// The class of the error.
        class: Class,
        /// The message: what failed, and where.
        message: String,
        /// The hint: what to do.
        #[serde(skip_serializing_if = "Option::is_none")]
        hint: Option<String>,
    },
    /// The store does not have a task's outputs, and `--only` forbids computing them.
    Withheld {
        /// The task.
        task: TaskRef,
    },
    /// A task cannot run, because a task that it depends on failed or was withheld.
    Skipped {
        /// The task.
        task: TaskRef,
        /// The failed or withheld task.
        ancestor: TaskRef,
        /// Why that task has no result.
        message: String,
    },
    /// A running task was stopped. The next run resumes it from its checkpoint.
    Stopped {
        /// The task.
        task: TaskRef,
    },
    /// The last event. The counts add up to the tasks of the plan.
    RunFinished {
        /// Tasks that ran and finished.
        ran: usize,
        /// Tasks with cached outputs.
        cached: usize,
        /// Tasks that failed.
        failed: usize,
        /// Tasks that were withheld, or that depend on a withheld or failed task.
        skipped: usize,
        /// Tasks that were stopped or did not start, because the run was stopped.
        unfinished: usize,
        /// Warnings about the results of the plan, cached or not.
        #[serde(default)]
        warnings: usize,
        /// The duration of the run.
        seconds: f64,
    },
}

impl Event {
    /// An output of a task in the store is damaged.
    pub fn damaged(task: &TaskRef, damage: &Damage) -> Self {
        Self::Damaged { task: task.clone(), what: damage.to_string() }
    }

    /// The task that the event is about.
    pub fn task(&self) -> Option<&TaskRef> {
        match self {
            Self::RunStarted { .. } | Self::RunFinished { .. } => None,
            Self::Cached { task, .. }
            | Self::TaskStarted { task, .. }
            | Self::Progress { task, .. }
            | Self::Note { task, .. }
            | Self::Warning { task, .. }
            | Self::WaitingForLock { task, .. }
            | Self::Damaged { task, .. }
            | Self::Nondeterministic { task, .. }
            | Self::Finished { task, .. }
            | Self::Failed { task, .. }
            | Self::Withheld { task }
            | Self::Skipped { task, .. }
            | Self::Stopped { task } => Some(task),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::plan::{Label, TaskId};

    fn erased() -> TaskRef {
        let axes = vec![("ratio".into(), "0.05".into()), ("defense".into(), "argd".into())];
        Label { id: TaskId(7), stage: "erased".into(), axes }.into()
    }

    #[test]
    fn an_event_in_json_is_a_tagged_object_in_kebab_case() {
        let terms = vec![("total".into(), 1.5), ("attention".into(), 0.25)];
        let at = Progress { epoch: 1, epochs: 2, step: 3, steps: 4, ..Default::default() };
        let progress = Progress { images_per_second: 5.5, terms, ..at.clone() };
        let json = serde_json::to_string(&Event::Progress { task: erased(), progress }).unwrap();
        assert_eq!(
            json,
            r#"{"event":"progress","task":{"id":7,"name":"erased@ratio=0.05,defense=argd","stage":"erased","axes":{"ratio":"0.05","defense":"argd"}},"progress":{"unit":"epoch","epoch":1,"epochs":2,"step":3,"steps":4,"images-per-second":5.5,"terms":{"total":1.5,"attention":0.25}}}"#
        );
        let progress = Progress { tests: vec![("acc".into(), 81.5), ("asr".into(), 3.25)], ..at };
        let json = serde_json::to_string(&Event::Progress { task: erased(), progress }).unwrap();
        assert!(json.ends_with(r#""terms":{},"tests":{"acc":81.5,"asr":3.25}}}"#), "{json}");
    }

    #[test]
    fn an_event_is_read_back() {
        let terms = vec![("total".into(), 1.5), ("attention".into(), 0.25)];
        let progress = Progress { epoch: 1, epochs: 2, terms, ..Default::default() };
        for event in [
            Event::Progress { task: erased(), progress },
            Event::Failed {
                task: erased(),
                class: Class::InputMissing,
                message: "no file".into(),
                hint: None,
            },
            Event::RunStarted { pipeline: "p".into(), tasks: 1, jobs: 1, threads: 1 },
        ] {
            let json = serde_json::to_string(&event).unwrap();
            assert_eq!(serde_json::from_str::<Event>(&json).unwrap(), event);
        }
    }

    #[test]
    fn every_task_event_names_its_task() {
        let waiting = Event::WaitingForLock { task: erased(), holder: "process 7 on host".into() };
        assert_eq!(waiting.task(), Some(&erased()));
        assert!(serde_json::to_string(&waiting).unwrap().starts_with(r#"{"event":"waiting-for-lock","#));
        let started = Event::RunStarted { pipeline: "p".into(), tasks: 1, jobs: 1, threads: 1 };
        assert_eq!(started.task(), None);
    }
}
