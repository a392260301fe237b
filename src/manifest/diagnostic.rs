//! Errors in a manifest: one [`Diagnostic`] per error, with its place and what to do.

use std::fmt;

use miette::{LabeledSpan, SourceCode};
use thiserror::Error;

use super::suggest;
use super::text::source::Place;

/// Returns the path of `name` below `path`.
pub(super) fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

/// One error in a manifest.
///
/// Its `Display` is the message alone. [`Diagnostic::line`] is the form for logs. Its `miette::Diagnostic` has the path,
/// file:line:column, the source line and the help.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{message}")]
pub struct Diagnostic {
    /// What is wrong.
    pub message: String,
    /// The path of the value: `stages.erased.with.method`. Empty for the manifest itself.
    pub path: String,
    /// The text that the user should change.
    pub place: Place,
    /// A few words below the place; may be empty.
    pub label: String,
    /// What to do about it.
    pub help: Option<String>,
    /// Other places that belong to the error, with a few words each.
    pub related: Vec<Related>,
}

/// Another place that belongs to an error.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{message}")]
pub struct Related {
    /// The place.
    pub place: Place,
    /// A few words about it.
    pub message: String,
}

impl Diagnostic {
    /// Returns an error at the first line of `place`.
    pub fn new(path: impl Into<String>, place: &Place, message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            path: path.into(),
            place: place.first_line(),
            label: String::new(),
            help: None,
            related: vec![],
        }
    }

    /// Adds a few words below the place.
    pub fn with_label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }

    /// Adds what to do; a second call adds a line.
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        let help = help.into();
        self.help = Some(self.help.map_or(help.clone(), |first| format!("{first}\n{help}")));
        self
    }

    /// Adds the nearest of the `valid` names, if one is near `wrong`, and the list of all of them.
    pub fn with_names<'a>(self, what: &str, wrong: &str, valid: impl IntoIterator<Item = &'a str>) -> Self {
        let valid: Vec<&str> = valid.into_iter().collect();
        let mut labeled = self;
        if let Some(nearest) = suggest::nearest(wrong, valid.iter().copied()) {
            labeled = labeled.with_label(format!("did you mean `{nearest}`?"));
        }
        labeled.with_help(suggest::listed(what, &valid))
    }

    /// Adds another place that belongs to the error.
    pub fn with_related(mut self, place: &Place, message: impl Into<String>) -> Self {
        self.related.push(Related { place: place.first_line(), message: message.into() });
        self
    }

    /// Adds the place of use of a value that is written elsewhere: in `vars`, in `matrix` or by `--set`.
    pub fn with_use(self, used_at: Option<&Place>) -> Self {
        match used_at {
            Some(place) => self.with_related(place, "used here"),
            None => self,
        }
    }

    /// Returns the line and the column, both from 1.
    pub fn line_column(&self) -> (usize, usize) {
        self.place.line_column()
    }

    /// Returns the error as one line: `file:line:column: path: message`.
    pub fn line(&self) -> String {
        let (line, column) = self.line_column();
        let path = if self.path.is_empty() { String::new() } else { format!("{}: ", self.path) };
        format!("{}:{line}:{column}: {path}{}", self.place.source.name, self.message)
    }

    fn order(&self) -> (bool, &str, usize, &str, &str) {
        let source = &self.place.source.name;
        (source != "--set", source, self.place.span.offset, &self.path, &self.message)
    }
}

impl miette::Diagnostic for Diagnostic {
    fn code<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        (!self.path.is_empty()).then(|| Box::new(&self.path) as Box<dyn fmt::Display>)
    }

    /// Names the place if its line is not shown.
    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        if self.place.is_legible() {
            return self.help.as_ref().map(|help| Box::new(help) as Box<dyn fmt::Display>);
        }
        let (line, column) = self.line_column();
        let place =
            format!("see {}:{line}:{column}; the line is too long to be shown", self.place.source.name);
        let help = self.help.iter().cloned().chain([place]).collect::<Vec<_>>();
        Some(Box::new(help.join("\n")))
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.place.is_legible().then_some(&*self.place.source)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        if !self.place.is_legible() {
            return None;
        }
        let (own, words) = (self.place.span, Some(self.label.clone()).filter(|label| !label.is_empty()));
        let primary = LabeledSpan::new_primary_with_span(words, (own.offset, own.len));
        let shown = |other: &&Related| other.place.shares_source(&self.place) && other.place.is_legible();
        let others = self.related.iter().filter(shown);
        Some(Box::new(std::iter::once(primary).chain(others.map(Related::labeled))))
    }

    /// Only the places in another text: all labels of a report are in one text.
    fn related<'a>(&'a self) -> Option<Box<dyn Iterator<Item = &'a dyn miette::Diagnostic> + 'a>> {
        let elsewhere = self.related.iter().filter(|other| !other.place.shares_source(&self.place));
        Some(Box::new(elsewhere.map(|other| other as &dyn miette::Diagnostic)))
    }
}

impl Related {
    fn labeled(&self) -> LabeledSpan {
        LabeledSpan::new(Some(self.message.clone()), self.place.span.offset, self.place.span.len)
    }
}

impl miette::Diagnostic for Related {
    fn severity(&self) -> Option<miette::Severity> {
        Some(miette::Severity::Advice)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.place.is_legible().then_some(&*self.place.source)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        if !self.place.is_legible() {
            return None;
        }
        let span = (self.place.span.offset, self.place.span.len);
        Some(Box::new(std::iter::once(LabeledSpan::new_primary_with_span(None, span))))
    }
}

/// The errors of a manifest, in the order of the text.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{}", self.0.iter().map(Diagnostic::line).collect::<Vec<_>>().join("\n"))]
pub struct Errors(
    /// The errors, at least one.
    pub Vec<Diagnostic>,
);

impl Errors {
    /// Sorts errors by their place, and keeps each once: many cells can report the same mistake.
    pub(super) fn new(mut errors: Vec<Diagnostic>) -> Self {
        errors.sort_by(|a, b| a.order().cmp(&b.order()));
        errors.dedup_by(|a, b| a.order() == b.order());
        Self(errors)
    }

    /// Returns `Ok` if there is no error.
    pub fn check(errors: Vec<Diagnostic>) -> Result<(), Self> {
        if errors.is_empty() { Ok(()) } else { Err(Self::new(errors)) }
    }
}

impl From<Diagnostic> for Errors {
    fn from(error: Diagnostic) -> Self {
        Self(vec![error])
    }
}

impl miette::Diagnostic for Errors {
    fn related<'a>(&'a self) -> Option<Box<dyn Iterator<Item = &'a dyn miette::Diagnostic> + 'a>> {
        Some(Box::new(self.0.iter().map(|error| error as &dyn miette::Diagnostic)))
    }
}
