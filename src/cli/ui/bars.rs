//! Progress on a terminal: one bar for the run, and one line per running task.

use std::collections::HashMap;
use std::io::{self, Write};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
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

/// Writes lines to standard error, above the bars.
pub(super) fn above(bars: &MultiProgress, text: &str) {
    // A closed standard error is not an error.
    bars.suspend(|| drop(writeln!(io::stderr(), "{text}")));
}

/// The bars of a run; dropping this clears them.
pub(super) struct Bars {
    screen: MultiProgress,
    run: ProgressBar,
    tasks: Tasks,
    /// Dropping it ends the thread that turns the spinners.
    _turning: Option<Sender<()>>,
}

/// The bars of running tasks.
#[derive(Clone, Default)]
struct Tasks(Arc<Mutex<HashMap<TaskId, ProgressBar>>>);

impl Tasks {
    fn lock(&self) -> MutexGuard<'_, HashMap<TaskId, ProgressBar>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Turns the spinners on a thread, until the result is dropped. If the system starts no more threads, they stand still:
/// indicatif's own threads would panic.
fn turn(tasks: Tasks) -> Option<Sender<()>> {
    let (sender, receiver) = mpsc::channel();
    let turning = thread::Builder::new().spawn(move || {
        while receiver.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
            tasks.lock().values().for_each(ProgressBar::tick);
        }
    });
    turning.is_ok().then_some(sender)
}

impl Bars {
    pub(super) fn new(screen: MultiProgress) -> Self {
        let run = screen.add(ProgressBar::new(0));
        run.set_style(style("{prefix:.bold} {bar:24} {pos}/{len} tasks{wide_msg}"));
        let tasks = Tasks::default();
        Self { screen, run, _turning: turn(tasks.clone()), tasks }
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
                self.tasks.lock().insert(task.id, bar);
            }
            Event::Progress { task, progress } => {
                if let Some(bar) = self.tasks.lock().get(&task.id) {
                    bar.set_position((pace.fraction(task.id) * STEPS as f64) as u64);
                    let message = format::progress(progress, pace.seconds_left(task.id, now));
                    bar.set_message(visible(&message).into_owned());
                }
            }
            Event::Finished { task, .. } | Event::Failed { task, .. } | Event::Stopped { task } => {
                if let Some(bar) = self.tasks.lock().remove(&task.id) {
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
        self.tasks.lock().drain().for_each(|(_, bar)| bar.finish_and_clear());
        self.run.finish_and_clear();
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
