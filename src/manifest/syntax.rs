//! Words for what is wrong with text that is not YAML.

use super::diagnostic::Diagnostic;
use super::source::{Place, Span};

/// Explains the parser's complaint `info` about the text at `at`; `bracket` is the innermost one that is open.
pub(super) fn explain(at: &Place, info: &str, bracket: Option<&Place>, path: &str) -> Diagnostic {
    let text = &at.source.text;
    // At the end of the text there is nothing to underline: show the last character.
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

/// What users get wrong.
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
    /// Tells what is wrong by the words of the parser, the first that fit.
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

    /// Returns what is wrong and what to do about it.
    fn words(self, info: &str) -> (String, &'static str) {
        let (message, help) = match self {
            Self::Reference => (
                "`${...}` inside `{...}` or `[...]` must be quoted",
                "put quotes around it, as in `{source: \"${vars.source}\"}`",
            ),
            Self::Tab => ("a tab is not allowed here", "YAML is indented with spaces"),
            Self::Colon => (
                "a `:` is not expected here",
                "quote a value that contains `: `; if this is a new key, check the indentation of this line and the one before",
            ),
            Self::Quote => (
                "a quoted value does not end where it should",
                "close the quote; indent each further line of it",
            ),
            Self::FirstCharacter => ("a value cannot begin with this character", "quote the value"),
            Self::Alias => (
                "this alias refers to no anchor",
                "write `&name` before the value that `*name` stands for; quote a value that begins with `*`",
            ),
            Self::Bracket => (
                "the list or mapping in brackets is not closed properly",
                "check the commas and the closing `]` or `}`",
            ),
            Self::Key => ("a key without a value", "write `key: value`, with a space after the colon"),
            Self::Indentation => (
                "this line does not fit the ones above",
                "keys of one mapping begin in the same column; so do the `-` of one list",
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
