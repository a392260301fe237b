//! Shows which files are hashed, and what the store waits for, when it takes long; and stops it.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar};

use super::{bars, format};
use crate::plain::visible;
use crate::store::{HashWatch, Wait};

/// Shorter work is not shown.
const BAR_AFTER: Duration = Duration::from_secs(1);

/// Without a terminal, the least time between two lines, and before the first one.
const LINE_PERIOD: Duration = Duration::from_secs(10);

/// Shows the progress of hashing.
pub(super) struct Hashing {
    screen: MultiProgress,
    live: bool,
    stop: Option<Arc<AtomicBool>>,
    work: Mutex<Option<Work>>,
}

/// Work in progress. It can have parts.
struct Work {
    /// It and its parts that have not ended.
    open: usize,
    /// The part that began last.
    what: String,
    total: u64,
    done: u64,
    started: Instant,
    last_line: Instant,
    bar: Option<ProgressBar>,
}

impl Hashing {
    /// `live`: bars are shown.
    pub(super) fn new(screen: MultiProgress, live: bool, stop: Option<Arc<AtomicBool>>) -> Self {
        Self { screen, live, stop, work: Mutex::new(None) }
    }

    fn with_work(&self, act: impl FnOnce(&mut Option<Work>)) {
        act(&mut self.work.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl HashWatch for Hashing {
    fn begins(&self, path: &Path, bytes: u64) {
        self.with_work(|work| {
            let now = Instant::now();
            let work = work.get_or_insert_with(|| Work {
                open: 0,
                what: String::new(),
                total: 0,
                done: 0,
                started: now,
                last_line: now,
                bar: None,
            });
            work.open += 1;
            work.what = format!("hashing {}", visible(&path.display().to_string()));
            work.total += bytes;
            if let Some(bar) = &work.bar {
                bar.set_prefix(work.what.clone());
                bar.set_length(work.total);
            }
        });
    }

    fn hashed(&self, bytes: u64) {
        self.with_work(|work| {
            let Some(work) = work else { return };
            work.done += bytes;
            let now = Instant::now();
            if self.live && now.duration_since(work.started) >= BAR_AFTER {
                let bar = || bars::bytes(&self.screen, &work.what, work.total);
                work.bar.get_or_insert_with(bar).set_position(work.done);
            } else if !self.live && now.duration_since(work.last_line) >= LINE_PERIOD {
                work.last_line = now;
                let (done, total) = (format::bytes(work.done), format::bytes(work.total));
                bars::above(&self.screen, &format!("{}: {done} of {total}", work.what));
            }
        });
    }

    fn ends(&self) {
        self.with_work(|open| {
            let Some(work) = open else { return };
            work.open -= 1;
            if work.open == 0 {
                work.bar.iter().for_each(ProgressBar::finish_and_clear);
                *open = None;
            }
        });
    }

    fn waits(&self, wait: &Wait) {
        bars::above(&self.screen, &visible(&wait.to_string()));
    }

    fn stopped(&self) -> bool {
        self.stop.as_ref().is_some_and(|stop| stop.load(Ordering::Relaxed))
    }
}
