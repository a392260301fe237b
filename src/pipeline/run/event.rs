//! What happens in a run: plain data, in one order, written and read back in the same form.
//!
//! The dispatcher is the only one that emits events, so their order is a history: an event about a task comes
//! after those about the tasks that it needs. In JSON an event is an object with an `event` tag.

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
    /// The first event. The store has been surveyed; [`Event::Cached`] for what it has comes next.
    RunStarted {
        /// The manifest's name.
        pipeline: String,
        /// Tasks of the plan.
        tasks: usize,
        /// Tasks that may run at once.
        jobs: usize,
        /// Threads that running tasks share.
        threads: usize,
    },
    /// The store has what the task makes; it does not run.
    Cached {
        /// Which.
        task: TaskRef,
        /// Its key, in hex.
        key: String,
        /// Metrics by name.
        metrics: Map<String, Value>,
        /// How long it took when it ran.
        seconds: f64,
    },
    /// A task runs now.
    TaskStarted {
        /// Which.
        task: TaskRef,
        /// Its key, in hex.
        key: String,
        /// Threads that it may use.
        threads: usize,
    },
    /// How far a running task is; at most about ten a second, and one at every epoch.
    Progress {
        /// Which.
        task: TaskRef,
        /// How far.
        progress: Progress,
    },
    /// A line from a running task.
    Note {
        /// Which.
        task: TaskRef,
        /// The line.
        line: String,
    },
    /// A task waits for another process that computes the same key. Reported once per wait.
    WaitingForLock {
        /// Which.
        task: TaskRef,
        /// Who computes it.
        holder: String,
    },
    /// The store had what the task makes, but damaged; the task is computed again. Reported once per damaged file.
    Damaged {
        /// Which.
        task: TaskRef,
        /// Which file, what is wrong with it, and where it is now.
        what: String,
    },
    /// What a task makes is not determined by its key: computed twice, it came out differently.
    Nondeterministic {
        /// Which.
        task: TaskRef,
        /// Its key, in hex.
        key: String,
    },
    /// A task ran, and what it made is in the store.
    Finished {
        /// Which.
        task: TaskRef,
        /// Its key, in hex.
        key: String,
        /// Metrics by name.
        metrics: Map<String, Value>,
        /// How long it took.
        seconds: f64,
    },
    /// A task failed.
    Failed {
        /// Which.
        task: TaskRef,
        /// What kind of failure it is.
        class: Class,
        /// What, and where.
        message: String,
        /// What to do about it.
        #[serde(skip_serializing_if = "Option::is_none")]
        hint: Option<String>,
    },
    /// The store does not have what a task makes, and it was not to run.
    Withheld {
        /// Which.
        task: TaskRef,
    },
    /// A task cannot run because one that it needs, directly or not, failed or was withheld.
    Skipped {
        /// Which.
        task: TaskRef,
        /// That task.
        ancestor: TaskRef,
        /// Why that one has no result.
        message: String,
    },
    /// A running task was asked to stop, and did; it goes on from its checkpoint next time.
    Stopped {
        /// Which.
        task: TaskRef,
    },
    /// The last event. The counts add up to the tasks of the plan.
    RunFinished {
        /// Tasks that ran to their end.
        ran: usize,
        /// Tasks that the store had.
        cached: usize,
        /// Tasks that failed.
        failed: usize,
        /// Tasks that were withheld, or need one that was or failed.
        skipped: usize,
        /// Tasks that were stopped or not started, because the run was asked to stop.
        unfinished: usize,
        /// How long the run took.
        seconds: f64,
    },
}

impl Event {
    /// The store had what a task makes, but damaged.
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
            r#"{"event":"progress","task":{"id":7,"name":"erased@ratio=0.05,defense=argd","stage":"erased","axes":{"ratio":"0.05","defense":"argd"}},"progress":{"epoch":1,"epochs":2,"step":3,"steps":4,"images-per-second":5.5,"terms":{"total":1.5,"attention":0.25}}}"#
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
