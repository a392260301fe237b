//! What the bars and lines of a run say about its pace: how many tasks have ended, and how long the rest takes.

use std::time::{Duration, Instant};

use super::format::duration;
use crate::pipeline::{Estimate, Event, Forecast, TaskId};

/// The least time between two estimates of a run. Those of large plans take longer, and are made less often.
const PERIOD: Duration = Duration::from_secs(1);
/// The tasks of a plan that count as large.
const LARGE: usize = 5000;

/// The pace of a run.
pub(super) struct Pace<'a> {
    forecast: Forecast<'a>,
    tasks: usize,
    /// Tasks that have ended in any way.
    pub(super) ended: usize,
    pub(super) cached: usize,
    pub(super) failed: usize,
    /// Whether a task has started. Before that nobody waits.
    started: bool,
    last: Option<(Instant, Estimate)>,
}

impl<'a> Pace<'a> {
    pub(super) fn new(forecast: Forecast<'a>) -> Self {
        Self { forecast, tasks: 0, ended: 0, cached: 0, failed: 0, started: false, last: None }
    }

    pub(super) fn observe(&mut self, event: &Event, now: Instant) {
        self.forecast.observe(event, now);
        match event {
            Event::RunStarted { tasks, .. } => self.tasks = *tasks,
            Event::TaskStarted { .. } => self.started = true,
            Event::Cached { .. } => {
                self.cached += 1;
                self.ended += 1;
            }
            Event::Finished { .. } => self.ended += 1,
            Event::Failed { .. } | Event::Withheld { .. } | Event::Skipped { .. } => {
                self.failed += 1;
                self.ended += 1;
            }
            _ => {}
        }
    }

    /// The fraction of its work that a running task has done.
    pub(super) fn fraction(&self, id: TaskId) -> f64 {
        self.forecast.fraction(id)
    }

    /// How long a running task still takes.
    pub(super) fn seconds_left(&mut self, id: TaskId, now: Instant) -> Option<f64> {
        self.forecast.seconds_left(id, now)
    }

    /// How long the run still takes: `about 4m 10s left`, or `at least 4m 10s left` if some of its tasks have no estimate.
    /// `None` if nothing is known.
    pub(super) fn left(&mut self, now: Instant) -> Option<String> {
        if !self.started || self.ended == self.tasks {
            return None;
        }
        let period = PERIOD * (1 + self.tasks / LARGE) as u32;
        let is_old = |(then, _): &(Instant, Estimate)| now.duration_since(*then) >= period;
        if self.last.as_ref().is_none_or(is_old) {
            self.last = Some((now, self.forecast.left(now)));
        }
        let (then, estimate) = self.last.as_ref()?;
        let seconds = estimate.seconds - now.duration_since(*then).as_secs_f64();
        let word = if estimate.is_whole() { "about" } else { "at least" };
        estimate.says_something().then(|| format!("{word} {} left", duration(seconds.max(0.0))))
    }
}
