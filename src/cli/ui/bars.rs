//! Progress on a terminal: one bar for the run, and one line per running task.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::format;
use super::pace::Pace;
use crate::pipeline::{Event, TaskId};
use crate::plain::visible;

/// How often spinners turn.
const TICK: Duration = Duration::from_millis(120);

/// Steps that a task's bar can show.
const STEPS: u64 = 1000;

/// The bars of a run; dropping this clears them.
pub(super) struct Bars {
    screen: MultiProgress,
    run: ProgressBar,
    tasks: HashMap<TaskId, ProgressBar>,
}

impl Bars {
    pub(super) fn new(screen: MultiProgress) -> Self {
        let run = screen.add(ProgressBar::new(0));
        run.set_style(style("{prefix:.bold} {bar:24} {pos}/{len} tasks{wide_msg}"));
        Self { screen, run, tasks: HashMap::new() }
    }

    pub(super) fn observe(&mut self, event: &Event, pace: &mut Pace<'_>, now: Instant) {
        match event {
            Event::RunStarted { pipeline, tasks, .. } => {
                self.run.set_prefix(visible(pipeline).into_owned());
                self.run.set_length(*tasks as u64);
            }
            Event::TaskStarted { task, .. } => {
                let bar = self.screen.insert_before(&self.run, ProgressBar::new(STEPS));
                bar.set_style(style("{spinner} {prefix} {bar:12} {wide_msg}"));
                bar.set_prefix(visible(&task.to_string()).into_owned());
                bar.enable_steady_tick(TICK);
                self.tasks.insert(task.id, bar);
            }
            Event::Progress { task, progress } => {
                if let Some(bar) = self.tasks.get(&task.id) {
                    bar.set_position((pace.fraction(task.id) * STEPS as f64) as u64);
                    let message = format::progress(progress, pace.seconds_left(task.id, now));
                    bar.set_message(visible(&message).into_owned());
                }
            }
            Event::Finished { task, .. } | Event::Failed { task, .. } | Event::Stopped { task } => {
                if let Some(bar) = self.tasks.remove(&task.id) {
                    bar.finish_and_clear();
                }
            }
            _ => {}
        }
        self.run.set_position(pace.ended as u64);
        self.run.set_message(summary(pace, now));
    }
}

impl Drop for Bars {
    fn drop(&mut self) {
        self.tasks.values().chain([&self.run]).for_each(ProgressBar::finish_and_clear);
    }
}

/// A bar for work that is measured in bytes.
pub(super) fn bytes(screen: &MultiProgress, what: &str, total: u64) -> ProgressBar {
    let bar = screen.add(ProgressBar::new(total));
    bar.set_style(style("{prefix} {bar:24} {decimal_bytes}/{decimal_total_bytes}  {decimal_bytes_per_sec}"));
    bar.set_prefix(visible(what).into_owned());
    bar
}

fn summary(pace: &mut Pace<'_>, now: Instant) -> String {
    let mut text = String::new();
    for (count, what) in [(pace.cached, "cached"), (pace.failed, "failed or skipped")] {
        if count > 0 {
            text += &format!(", {count} {what}");
        }
    }
    text + &pace.left(now).map_or_else(String::new, |left| format!(", {left}"))
}

/// The templates are constants of this file. If indicatif refused one, the default style would be used.
fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}
