//! Colour, for those who have it.

use crate::pipeline::Standing;

/// What a word at the head of a line is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tone {
    /// As it should be.
    Good,
    /// Worth a look.
    Warning,
    /// Of little interest.
    Quiet,
}

/// Whether to use colour.
#[derive(Clone, Copy, Debug)]
pub(super) struct Style {
    pub colored: bool,
}

impl Style {
    /// Words about how a task stands.
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

    /// A line that begins with a word, right-aligned, so that what follows lines up.
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
