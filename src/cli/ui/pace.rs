//! Estimates how long a run and its tasks still take.

use std::collections::HashMap;
use std::time::Instant;

use super::format;
use crate::pipeline::{Event, TaskId};
use crate::stages::Progress;

/// Estimates how long running tasks and the run still take.
#[derive(Default)]
pub(super) struct Pace {
    /// Tasks of the plan, and those that have ended in any way.
    tasks: usize,
    pub(super) ended: usize,
    pub(super) cached: usize,
    pub(super) failed: usize,
    /// Tasks that finished in this run, and when the first task started.
    ran: usize,
    first: Option<Instant>,
    running: HashMap<TaskId, Stretch>,
}

/// What a running task has done since its first event: it may have resumed from a checkpoint.
struct Stretch {
    since: Option<(Instant, f64)>,
    fraction: f64,
}

impl Pace {
    pub(super) fn observe(&mut self, event: &Event, now: Instant) {
        match event {
            Event::RunStarted { tasks, .. } => self.tasks = *tasks,
            Event::TaskStarted { task, .. } => {
                self.first.get_or_insert(now);
                self.running.insert(task.id, Stretch { since: None, fraction: 0.0 });
            }
            Event::Progress { task, progress } => self.progress(task.id, progress, now),
            Event::Cached { task, .. } => {
                self.cached += 1;
                self.end(task.id);
            }
            Event::Finished { task, .. } => {
                self.ran += 1;
                self.end(task.id);
            }
            Event::Failed { task, .. } | Event::Withheld { task } | Event::Skipped { task, .. } => {
                self.failed += 1;
                self.end(task.id);
            }
            Event::Stopped { task } => drop(self.running.remove(&task.id)),
            Event::RunFinished { .. }
            | Event::Note { .. }
            | Event::WaitingForLock { .. }
            | Event::Damaged { .. }
            | Event::Nondeterministic { .. } => {}
        }
    }

    fn progress(&mut self, id: TaskId, progress: &Progress, now: Instant) {
        if let Some(stretch) = self.running.get_mut(&id) {
            stretch.fraction = format::fraction(progress);
            stretch.since.get_or_insert((now, stretch.fraction));
        }
    }

    fn end(&mut self, id: TaskId) {
        self.ended += 1;
        self.running.remove(&id);
    }

    /// The fraction of its work that a running task has done.
    pub(super) fn fraction(&self, id: TaskId) -> f64 {
        self.running.get(&id).map_or(0.0, |stretch| stretch.fraction)
    }

    /// How long a running task still takes, at its speed so far.
    pub(super) fn seconds_left(&self, id: TaskId, now: Instant) -> Option<f64> {
        let Stretch { since, fraction } = self.running.get(&id)?;
        let (start, at_start) = (*since)?;
        let done = fraction - at_start;
        (done > 0.0).then(|| now.duration_since(start).as_secs_f64() * (1.0 - fraction) / done)
    }

    /// How long the run still takes, if the remaining tasks are like those that ran.
    pub(super) fn seconds_left_in_run(&self, now: Instant) -> Option<f64> {
        let running: f64 = self.running.values().map(|stretch| stretch.fraction).sum();
        let (done, to_do) = (self.ran as f64 + running, (self.tasks - self.ended) as f64 - running);
        let elapsed = now.duration_since(self.first?).as_secs_f64();
        (self.ran > 0).then(|| elapsed * to_do.max(0.0) / done)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::Map;

    use super::*;
    use crate::pipeline::{Label, TaskRef};

    fn task(id: usize) -> TaskRef {
        Label { id: TaskId(id), stage: format!("stage-{id}"), axes: vec![] }.into()
    }

    fn started(id: usize) -> Event {
        Event::TaskStarted { task: task(id), key: String::new(), threads: 1 }
    }

    fn progress(id: usize, epoch: usize) -> Event {
        Event::Progress { task: task(id), progress: Progress { epoch, epochs: 10, ..Progress::default() } }
    }

    /// A run of four tasks, in which these events happen at these seconds.
    fn pace(events: &[(u64, Event)]) -> (Pace, Instant) {
        let (mut pace, start) = (Pace::default(), Instant::now());
        pace.observe(&Event::RunStarted { pipeline: "p".into(), tasks: 4, jobs: 1, threads: 1 }, start);
        for (second, event) in events {
            pace.observe(event, start + Duration::from_secs(*second));
        }
        (pace, start)
    }

    #[test]
    fn a_resumed_task_is_estimated_by_its_work_since_then() {
        let (pace, start) = pace(&[(0, started(0)), (10, progress(0, 5)), (14, progress(0, 7))]);
        let left = pace.seconds_left(TaskId(0), start + Duration::from_secs(14)).unwrap();
        assert!((left - 6.0).abs() < 1e-9, "{left}");
        assert_eq!(pace.seconds_left(TaskId(1), start), None);
    }

    #[test]
    fn cached_tasks_do_not_make_the_rest_look_fast() {
        let metrics = Map::new;
        let (pace, start) = pace(&[
            (0, Event::Cached { task: task(0), key: String::new(), metrics: metrics(), seconds: 9.0 }),
            (0, started(1)),
            (10, Event::Finished { task: task(1), key: String::new(), metrics: metrics(), seconds: 10.0 }),
        ]);
        assert_eq!((pace.ended, pace.cached), (2, 1));
        assert_eq!(pace.seconds_left_in_run(start + Duration::from_secs(10)), Some(20.0));
    }
}
