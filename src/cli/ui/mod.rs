//! Everything that the program prints. Nothing else prints.
//!
//! Data goes to standard output unchanged. Everything else goes to standard error, above the progress bars if there are
//! any. Color only repeats what the words say.
//!
//! Names, values and paths can come from others. Here, where lines, tables and cards are put together, they lose their
//! control characters; what is put together then passes one more filter, which leaves colors and ends of lines.

mod bars;
pub(super) mod card;
pub(super) mod format;
pub(super) mod graph;
mod hashing;
mod lines;
mod log;
mod pace;
mod report;
mod skipped;
mod style;
pub(super) mod table;
mod watcher;

use std::io::{self, ErrorKind, IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget};
use miette::Diagnostic;
use serde_json::Value;

use super::error::CliError;
use super::options::Color;
use crate::pipeline::{Event, Forecast, TaskRef};
use crate::plain;
use crate::store::HashWatch;

use graph::Graph;
use hashing::Hashing;
use report::Reporter;
use skipped::Group;
use style::Style;
pub(super) use watcher::Watcher;

/// How much is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Verbosity {
    /// What every user needs.
    Normal,
    /// Also notes of stages, and cached tasks.
    Notes,
    /// Also the log of the program.
    Log,
}

/// Standard output and standard error.
pub(super) struct Ui {
    style: Style,
    verbosity: Verbosity,
    reporter: Reporter,
    /// Hidden unless standard error is a terminal.
    bars: MultiProgress,
    live: bool,
}

impl Ui {
    /// Checks the terminal, and starts the log for `-v`.
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

    /// Writes text for people to standard output: what the rooms of this folder have put together.
    pub(super) fn print(&self, text: &str) -> Result<(), CliError> {
        self.data(&plain::only_colored(text))
    }

    /// Writes a value to standard output as JSON.
    pub(super) fn json(&self, value: &Value) -> Result<(), CliError> {
        self.data(&(plain::json(&format!("{value:#}")) + "\n"))
    }

    /// Writes data for programs to standard output, unchanged. A closed pipe is not an error.
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

    /// Writes one line to standard error.
    pub(super) fn say(&self, line: &str) {
        self.block(&plain::visible(line));
    }

    /// Writes lines to standard error: what the rooms of this folder have put together.
    fn block(&self, text: &str) {
        bars::above(&self.bars, &plain::only_colored(text));
    }

    /// Prints the line of an event, if it has one at this verbosity.
    pub(super) fn show(&self, event: &Event) {
        match event {
            Event::Failed { task, message, hint, .. } => self.failure(task, message, hint.clone()),
            other => {
                if let Some(line) = lines::of(other, self.verbosity, self.style) {
                    self.block(&line);
                }
            }
        }
    }

    /// Prints the line of the tasks that one failed task skips. With `-v`, each of them has had its own.
    fn skipped(&self, group: &Group) {
        if self.verbosity == Verbosity::Normal {
            lines::of_skipped(group, self.style).iter().for_each(|line| self.block(line));
        }
    }

    /// Reports why a task failed, and what to do.
    pub(super) fn failure(&self, task: &TaskRef, message: &str, hint: Option<String>) {
        self.block(&self.reporter.message(&format!("{task}: {message}"), hint));
    }

    /// Reports an error that does not stop the command.
    pub(super) fn warn(&self, error: &dyn Diagnostic) {
        self.block(&self.reporter.error(error));
    }

    /// Reports why the command failed.
    pub(super) fn report(&self, error: &CliError) {
        let text = match error.in_manifest() {
            Some(errors) => self.reporter.manifest(errors),
            None => self.reporter.error(error),
        };
        self.block(&text);
    }

    /// Shows the progress of hashing, if it takes long, until the watch is dropped. Once `stop` is set, hashing stops.
    pub(super) fn hashing(&self, stop: Option<Arc<AtomicBool>>) -> Arc<dyn HashWatch> {
        Arc::new(Hashing::new(self.bars.clone(), self.live, stop))
    }

    /// A bar for work that is measured in bytes; the caller clears it at the end.
    pub(super) fn bytes(&self, what: &str, total: u64) -> ProgressBar {
        bars::bytes(&self.bars, what, total)
    }

    /// Shows the progress of a run, until the watcher is dropped.
    pub(super) fn watch<'a>(&'a self, stop: &'a AtomicBool, forecast: Forecast<'a>) -> Watcher<'a> {
        Watcher::new(self, stop, forecast)
    }
}
