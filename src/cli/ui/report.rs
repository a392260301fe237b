//! Errors, drawn by miette: what, where in the manifest, and what to do.

use std::fmt;

use miette::{Diagnostic, GraphicalReportHandler, GraphicalTheme};

use crate::manifest::Errors;

/// Draws errors.
pub(super) struct Reporter(GraphicalReportHandler);

impl Reporter {
    pub(super) fn new(colored: bool) -> Self {
        let theme = if colored { GraphicalTheme::unicode() } else { GraphicalTheme::unicode_nocolor() };
        // Paths and values must stay whole, to be found and copied; terminals wrap by themselves.
        Self(GraphicalReportHandler::new_themed(theme).with_wrap_lines(false).with_links(false))
    }

    /// Draws all that is wrong with a manifest, and counts it.
    pub(super) fn manifest(&self, errors: &Errors) -> String {
        let drawn = errors.0.iter().map(|error| self.draw(error)).collect::<Vec<_>>().join("\n");
        let count = match errors.0.len() {
            1 => "1 error".to_owned(),
            n => format!("{n} errors"),
        };
        format!("{drawn}\n{count} in the manifest; nothing was run")
    }

    /// Draws a message whose lines that start with `hint: ` say what to do.
    pub(super) fn message(&self, message: &str) -> String {
        self.draw(&Message::parse(message)).trim_end().to_owned()
    }

    fn draw(&self, error: &dyn Diagnostic) -> String {
        let mut text = String::new();
        // Writing to a string fails only if the error's own Display does; its plain form is better than nothing.
        self.0.render_report(&mut text, error).map_or_else(|_| error.to_string(), |()| text)
    }
}

/// A message without a place in a text.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
struct Message {
    what: String,
    hints: Vec<String>,
}

impl Message {
    fn parse(message: &str) -> Self {
        let (hints, what): (Vec<&str>, Vec<&str>) = message.lines().partition(|line| line.starts_with(HINT));
        Self {
            what: what.join("\n"),
            hints: hints.iter().map(|hint| hint[HINT.len()..].to_owned()).collect(),
        }
    }
}

const HINT: &str = "hint: ";

impl Diagnostic for Message {
    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        (!self.hints.is_empty()).then(|| Box::new(self.hints.join("\n")) as Box<dyn fmt::Display>)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_drawn_with_its_hint() {
        let drawn = Reporter::new(false).message("the disk is full\nhint: make room");
        assert_eq!(drawn, "  × the disk is full\n  help: make room");
    }
}
