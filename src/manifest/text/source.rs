//! Sources of text, byte spans in them, and values that know their place.

use std::sync::Arc;

use miette::{MietteError, MietteSpanContents, SourceCode, SourceSpan, SpanContents};

/// The longest line that a message shows, in bytes. miette panics at a column beyond 65,535; a tab is 4 columns.
const LEGIBLE: usize = 5_000;

/// A text that values are read from: a manifest file, or one `--set` argument.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Its name in messages: the path as given, or `--set`.
    pub name: String,
    /// All of it.
    pub text: String,
}

impl Source {
    /// Returns the line and the column of a byte offset, both from 1; the column counts characters.
    /// An offset past the end, or inside a character, is rounded down.
    pub fn line_column(&self, offset: usize) -> (usize, usize) {
        let mut end = offset.min(self.text.len());
        while !self.text.is_char_boundary(end) {
            end -= 1;
        }
        let before = &self.text[..end];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
    }
}

impl SourceCode for Source {
    fn read_span<'a>(
        &'a self,
        span: &SourceSpan,
        lines_before: usize,
        lines_after: usize,
    ) -> Result<Box<dyn SpanContents<'a> + 'a>, MietteError> {
        let mut inner = self.text.read_span(span, lines_before, lines_after)?;
        if inner.data().split(|&byte| byte == b'\n').any(|line| line.len() > LEGIBLE) {
            // Nobody reads it, and a hundred errors would print it a hundred times.
            inner = self.text.read_span(span, 0, 0)?;
        }
        let (data, span, line, column) = (inner.data(), *inner.span(), inner.line(), inner.column());
        let name = self.name.clone();
        Ok(Box::new(MietteSpanContents::new_named(name, data, span, line, column, inner.line_count())))
    }
}

/// A range of bytes in a [`Source`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span {
    /// First byte.
    pub offset: usize,
    /// Number of bytes.
    pub len: usize,
}

impl Span {
    /// Returns the span from `start` to `end`, exclusive; empty if `end` comes first.
    pub fn between(start: usize, end: usize) -> Self {
        Self { offset: start, len: end.saturating_sub(start) }
    }

    /// Returns the first byte after the span.
    pub fn end(self) -> usize {
        self.offset + self.len
    }
}

/// A span and its source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The text.
    pub source: Arc<Source>,
    /// Where in it.
    pub span: Span,
}

impl Place {
    /// Returns the place of `span` in `source`.
    pub fn new(source: &Arc<Source>, span: Span) -> Self {
        Self { source: Arc::clone(source), span }
    }

    /// Returns the text of the span.
    pub fn text(&self) -> &str {
        self.source.text.get(self.span.offset..self.span.end()).unwrap_or_default()
    }

    /// Returns the line and the column of the first byte; see [`Source::line_column`].
    pub fn line_column(&self) -> (usize, usize) {
        self.source.line_column(self.span.offset)
    }

    /// Returns whether the lines of the place are short enough to be shown in a message.
    pub(in crate::manifest) fn is_legible(&self) -> bool {
        let text = self.source.text.as_bytes();
        let (start, end) = (self.span.offset.min(text.len()), self.span.end().min(text.len()));
        let before = text[..start].iter().rev().take_while(|&&byte| byte != b'\n').take(LEGIBLE).count();
        let after = text[end..].iter().take_while(|&&byte| byte != b'\n').take(LEGIBLE).count();
        before + (end - start) + after < LEGIBLE
    }

    /// Returns whether both places are in the same text.
    pub fn shares_source(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.source, &other.source)
    }

    /// Returns the empty place where this one begins.
    pub(in crate::manifest) fn start(&self) -> Self {
        Self::new(&self.source, Span { offset: self.span.offset, len: 0 })
    }

    /// Returns the part on the first line: the only part that a message can underline legibly.
    pub(in crate::manifest) fn first_line(&self) -> Self {
        let text = self.text();
        let len = text.find(['\n', '\r']).unwrap_or(text.len());
        Self::new(&self.source, Span { offset: self.span.offset, len })
    }
}

/// A value, and where it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spanned<T> {
    /// The value.
    pub value: T,
    /// Where it is written.
    pub place: Place,
}

impl<T> Spanned<T> {
    /// Returns `value`, written at `place`.
    pub fn new(value: T, place: Place) -> Self {
        Self { value, place }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_columns_count_from_one_and_in_characters() {
        let source = Source { name: "m".into(), text: "é: 1\nab\n".into() };
        assert_eq!(source.line_column(0), (1, 1));
        assert_eq!(source.line_column(1), (1, 1), "inside a character");
        assert_eq!(source.line_column(2), (1, 2));
        assert_eq!(source.line_column(7), (2, 2));
        assert_eq!(source.line_column(99), (3, 1));
    }

    #[test]
    fn the_first_line_ends_before_its_line_break() {
        let source = Arc::new(Source { name: "m".into(), text: "a:\r\n  b".into() });
        assert_eq!(Place::new(&source, Span::between(0, 7)).first_line().text(), "a:");
        assert_eq!(Place::new(&source, Span::between(6, 90)).text(), "", "past the end");
    }
}
