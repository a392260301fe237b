//! Color, for terminals that have it.

use crate::pipeline::Standing;

/// The meaning of the first word of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tone {
    /// Everything is fine.
    Good,
    /// The user should look at it.
    Warning,
    /// Details.
    Quiet,
}

/// Whether to use color.
#[derive(Clone, Copy, Debug)]
pub(super) struct Style {
    pub colored: bool,
}

impl Style {
    /// Words about the state of a task.
    pub fn standing(self, standing: Standing, words: &str) -> String {
        let code = match standing {
            Standing::Cached => "32",
            Standing::Stale => "33",
            Standing::Missing => "2",
            Standing::Running => "34",
            Standing::Failed | Standing::CannotRun => "31",
        };
        if self.colored { format!("\x1b[{code}m{words}\x1b[0m") } else { words.to_owned() }
    }

    /// A line that begins with a word, right-aligned, so that the text after it lines up.
    pub(super) fn headed(self, tone: Tone, word: &str, rest: &str) -> String {
        let word = format!("{word:>9}");
        if !self.colored {
            return format!("{word} {rest}");
        }
        let code = match tone {
            Tone::Good => "1;32",
            Tone::Warning => "1;33",
            Tone::Quiet => "2",
        };
        format!("\x1b[{code}m{word}\x1b[0m {rest}")
    }
}
