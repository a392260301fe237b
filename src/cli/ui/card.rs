//! A card: a title, and lines with names. A name with several lines is written once.

use std::fmt::Write;

use crate::plain::visible;

/// Facts about one thing.
pub(in crate::cli) struct Card {
    text: String,
    /// The name of the last line.
    last: String,
}

impl Card {
    pub(in crate::cli) fn new(title: &str) -> Self {
        Self { text: format!("{}\n", visible(title)), last: String::new() }
    }

    /// Adds a line with a name.
    pub(in crate::cli) fn line(&mut self, name: &str, value: &str) {
        let shown = if self.last == name { "" } else { name };
        let _ = writeln!(self.text, "  {shown:<9} {}", visible(value));
        name.clone_into(&mut self.last);
    }

    pub(in crate::cli) fn text(self) -> String {
        self.text
    }
}
