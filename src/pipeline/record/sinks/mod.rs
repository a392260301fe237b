//! Sinks: files that record a run's events for other programs.

mod json_lines;
mod tensorboard;
mod tfrecord;

pub use json_lines::{EVENTS_VERSION, JsonLines};
pub use tensorboard::TensorBoard;

use std::io;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::pipeline::run::Event;

/// Receives the events of a run in order.
pub trait Sink {
    /// Writes an event, so that other programs can read it at once.
    fn observe(&mut self, event: &Event) -> io::Result<()>;
}

/// Seconds since 1970.
fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}
