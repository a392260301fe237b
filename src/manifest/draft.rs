//! [`Draft`]: loads a manifest, and collects its errors until all checks are done.

use std::collections::HashSet;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use thiserror::Error;

use super::diagnostic::{Diagnostic, Errors};
use super::document::Manifest;
use super::read;
use super::read::fields::Fields;
use super::read::overrides::{self, Override};
use super::text::budget::MAX_FILE_BYTES;
use super::text::parse;
use super::text::source::{Place, Source, Span};
use crate::files::open_regular_or_inherited;

/// Why a manifest file could not be read.
#[derive(Debug, miette::Diagnostic, Error)]
pub enum LoadError {
    /// The file could not be opened or read. The caller distinguishes `NotFound`.
    #[error("cannot read the manifest {}: {error}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        error: std::io::Error,
    },
    /// The file is longer than [`MAX_FILE_BYTES`].
    #[error("{} is longer than 1 MiB, which no manifest is", path.display())]
    #[diagnostic(help("give the path of a YAML file"))]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// The file is not text.
    #[error("{} is not UTF-8 text (byte {offset})", path.display())]
    #[diagnostic(help("save the file as UTF-8"))]
    NotText {
        /// The file.
        path: PathBuf,
        /// The first byte that is not UTF-8.
        offset: usize,
    },
}

/// A manifest as far as it can be read, and its errors so far. Checks that need the stage kinds can add more, so that all
/// errors are reported at once.
#[derive(Clone, Debug)]
pub struct Draft {
    /// The valid parts of the text.
    manifest: Option<Manifest>,
    /// At least one error if there is no manifest.
    errors: Vec<Diagnostic>,
}

impl Draft {
    /// Reads a manifest file.
    ///
    /// # Errors
    /// If the file cannot be read or is not text.
    pub fn load(path: &Path, overrides: &[Override]) -> Result<Self, LoadError> {
        let io = |error| LoadError::Io { path: path.to_owned(), error };
        let mut bytes = vec![];
        let file = open_regular_or_inherited(path).map_err(io)?;
        file.take(MAX_FILE_BYTES as u64 + 1).read_to_end(&mut bytes).map_err(io)?;
        if bytes.len() > MAX_FILE_BYTES {
            return Err(LoadError::TooLarge { path: path.to_owned() });
        }
        let text = String::from_utf8(bytes).map_err(|error| LoadError::NotText {
            path: path.to_owned(),
            offset: error.utf8_error().valid_up_to(),
        })?;
        Ok(Self::parse(&path.display().to_string(), text, overrides))
    }

    /// Checks the text of a manifest; messages call it `name`. A syntax error ends the check.
    pub fn parse(name: &str, text: impl Into<String>, overrides: &[Override]) -> Self {
        let source = Arc::new(Source { name: name.to_owned(), text: text.into() });
        let parse::Parsed { node, errors: syntax } = parse::parse(&source, 0..source.text.len(), "");
        let mut draft = Self { manifest: None, errors: syntax };
        if let Some(mut root) = node {
            draft.errors.extend(overrides::apply(&mut root, overrides));
            let mut fields = Fields::default();
            draft.manifest = read::manifest(&mut fields, &root);
            draft = draft.with(fields.errors);
        }
        if draft.manifest.is_none() && draft.errors.is_empty() {
            draft.errors.push(read::empty(&Place::new(&source, Span::default())));
        }
        draft
    }

    /// The valid parts of the text.
    pub fn manifest(&self) -> Option<&Manifest> {
        self.manifest.as_ref()
    }

    /// Adds errors, except in places that already have one: a value that is not valid YAML needs no second error about
    /// its type.
    #[must_use]
    pub fn with(mut self, errors: Vec<Diagnostic>) -> Self {
        let key = |error: &Diagnostic| (Arc::as_ptr(&error.place.source), error.place.span);
        let already: HashSet<_> = self.errors.iter().map(key).collect();
        self.errors.extend(errors.into_iter().filter(|error| !already.contains(&key(error))));
        self
    }

    /// Returns the manifest if it has no errors.
    ///
    /// # Errors
    /// With all errors.
    pub fn finish(self) -> Result<Manifest, Errors> {
        match self.manifest {
            Some(manifest) if self.errors.is_empty() => Ok(manifest),
            _ => Err(Errors::new(self.errors)),
        }
    }
}

impl Manifest {
    /// Checks the text of a manifest; messages call it `name`.
    ///
    /// # Errors
    /// With all errors. A syntax error ends the check.
    pub fn parse(name: &str, text: impl Into<String>, overrides: &[Override]) -> Result<Self, Errors> {
        Draft::parse(name, text, overrides).finish()
    }
}
