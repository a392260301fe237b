//! The syntax of `${...}`: references, and text with references in it.

use std::fmt;

use super::source::{Place, Span};
use crate::manifest::diagnostic::Diagnostic;

/// Text with references in it, or a single reference.
#[derive(Clone, Debug, PartialEq)]
pub struct Template {
    pub(in crate::manifest) pieces: Vec<Piece>,
}

/// A part of a [`Template`].
#[derive(Clone, Debug, PartialEq)]
pub(in crate::manifest) enum Piece {
    /// Plain text; its escapes are resolved.
    Text(String),
    /// A reference to fill in.
    Reference(Reference),
}

/// A `${...}`.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::manifest) struct Reference {
    /// What it refers to.
    pub(in crate::manifest) root: Root,
    /// Names after the root: `["clean_ratio"]`.
    pub(in crate::manifest) steps: Vec<String>,
    /// The place of the whole `${...}`.
    pub(in crate::manifest) place: Place,
}

/// What a reference can refer to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::manifest) enum Root {
    /// `${vars.name}`.
    Vars,
    /// `${matrix.axis}`.
    Matrix,
    /// `${seed}`.
    Seed,
}

impl Template {
    /// Returns the reference if the template is a single one.
    pub(in crate::manifest) fn alone(&self) -> Option<&Reference> {
        match self.pieces.as_slice() {
            [Piece::Reference(reference)] => Some(reference),
            _ => None,
        }
    }

    /// Returns the references, in order.
    pub(in crate::manifest) fn references(&self) -> impl Iterator<Item = &Reference> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Reference(reference) => Some(reference),
            Piece::Text(_) => None,
        })
    }

    /// Returns its length in bytes, approximately.
    pub(in crate::manifest) fn len(&self) -> usize {
        let size = |piece: &Piece| match piece {
            Piece::Text(text) => text.len(),
            Piece::Reference(reference) => reference.place.span.len,
        };
        self.pieces.iter().map(size).sum()
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.pieces.iter().try_for_each(|piece| match piece {
            Piece::Text(text) => f.write_str(text),
            Piece::Reference(reference) => write!(f, "{reference}"),
        })
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let root = match self.root {
            Root::Vars => "vars",
            Root::Matrix => "matrix",
            Root::Seed => "seed",
        };
        write!(f, "${{{root}")?;
        self.steps.iter().try_for_each(|step| write!(f, ".{step}"))?;
        f.write_str("}")
    }
}

/// Reads the `${...}` in a string that is written at `place`; `None` if there is neither `${` nor `$${` in it.
///
/// `$${` is an escaped `${`.
pub(in crate::manifest) fn read(
    text: &str,
    place: &Place,
    path: &str,
) -> Result<Option<Template>, Box<Diagnostic>> {
    if !text.contains("${") {
        return Ok(None);
    }
    let mut written = Written { place, from: 0 };
    let mut pieces = vec![];
    let mut rest = text;
    while let Some(dollar) = rest.find("${") {
        let (before, after) = (&rest[..dollar], &rest[dollar + 2..]);
        if let Some(kept) = before.strip_suffix('$') {
            written.find("$${");
            push_text(&mut pieces, &format!("{kept}${{"));
            rest = after;
            continue;
        }
        let Some(close) = after.find('}') else {
            return Err(Box::new(unclosed(after, place, path)));
        };
        push_text(&mut pieces, before);
        let place = written.find(&rest[dollar..dollar + close + 3]);
        pieces.push(Piece::Reference(read_reference(&after[..close], place, path)?));
        rest = &after[close + 1..];
    }
    push_text(&mut pieces, rest);
    Ok(Some(Template { pieces }))
}

/// Appends text to the last piece if that is text, or as a new piece.
pub(in crate::manifest) fn push_text(pieces: &mut Vec<Piece>, text: &str) {
    match pieces.last_mut() {
        _ if text.is_empty() => {}
        Some(Piece::Text(last)) => last.push_str(text),
        _ => pieces.push(Piece::Text(text.to_owned())),
    }
}

/// Finds pieces of a string in its source, which also has quotes and escapes.
struct Written<'a> {
    place: &'a Place,
    from: usize,
}

impl Written<'_> {
    /// Returns the next place of `piece`, or the whole string if an escape or a line break hides it.
    fn find(&mut self, piece: &str) -> Place {
        let Some(start) = self.place.text().get(self.from..).and_then(|text| text.find(piece)) else {
            return self.place.clone();
        };
        let offset = self.place.span.offset + self.from + start;
        self.from += start + piece.len();
        Place::new(&self.place.source, Span { offset, len: piece.len() })
    }
}

fn read_reference(inside: &str, place: Place, path: &str) -> Result<Reference, Box<Diagnostic>> {
    let steps: Vec<&str> = inside.trim().split('.').collect();
    let names = |steps: &[&str]| steps.iter().map(|&step| step.to_owned()).collect();
    if steps.contains(&"") {
        return Err(Box::new(malformed(&place, path)));
    }
    match steps.as_slice() {
        ["seed"] => Ok(Reference { root: Root::Seed, steps: vec![], place }),
        ["vars", names_in_vars @ ..] if !names_in_vars.is_empty() => {
            Ok(Reference { root: Root::Vars, steps: names(names_in_vars), place })
        }
        ["matrix", axis @ ..] if !axis.is_empty() => {
            Ok(Reference { root: Root::Matrix, steps: names(axis), place })
        }
        _ => Err(Box::new(malformed(&place, path))),
    }
}

const FORMS: &str = "write `${vars.name}`, `${matrix.axis}`, `${matrix.axis.field}` or `${seed}`";

fn malformed(place: &Place, path: &str) -> Diagnostic {
    let text = place.first_line();
    let shown = if text.text().starts_with("${") { text.text() } else { "${...}" };
    Diagnostic::new(path, place, format!("`{shown}` is not a reference"))
        .with_help(format!("{FORMS}; write `$${{` for a literal `${{`"))
}

/// Reports a `${` that is never closed; `after` is the text behind it. The place is the whole value, which then needs no
/// second error.
fn unclosed(after: &str, place: &Place, path: &str) -> Diagnostic {
    let is_inside = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let inside = after.trim_start();
    let inside = &inside[..inside.find(|c| !is_inside(c)).unwrap_or(inside.len())];
    let error = Diagnostic::new(path, place, "`${` has no closing `}`");
    let error = if inside.is_empty() { error } else { error.with_label(format!("write `${{{inside}}}`")) };
    error.with_help(format!("{FORMS}; write `$${{` for a literal `${{`"))
}
