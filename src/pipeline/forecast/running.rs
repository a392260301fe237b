//! A running task: what it has done, and how long the rest takes.

use std::time::{Duration, Instant};

use crate::stages::{Progress, Unit};

/// Before this fraction of its work, or this time, a task's own speed means nothing.
const SLIGHT: (f64, Duration) = (0.01, Duration::from_secs(2));
/// From this fraction of its work on, a task's own speed counts alone.
const CERTAIN: f64 = 0.2;
/// If a task takes longer than expected and does not say how far it is, it is expected to take this fraction of its time
/// again.
const OVERDUE: f64 = 0.2;

/// A running task.
pub(super) struct Running {
    /// Its threads.
    pub threads: usize,
    started: Instant,
    /// The part of its work that it reports about: a stage may have several.
    part: Option<Part>,
}

/// A part of the work.
struct Part {
    unit: Unit,
    /// The first report: it may have resumed from a checkpoint.
    first: (Instant, f64),
    fraction: f64,
}

/// How long a task still takes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Left {
    pub seconds: f64,
    /// Whether only a part of its work is known.
    pub at_least: bool,
}

impl Running {
    pub(super) fn new(threads: usize, now: Instant) -> Self {
        Self { threads: threads.max(1), started: now, part: None }
    }

    pub(super) fn observe(&mut self, progress: &Progress, now: Instant) {
        let (unit, fraction) = (progress.unit, progress.fraction());
        match &mut self.part {
            Some(part) if part.unit == unit && fraction >= part.fraction => part.fraction = fraction,
            _ => self.part = Some(Part { unit, first: (now, fraction), fraction }),
        }
    }

    /// The fraction of the current part that is done.
    pub(super) fn fraction(&self) -> f64 {
        self.part.as_ref().map_or(0.0, |part| part.fraction)
    }

    /// How long it still takes: by `work`, its expected thread-seconds, and by its own speed. That counts more the more it
    /// has done. `None` if neither is known.
    pub(super) fn left(&self, work: Option<f64>, now: Instant) -> Option<Left> {
        let elapsed = now.duration_since(self.started).as_secs_f64();
        let expected = work.map(|work| (work / self.threads as f64 - elapsed).max(OVERDUE * elapsed));
        let own = self.part.as_ref().and_then(|part| Some((part, part.seconds(now)?)));
        let whole = |seconds| Some(Left { seconds, at_least: false });
        match (expected, own) {
            (None, None) => None,
            (Some(expected), None) => whole(expected),
            (None, Some((part, seconds))) => Some(Left { seconds, at_least: !part.is_main() }),
            (Some(expected), Some((part, seconds))) if part.is_main() => {
                let certain = (part.done() / CERTAIN).min(1.0);
                whole(certain * seconds + (1.0 - certain) * expected)
            }
            (Some(expected), Some((_, seconds))) => whole(expected.max(seconds)),
        }
    }
}

impl Part {
    /// Whether it is most of the work of its stage. Others can be followed by further parts.
    fn is_main(&self) -> bool {
        matches!(self.unit, Unit::Epoch | Unit::Class)
    }

    /// The fraction that was done since the first report.
    fn done(&self) -> f64 {
        self.fraction - self.first.1
    }

    /// How long it still takes, at its speed so far.
    fn seconds(&self, now: Instant) -> Option<f64> {
        let elapsed = now.duration_since(self.first.0);
        let (fraction, time) = SLIGHT;
        let means_something = self.done() >= fraction || (self.done() > 0.0 && elapsed >= time);
        means_something.then(|| elapsed.as_secs_f64() * (1.0 - self.fraction) / self.done())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn epoch(epoch: usize) -> Progress {
        Progress { epoch, epochs: 10, ..Progress::default() }
    }

    /// What is left after these reports at these seconds, at the last of them.
    fn left(work: Option<f64>, reports: &[(u64, Progress)]) -> Option<Left> {
        let start = Instant::now();
        let mut running = Running::new(2, start);
        let at = |second| start + Duration::from_secs(second);
        reports.iter().for_each(|(second, progress)| running.observe(progress, at(*second)));
        running.left(work, at(reports.last().map_or(0, |(second, _)| *second)))
    }

    #[test]
    fn a_resumed_task_is_estimated_by_its_work_since_then() {
        let Left { seconds, at_least } = left(None, &[(10, epoch(5)), (14, epoch(7))]).unwrap();
        assert!((seconds - 6.0).abs() < 1e-9 && !at_least, "{seconds}");
        assert_eq!(left(None, &[(10, epoch(5))]), None, "nothing is known yet");
    }

    #[test]
    fn its_own_speed_replaces_the_expectation_little_by_little() {
        let seconds = |epochs, at| left(Some(40.0), &[(0, epoch(0)), (at, epoch(epochs))]).unwrap().seconds;
        assert_eq!(left(Some(40.0), &[]).unwrap().seconds, 20.0);
        assert!((seconds(1, 10) - (0.5 * 90.0 + 0.5 * 10.0)).abs() < 1e-9);
        assert!((seconds(2, 20) - 80.0).abs() < 1e-9);
        assert_eq!(left(Some(40.0), &[(50, epoch(0))]).unwrap().seconds, 10.0, "overdue");
    }

    #[test]
    fn the_end_of_a_part_is_not_the_end_of_the_task() {
        let batches = |at, step| (at, Progress::of_steps(Unit::Batch, step, 10));
        let part = left(None, &[batches(0, 1), batches(4, 5)]).unwrap();
        assert!(part.at_least && (part.seconds - 5.0).abs() < 1e-9, "{part:?}");
        assert_eq!(left(Some(40.0), &[batches(0, 1), batches(9, 10)]).unwrap().seconds, 11.0);
        let next = left(None, &[batches(0, 1), batches(9, 10), batches(10, 1), batches(12, 3)]).unwrap();
        assert!((next.seconds - 7.0).abs() < 1e-9, "{next:?}");
    }
}
