//! Error messages for text that is not valid YAML.

use super::source::{Place, Span};
use crate::manifest::diagnostic::Diagnostic;

/// Explains the parser's error `info` about the text at `at`; `bracket` is the innermost open one.
pub(in crate::manifest) fn explain(
    at: &Place,
    info: &str,
    bracket: Option<&Place>,
    path: &str,
) -> Diagnostic {
    let text = &at.source.text;
    // At the end of the text, underline the last character.
    let offset = at.span.offset.min(text.trim_end().char_indices().last().map_or(0, |(last, _)| last));
    let line = Line::around(text, offset);
    let place = Place::new(&at.source, Span { offset, len: line.character(offset) });
    let complaint = Complaint::of(info, &line, offset);
    let (message, help) = complaint.words(info);
    let error = Diagnostic::new(path, &place, message).with_help(help);
    match bracket {
        Some(bracket) if complaint == Complaint::Bracket => error.with_related(bracket, "opened here"),
        _ => error,
    }
}

/// A kind of mistake.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Complaint {
    Reference,
    Tab,
    Colon,
    Quote,
    FirstCharacter,
    Alias,
    Bracket,
    Key,
    Indentation,
    Other,
}

impl Complaint {
    /// Finds the kind of mistake by the words of the parser; the first match counts.
    fn of(info: &str, line: &Line<'_>, offset: usize) -> Self {
        const BY_WORDS: [(&str, Complaint); 12] = [
            ("tab", Complaint::Tab),
            ("mapping values are not allowed", Complaint::Colon),
            ("quoted scalar", Complaint::Quote),
            ("unexpected character", Complaint::FirstCharacter),
            ("unknown anchor", Complaint::Alias),
            ("flow", Complaint::Bracket),
            ("bracket", Complaint::Bracket),
            ("illegal placement of ':'", Complaint::Bracket),
            ("simple key expect", Complaint::Key),
            ("block", Complaint::Indentation),
            ("indentation", Complaint::Indentation),
            ("document end marker", Complaint::Indentation),
        ];
        if line.opens_reference(offset) {
            return Self::Reference;
        }
        BY_WORDS
            .iter()
            .find(|(words, _)| info.contains(words))
            .map_or(Self::Other, |&(_, complaint)| complaint)
    }

    /// Returns the message and the help.
    fn words(self, info: &str) -> (String, &'static str) {
        let (message, help) = match self {
            Self::Reference => (
                "`${...}` inside `{...}` or `[...]` must be quoted",
                "put quotes around it, as in `{source: \"${vars.source}\"}`",
            ),
            Self::Tab => ("a tab is not allowed here", "indent with spaces"),
            Self::Colon => (
                "a `:` is not expected here",
                "quote a value that contains `: `; before a new key, check the indentation of this line and the one before",
            ),
            Self::Quote => (
                "a quoted value does not end where it should",
                "close the quote; indent the further lines of the value",
            ),
            Self::FirstCharacter => ("a value cannot begin with this character", "quote the value"),
            Self::Alias => (
                "unknown alias",
                "write `&name` before the value that `*name` refers to; quote a value that begins with `*`",
            ),
            Self::Bracket => (
                "the list or mapping in brackets is not closed properly",
                "check the commas and the closing `]` or `}`",
            ),
            Self::Key => ("this key has no value", "write `key: value`, with a space after the colon"),
            Self::Indentation => (
                "the indentation does not match the lines above",
                "start all keys of a mapping in the same column; the same holds for the `-` of a list",
            ),
            Self::Other => {
                return (format!("this is not YAML: {info}"), "quote text with special characters");
            }
        };
        (message.to_owned(), help)
    }
}

/// A line of a text, and where it starts.
struct Line<'a> {
    text: &'a str,
    start: usize,
}

impl<'a> Line<'a> {
    fn around(text: &'a str, offset: usize) -> Self {
        let start = text[..offset].rfind('\n').map_or(0, |newline| newline + 1);
        let end = text[offset..].find('\n').map_or(text.len(), |newline| offset + newline);
        Self { text: &text[start..end], start }
    }

    fn before(&self, offset: usize) -> &'a str {
        &self.text[..offset - self.start]
    }

    /// Returns the length of the character at `offset`.
    fn character(&self, offset: usize) -> usize {
        self.text[offset - self.start..].chars().next().map_or(0, char::len_utf8)
    }

    /// Returns whether `offset` is at the brace of `${`.
    fn opens_reference(&self, offset: usize) -> bool {
        self.before(offset).ends_with('$') && self.text[offset - self.start..].starts_with('{')
    }
}
