//! Events as JSON lines: one object per event, with the format version and the time.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use serde::Serialize;

use super::{Sink, now};
use crate::pipeline::run::Event;

/// The format version of events. It is raised if a reader of the old format would misread the new one. New kinds of
/// events and new fields do not raise it.
pub const EVENTS_VERSION: u32 = 1;

/// Writes events to a file as they happen.
#[derive(Debug)]
pub struct JsonLines(File);

#[derive(Serialize)]
struct Line<'a> {
    version: u32,
    /// Seconds since 1970.
    time: f64,
    #[serde(flatten)]
    event: &'a Event,
}

impl JsonLines {
    /// Creates the file, or empties it.
    pub fn create(path: &Path) -> io::Result<Self> {
        File::create(path).map(Self)
    }
}

impl Sink for JsonLines {
    fn observe(&mut self, event: &Event) -> io::Result<()> {
        let mut line = serde_json::to_vec(&Line { version: EVENTS_VERSION, time: now(), event })?;
        line.push(b'\n');
        self.0.write_all(&line)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn an_event_is_written_at_once_as_a_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.jsonl");
        let mut sink = JsonLines::create(&path).unwrap();
        let event = Event::RunStarted { pipeline: "tiny".into(), tasks: 6, jobs: 2, threads: 4 };
        sink.observe(&event).unwrap();
        sink.observe(&event).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 2);
        assert_eq!(
            (&lines[0]["version"], &lines[0]["event"]),
            (&Value::from(1), &Value::from("run-started"))
        );
        assert_eq!((&lines[1]["pipeline"], &lines[1]["tasks"]), (&Value::from("tiny"), &Value::from(6)));
        assert!(lines[0]["time"].as_f64().unwrap() > 1e9);
    }
}
