//! Parses YAML text to a tree of [`Node`]s with places. saphyr reads the text and gives events.
//!
//! This is about syntax only: the meaning of keys is not known here.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Tag};

use super::budget::{self, Budget, MAX_DEPTH};
use super::merge;
use super::node::{Entry, Node, NodeKind};
use super::scalar::{self, ScalarError};
use super::source::{Place, Source, Span, Spanned};
use super::syntax;
use super::template;
use crate::manifest::diagnostic::Diagnostic;

/// The tree of a text, and its errors. There is no tree if the text is empty or cannot be parsed.
pub(in crate::manifest) struct Parsed {
    pub(in crate::manifest) node: Option<Node>,
    pub(in crate::manifest) errors: Vec<Diagnostic>,
}

/// Parses `range` of a source as one YAML document; `path` is its path in the manifest.
pub(in crate::manifest) fn parse(source: &Arc<Source>, range: Range<usize>, path: &str) -> Parsed {
    let text = &source.text[range.clone()];
    let mut reader = Reader {
        events: Parser::new_from_str(text),
        source,
        positions: Positions::new(text, range.start),
        anchors: HashMap::new(),
        budget: Budget::new(),
        path: if path.is_empty() { vec![] } else { vec![path.to_owned()] },
        brackets: vec![],
        errors: vec![],
    };
    let node = match reader.document() {
        Ok(node) => node,
        Err(fatal) => {
            reader.errors.push(*fatal);
            None
        }
    };
    Parsed { node, errors: reader.errors }
}

/// An error that ends the parse.
type Fatal = Box<Diagnostic>;

struct Reader<'a> {
    events: Parser<'a, saphyr_parser::StrInput<'a>>,
    source: &'a Arc<Source>,
    positions: Positions,
    anchors: HashMap<usize, Node>,
    budget: Budget,
    path: Vec<String>,
    /// The open brackets.
    brackets: Vec<Place>,
    errors: Vec<Diagnostic>,
}

impl<'a> Reader<'a> {
    fn document(&mut self) -> Result<Option<Node>, Fatal> {
        let mut node = None;
        loop {
            let (event, span) = self.next()?;
            match event {
                Event::StreamEnd => return Ok(node),
                Event::DocumentStart(_) if node.is_some() => {
                    self.errors.push(second_document(&self.place(span)));
                    return Ok(node);
                }
                Event::StreamStart | Event::DocumentStart(_) | Event::DocumentEnd | Event::Nothing => {}
                event => node = Some(self.node(event, span)?),
            }
        }
    }

    fn next(&mut self) -> Result<(Event<'a>, Span), Fatal> {
        match self.events.next_event() {
            Some(Ok((event, span))) => Ok((event, self.positions.span(span))),
            Some(Err(error)) => Err(Box::new(self.syntax_error(&error))),
            None => Ok((Event::StreamEnd, self.positions.end())),
        }
    }

    fn syntax_error(&self, error: &ScanError) -> Diagnostic {
        let offset = self.positions.offset(error.marker().index());
        if error.info().contains("recursion limit") {
            return budget::too_deep(&self.path.join("."), &self.place(Span { offset, len: 1 }));
        }
        syntax::explain(
            &self.place(Span { offset, len: 0 }),
            error.info(),
            self.brackets.last(),
            &self.path.join("."),
        )
    }

    fn place(&self, span: Span) -> Place {
        Place::new(self.source, span)
    }

    fn report(&mut self, place: &Place, message: impl Into<String>, help: &str) {
        let path = self.path.join(".");
        self.errors.push(Diagnostic::new(path, place, message).with_help(help));
    }

    fn node(&mut self, event: Event<'a>, span: Span) -> Result<Node, Fatal> {
        match event {
            Event::Alias(anchor) => self.alias(anchor, span),
            Event::Scalar(text, style, anchor, tag) => {
                let node = self.scalar(&text, style, tag.as_deref(), span);
                Ok(self.anchored(anchor, node))
            }
            Event::SequenceStart(anchor, tag) => {
                self.collection_tag(tag.as_deref(), "seq", span);
                let node = self.in_brackets(span, Self::sequence)?;
                Ok(self.anchored(anchor, node))
            }
            Event::MappingStart(anchor, tag) => {
                self.collection_tag(tag.as_deref(), "map", span);
                let node = self.in_brackets(span, Self::mapping)?;
                Ok(self.anchored(anchor, node))
            }
            _ => Ok(Node::new(self.place(span), NodeKind::Null)),
        }
    }

    /// Reads a list or mapping. Its bracket, if it has one, counts as open until then.
    fn in_brackets(
        &mut self,
        start: Span,
        read: impl FnOnce(&mut Self, Span) -> Result<Node, Fatal>,
    ) -> Result<Node, Fatal> {
        let place = self.place(start);
        let is_bracket = place.text().ends_with(['[', '{']);
        self.brackets.extend(is_bracket.then_some(place));
        let node = read(self, start)?;
        self.brackets.truncate(self.brackets.len() - usize::from(is_bracket));
        Ok(node)
    }

    /// Remembers an anchored node. Anchor 0 means no anchor.
    fn anchored(&mut self, anchor: usize, node: Node) -> Node {
        if anchor > 0 {
            self.anchors.insert(anchor, node.clone());
        }
        node
    }

    fn alias(&mut self, anchor: usize, span: Span) -> Result<Node, Fatal> {
        let place = self.place(span);
        let Some(node) = self.anchors.get(&anchor) else {
            let message = format!("`{}` is inside the value that it refers to", place.text());
            self.report(&place, message, "a value cannot contain itself");
            return Ok(Node::new(place, NodeKind::Null));
        };
        if !self.budget.take(node) {
            return Err(Box::new(budget::overspent(&self.path.join("."), &place)));
        }
        if node.depth() + self.path.len() > MAX_DEPTH {
            return Err(Box::new(budget::too_deep(&self.path.join("."), &place)));
        }
        Ok(node.clone().used_at(&place))
    }

    fn scalar(&mut self, text: &str, style: ScalarStyle, tag: Option<&Tag>, span: Span) -> Node {
        let place = self.place(self.positions.trimmed(self.source, span, style));
        let kind = match scalar::read(text, style, tag) {
            Ok(kind) => kind,
            Err(error) => {
                let (message, help) = scalar_message(&error, &place);
                self.report(&place, message, help);
                NodeKind::Null
            }
        };
        let kind = self.with_references(kind, &place);
        Node::new(place, kind)
    }

    fn with_references(&mut self, kind: NodeKind, place: &Place) -> NodeKind {
        let NodeKind::Str(text) = kind else { return kind };
        match template::read(&text, place, &self.path.join(".")) {
            Ok(None) => NodeKind::Str(text),
            Ok(Some(template)) if template.references().next().is_none() => {
                NodeKind::Str(template.to_string())
            }
            Ok(Some(template)) => NodeKind::Template(template),
            Err(error) => {
                self.errors.push(*error);
                NodeKind::Null
            }
        }
    }

    fn collection_tag(&mut self, tag: Option<&Tag>, own: &str, span: Span) {
        if tag.is_some_and(|tag| !tag.is_yaml_core_schema() || tag.suffix != own) {
            self.report(&self.place(span), "a manifest cannot have this tag", TAG_HELP);
        }
    }

    /// Reads one level down. Its errors have `step` in their path.
    fn below<T>(
        &mut self,
        step: String,
        place: &Place,
        read: impl FnOnce(&mut Self) -> Result<T, Fatal>,
    ) -> Result<T, Fatal> {
        self.path.push(step);
        if self.path.len() >= MAX_DEPTH {
            return Err(Box::new(budget::too_deep("", place)));
        }
        let value = read(self);
        self.path.pop();
        value
    }

    fn sequence(&mut self, start: Span) -> Result<Node, Fatal> {
        let mut items: Vec<Node> = vec![];
        loop {
            let (event, span) = self.next()?;
            if event == Event::SequenceEnd {
                let last = items.last().map(|item| &item.place);
                let place = self.collection_place(start, last, span);
                return Ok(Node::new(place, NodeKind::Seq(items)));
            }
            let place = self.place(span);
            items.push(self.below(items.len().to_string(), &place, |reader| reader.node(event, span))?);
        }
    }

    fn mapping(&mut self, start: Span) -> Result<Node, Fatal> {
        let mut keys: HashMap<String, Place> = HashMap::new();
        let mut entries: Vec<Entry> = vec![];
        let mut merged: Vec<Spanned<Node>> = vec![];
        let mut last = None;
        loop {
            let (event, span) = self.next()?;
            if event == Event::MappingEnd {
                let place = self.collection_place(start, last.as_ref(), span);
                self.merge(&mut entries, merged);
                return Ok(Node::new(place, NodeKind::Map(entries)));
            }
            let key = self.key(event, span)?;
            let (event, span) = self.next()?;
            let step = key.value.clone();
            let value = self.below(step, &key.place, |reader| reader.node(event, span))?;
            last = Some(value.used_at.clone().unwrap_or_else(|| value.place.clone()));
            match keys.insert(key.value.clone(), key.place.clone()) {
                Some(first) => self.duplicate(&key, &first),
                None if key.value == merge::KEY => merged.push(Spanned::new(value, key.place)),
                None => entries.push(Entry { key, value }),
            }
        }
    }

    fn merge(&mut self, entries: &mut Vec<Entry>, merged: Vec<Spanned<Node>>) {
        let mut own: HashSet<String> = entries.iter().map(|entry| entry.key.value.clone()).collect();
        for Spanned { value, place } in merged {
            if merge::is_pending(&value) {
                let key = Spanned::new(merge::KEY.to_owned(), place);
                entries.push(Entry { key, value });
            } else if let Err(wrong) = merge::into(entries, &mut own, value) {
                self.errors.push(merge::error(&wrong, &self.path.join(".")));
            }
        }
    }

    /// Reads a key. A number is taken as its text. A list, a mapping or an empty key is an error.
    fn key(&mut self, event: Event<'a>, span: Span) -> Result<Spanned<String>, Fatal> {
        if let Event::Scalar(text, style, ..) = &event {
            let place = self.place(self.positions.trimmed(self.source, span, *style));
            if text.is_empty() {
                self.report(&place, "a key is missing", "write `key: value`");
            }
            return Ok(Spanned::new(text.to_string(), place));
        }
        let place = self.place(span);
        self.report(&place, "a key must be plain text", "quote it if it holds brackets or an asterisk");
        let node = self.below(String::new(), &place, |reader| reader.node(event, span))?;
        Ok(Spanned::new(node.to_text(), place))
    }

    fn duplicate(&mut self, key: &Spanned<String>, first: &Place) {
        let mut path = self.path.clone();
        path.push(key.value.clone());
        let error = Diagnostic::new(path.join("."), &key.place, format!("duplicate key `{}`", key.value))
            .with_label("second one here")
            .with_related(first, "first one here")
            .with_help("remove or rename one of them");
        self.errors.push(error);
    }

    /// The place of a list or mapping: up to its closing bracket, or to the end of its last value.
    fn collection_place(&self, start: Span, last: Option<&Place>, end: Span) -> Place {
        let closing = self.source.text.as_bytes().get(end.offset);
        let closed = end.len > 0 && matches!(closing, Some(b']' | b'}'));
        let end = if closed { end.offset + 1 } else { last.map_or(start.end(), |last| last.span.end()) };
        self.place(Span::between(start.offset, end.max(start.end())))
    }
}

const TAG_HELP: &str = "remove the tag; quote a value to make it a string";

fn scalar_message(error: &ScalarError, place: &Place) -> (String, &'static str) {
    let place = place.first_line();
    let text = place.text();
    match error {
        ScalarError::NotFinite => {
            (format!("`{text}` is not a finite number"), "write a finite number, or quote it if it is text")
        }
        ScalarError::TooLarge => (
            format!("the integer `{text}` does not fit 64 bits"),
            "write a smaller number, or quote it if it is text",
        ),
        ScalarError::UnknownTag => ("a manifest cannot have this tag".to_owned(), TAG_HELP),
        ScalarError::WrongTag => (format!("`{text}`: the value does not match its tag"), TAG_HELP),
    }
}

fn second_document(place: &Place) -> Diagnostic {
    Diagnostic::new("", place, "a second document starts here").with_help(
        "a manifest is one YAML document: remove the `---`, or move the second document to another file",
    )
}

/// saphyr counts characters; sources are addressed in bytes.
struct Positions {
    /// Where the parsed range starts in the source.
    start: usize,
    /// Length of the range in bytes.
    len: usize,
    /// Byte offset of each character; empty if every character is one byte.
    bytes: Vec<usize>,
}

impl Positions {
    fn new(text: &str, start: usize) -> Self {
        let bytes =
            if text.is_ascii() { vec![] } else { text.char_indices().map(|(byte, _)| byte).collect() };
        Self { start, len: text.len(), bytes }
    }

    fn offset(&self, chars: usize) -> usize {
        let byte =
            if self.bytes.is_empty() { chars } else { self.bytes.get(chars).copied().unwrap_or(self.len) };
        self.start + byte.min(self.len)
    }

    fn span(&self, span: saphyr_parser::Span) -> Span {
        Span::between(self.offset(span.start.index()), self.offset(span.end.index()))
    }

    fn end(&self) -> Span {
        Span { offset: self.start + self.len, len: 0 }
    }

    /// Cuts off comments and white space after a scalar, which saphyr includes in its span.
    fn trimmed(&self, source: &Source, span: Span, style: ScalarStyle) -> Span {
        let text = source.text.get(span.offset..span.end()).unwrap_or_default();
        let len = match style {
            ScalarStyle::SingleQuoted => closing_quote(text, '\'').unwrap_or(text.len()),
            ScalarStyle::DoubleQuoted => closing_quote(text, '"').unwrap_or(text.len()),
            _ => text.trim_end().len(),
        };
        Span { offset: span.offset, len }
    }
}

/// Returns the length of a quoted text with both quotes. A doubled single quote is a quote in the text; in double quotes
/// a backslash escapes.
fn closing_quote(text: &str, quote: char) -> Option<usize> {
    let mut inside = false;
    let mut escaped = false;
    let mut characters = text.char_indices().peekable();
    while let Some((at, character)) = characters.next() {
        let quoted_quote =
            inside && quote == '\'' && characters.peek().is_some_and(|&(_, next)| next == quote);
        match character {
            _ if escaped => escaped = false,
            '\\' if inside && quote == '"' => escaped = true,
            c if c == quote && quoted_quote => drop(characters.next()),
            c if c == quote && inside => return Some(at + 1),
            c if c == quote => inside = true,
            _ => {}
        }
    }
    None
}

#[cfg(test)]
#[path = "parse_tests.rs"]
mod tests;
