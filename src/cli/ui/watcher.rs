//! Shows a run: a line for each event, and bars or occasional lines for progress.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::Ui;
use super::bars::Bars;
use super::format;
use super::pace::Pace;
use super::skipped::Skipped;
use crate::pipeline::{Event, Forecast, TaskId};

/// Shows the progress of a run.
pub(in crate::cli) struct Watcher<'a> {
    ui: &'a Ui,
    stop: &'a AtomicBool,
    stop_reported: bool,
    pace: Pace<'a>,
    skipped: Skipped,
    view: View,
}

/// How progress is shown.
enum View {
    /// On a terminal.
    Bars(Bars),
    /// Anywhere else: occasional lines. By running task, when the last one was printed.
    Lines(HashMap<TaskId, Instant>),
}

/// Without a terminal, the least time between two lines about the progress of a task.
const LINE_PERIOD: Duration = Duration::from_secs(10);

impl<'a> Watcher<'a> {
    pub(super) fn new(ui: &'a Ui, stop: &'a AtomicBool, forecast: Forecast<'a>) -> Self {
        let view = if ui.live { View::Bars(Bars::new(ui.bars.clone())) } else { View::Lines(HashMap::new()) };
        let (pace, skipped) = (Pace::new(forecast), Skipped::default());
        Self { ui, stop, stop_reported: false, pace, skipped, view }
    }

    /// Shows an event.
    pub(in crate::cli) fn observe(&mut self, event: &Event) {
        let now = Instant::now();
        self.pace.observe(event, now);
        self.skipped.observe(event).iter().for_each(|group| self.ui.skipped(group));
        self.ui.show(event);
        match &mut self.view {
            View::Bars(bars) => bars.observe(event, &mut self.pace, now),
            View::Lines(printed) => {
                if let Some(line) = occasional_line(event, printed, &mut self.pace, now) {
                    self.ui.say(&line);
                }
            }
        }
        if !self.stop_reported && self.stop.load(Ordering::Relaxed) {
            self.stop_reported = true;
            self.ui
                .say("stopping: running stages write checkpoints; a second signal ends the program at once");
        }
    }
}

/// The line about a running task where there are no bars.
fn occasional_line(
    event: &Event,
    printed: &mut HashMap<TaskId, Instant>,
    pace: &mut Pace<'_>,
    now: Instant,
) -> Option<String> {
    match event {
        Event::RunStarted { pipeline, tasks, .. } => {
            Some(format!("{pipeline}: {}", format::count(*tasks, "task")))
        }
        Event::TaskStarted { task, .. } => {
            printed.insert(task.id, now);
            Some(format!("  started {task}"))
        }
        Event::Progress { task, progress } => {
            let last = printed.get_mut(&task.id).filter(|last| now.duration_since(**last) >= LINE_PERIOD)?;
            *last = now;
            let own = format::progress(progress, pace.seconds_left(task.id, now));
            let run = pace.left(now).map_or_else(String::new, |left| format!(" (the run: {left})"));
            Some(format!("  running {task}: {own}{run}"))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::{Label, TaskRef};
    use crate::stages::Progress;

    fn task(id: usize) -> TaskRef {
        Label { id: TaskId(id), stage: format!("stage-{id}"), axes: vec![] }.into()
    }

    fn progress(epoch: usize) -> Event {
        Event::Progress { task: task(0), progress: Progress { epoch, epochs: 10, ..Progress::default() } }
    }

    #[test]
    fn without_a_terminal_progress_is_printed_now_and_then() {
        let (mut printed, start) = (HashMap::new(), Instant::now());
        let mut pace = Pace::new(Forecast::alone(None));
        let mut at = |second, event: Event| {
            let now = start + Duration::from_secs(second);
            pace.observe(&event, now);
            occasional_line(&event, &mut printed, &mut pace, now)
        };
        let started = Event::TaskStarted { task: task(0), key: String::new(), threads: 1 };
        assert_eq!(at(0, started).as_deref(), Some("  started stage-0"));
        assert_eq!(at(3, progress(1)), None);
        assert_eq!(at(11, progress(3)).as_deref(), Some("  running stage-0: epoch 4/10, 28s left"));
        assert_eq!(at(12, progress(4)), None);
    }
}
