//! All that the program shows. Nothing else prints.
//!
//! Data goes to standard output as it is. Everything else goes to standard error, in lines above the progress
//! bars if there are any. Colour carries no meaning that the words do not.

mod bars;
pub(super) mod card;
pub(super) mod format;
pub(super) mod graph;
mod lines;
mod log;
mod report;
mod style;
pub(super) mod table;
mod watcher;

use std::io::{self, ErrorKind, IsTerminal, Write};
use std::sync::atomic::AtomicBool;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget};

use super::error::CliError;
use super::options::Color;
use crate::pipeline::{Event, TaskRef};

use graph::Graph;
use report::Reporter;
use style::Style;
pub(super) use watcher::Watcher;

/// How much is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Verbosity {
    /// What a user needs.
    Normal,
    /// What stages note, and what is cached.
    Notes,
    /// What the program does.
    Log,
}

/// Standard output and standard error.
pub(super) struct Ui {
    style: Style,
    verbosity: Verbosity,
    reporter: Reporter,
    /// Hidden, and so without effect, unless standard error is a terminal.
    bars: MultiProgress,
    live: bool,
}

impl Ui {
    /// Looks at the terminal, and starts the log that `-v` asks for.
    pub(super) fn new(color: Color, verbose: u8) -> Self {
        let live = io::stderr().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        let colored = match color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => live && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
        };
        let target = if live { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let verbosity = match verbose {
            0 => Verbosity::Normal,
            1 => Verbosity::Notes,
            _ => Verbosity::Log,
        };
        let bars = MultiProgress::with_draw_target(target);
        log::start(verbosity, colored, bars.clone());
        Self { style: Style { colored }, verbosity, reporter: Reporter::new(colored), bars, live }
    }

    /// Writes data to standard output. A reader that has gone away is not an error.
    pub(super) fn data(&self, text: &str) -> Result<(), CliError> {
        let mut stdout = io::stdout().lock();
        match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
            other => Ok(other?),
        }
    }

    /// Draws a graph with lines.
    pub(super) fn drawn(&self, graph: &Graph) -> String {
        graph.ascii(self.style)
    }

    /// Writes a line, or several, to standard error.
    pub(super) fn say(&self, text: &str) {
        // Whoever closed standard error does not want to know.
        self.bars.suspend(|| drop(writeln!(io::stderr(), "{text}")));
    }

    /// Tells what happened in a run, if it is worth a line.
    pub(super) fn tell(&self, event: &Event) {
        match event {
            Event::Failed { task, message, .. } => self.failure(task, message),
            other => {
                if let Some(line) = lines::of(other, self.verbosity, self.style) {
                    self.say(&line);
                }
            }
        }
    }

    /// Tells why a task failed.
    pub(super) fn failure(&self, task: &TaskRef, message: &str) {
        self.say(&self.reporter.message(&format!("{task}: {message}")));
    }

    /// Tells what stands in nobody's way, but should be known.
    pub(super) fn warn(&self, message: &str) {
        self.say(&self.reporter.message(message));
    }

    /// Tells why the command failed.
    pub(super) fn report(&self, error: &CliError) {
        let text = match error.in_manifest() {
            Some(errors) => self.reporter.manifest(errors),
            None => self.reporter.message(&error.to_string()),
        };
        self.say(&text);
    }

    /// A bar for work that is measured in bytes; clear it when that is done.
    pub(super) fn bytes(&self, what: &str, total: u64) -> ProgressBar {
        bars::bytes(&self.bars, what, total)
    }

    /// Shows the progress of a run, until the watcher is dropped.
    pub(super) fn watch<'a>(&'a self, stop: &'a AtomicBool) -> Watcher<'a> {
        Watcher::new(self, stop)
    }
}
