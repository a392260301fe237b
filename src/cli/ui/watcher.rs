//! Watches a run: lines that stay for what happened, and bars or occasional lines for what is happening.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::Ui;
use super::bars::Bars;
use super::format;
use crate::pipeline::{Event, TaskId};
use crate::stages::Progress;

/// Shows the progress of a run.
pub(in crate::cli) struct Watcher<'a> {
    ui: &'a Ui,
    stop: &'a AtomicBool,
    told_of_stop: bool,
    pace: Pace,
    view: View,
}

/// How what is happening is shown.
enum View {
    /// On a terminal.
    Bars(Bars),
    /// Anywhere else: now and then a line.
    Lines(HashMap<TaskId, Instant>),
}

/// Without a terminal, the least time between two lines about the progress of a task.
const LINE_PERIOD: Duration = Duration::from_secs(10);

impl<'a> Watcher<'a> {
    pub(super) fn new(ui: &'a Ui, stop: &'a AtomicBool) -> Self {
        let view = if ui.live { View::Bars(Bars::new(ui.bars.clone())) } else { View::Lines(HashMap::new()) };
        Self { ui, stop, told_of_stop: false, pace: Pace::default(), view }
    }

    /// Shows an event.
    pub(in crate::cli) fn observe(&mut self, event: &Event) {
        let now = Instant::now();
        self.pace.observe(event, now);
        self.ui.tell(event);
        match &mut self.view {
            View::Bars(bars) => bars.observe(event, &self.pace, now),
            View::Lines(told) => {
                if let Some(line) = occasional_line(event, told, &self.pace, now) {
                    self.ui.say(&line);
                }
            }
        }
        if !self.told_of_stop && self.stop.load(Ordering::Relaxed) {
            self.told_of_stop = true;
            self.ui.say("stopping: running stages write checkpoints; once more to end at once");
        }
    }
}

/// What is said about running tasks where there are no bars.
fn occasional_line(
    event: &Event,
    told: &mut HashMap<TaskId, Instant>,
    pace: &Pace,
    now: Instant,
) -> Option<String> {
    match event {
        Event::RunStarted { pipeline, tasks, .. } => {
            Some(format!("{pipeline}: {}", format::count(*tasks, "task")))
        }
        Event::TaskStarted { task, .. } => {
            told.insert(task.id, now);
            Some(format!("  started {task}"))
        }
        Event::Progress { task, progress } => {
            let last = told.get_mut(&task.id).filter(|last| now.duration_since(**last) >= LINE_PERIOD)?;
            *last = now;
            Some(format!("  running {task}: {}", format::progress(progress, pace.seconds_left(task.id, now))))
        }
        _ => None,
    }
}

/// Estimates how long running tasks, and the run, still take.
#[derive(Default)]
pub(super) struct Pace {
    /// Tasks of the plan, and those that have ended in any way.
    tasks: usize,
    pub(super) ended: usize,
    pub(super) cached: usize,
    pub(super) failed: usize,
    /// Tasks that ran to their end in this run, and when the first task started.
    ran: usize,
    first: Option<Instant>,
    running: HashMap<TaskId, Stretch>,
}

/// What a running task has done since it was first heard of: it may have gone on from a checkpoint.
struct Stretch {
    since: Option<(Instant, f64)>,
    fraction: f64,
}

impl Pace {
    fn observe(&mut self, event: &Event, now: Instant) {
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

    /// The share of its work that a running task has done.
    pub(super) fn fraction(&self, id: TaskId) -> f64 {
        self.running.get(&id).map_or(0.0, |stretch| stretch.fraction)
    }

    /// How long a running task still takes, at the speed that it had so far.
    pub(super) fn seconds_left(&self, id: TaskId, now: Instant) -> Option<f64> {
        let Stretch { since, fraction } = self.running.get(&id)?;
        let (start, at_start) = (*since)?;
        let done = fraction - at_start;
        (done > 0.0).then(|| now.duration_since(start).as_secs_f64() * (1.0 - fraction) / done)
    }

    /// How long the run still takes if the tasks to come are like those that ran.
    pub(super) fn seconds_left_in_run(&self, now: Instant) -> Option<f64> {
        let running: f64 = self.running.values().map(|stretch| stretch.fraction).sum();
        let (done, to_do) = (self.ran as f64 + running, (self.tasks - self.ended) as f64 - running);
        let elapsed = now.duration_since(self.first?).as_secs_f64();
        (self.ran > 0).then(|| elapsed * to_do.max(0.0) / done)
    }
}

#[cfg(test)]
mod tests {
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
    fn a_task_that_went_on_from_a_checkpoint_is_judged_by_what_it_did_since() {
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

    #[test]
    fn without_a_terminal_progress_is_told_now_and_then() {
        let (mut pace, start) = pace(&[]);
        let mut told = HashMap::new();
        let mut at = |second, event: Event| {
            let now = start + Duration::from_secs(second);
            pace.observe(&event, now);
            occasional_line(&event, &mut told, &pace, now)
        };
        assert_eq!(at(0, started(0)).as_deref(), Some("  started stage-0"));
        assert_eq!(at(3, progress(0, 1)), None);
        assert_eq!(at(11, progress(0, 3)).as_deref(), Some("  running stage-0: epoch 4/10, 28s left"));
        assert_eq!(at(12, progress(0, 4)), None);
    }
}
