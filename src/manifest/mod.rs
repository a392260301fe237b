//! The manifest: YAML text to a [`Manifest`] in which everything that can be checked without knowing the stage
//! kinds has been checked, and every value knows where it is written.
//!
//! The way of the data: text -> tree of [`Node`]s (`parse`) -> `--set` (`overrides`) -> variables filled in
//! (`interpolate`) -> [`Matrix`], [`StageDef`]s and [`Results`]; later, for each cell, [`Manifest::instantiate`].
//! What a stage's parameters may be is checked against a JSON Schema by [`schema::check`].
//! Nothing here knows stage kinds, the store, or how messages reach the user.

mod budget;
mod cycle;
mod diagnostic;
mod fields;
mod interpolate;
mod matrix;
mod merge;
mod node;
mod overrides;
mod parse;
mod read;
mod scalar;
pub mod schema;
mod source;
mod stage;
pub mod suggest;
mod syntax;
mod template;

pub use budget::{MAX_CELLS, MAX_DEPTH, MAX_EXPANDED_BYTES, MAX_EXPANDED_NODES, MAX_FILE_BYTES};
pub use diagnostic::{Diagnostic, Errors, Related};
pub use matrix::{Axis, AxisValue, Cell, Matrix};
pub use node::{Entry, Node, NodeKind};
pub use overrides::{OVERRIDE_SOURCE, Override, OverrideError};
pub use source::{Place, Source, Span, Spanned};
pub use stage::{Results, StageDef};
pub use template::Template;

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use thiserror::Error;

use fields::Fields;
use interpolate::{Progress, Resolved, Scope, substitute};
use template::{Reference, Root};

/// A manifest that is valid as far as can be said without knowing the stage kinds.
#[derive(Clone, Debug, PartialEq)]
pub struct Manifest {
    /// The file.
    pub source: Arc<Source>,
    /// Its name: lower-case letters, digits, `-` and `_`.
    pub name: String,
    /// What it is about, in the words of its author.
    pub description: Option<String>,
    /// The seed of every stage, 0 if the manifest gives none. An axis `seed` and a stage's own come before it; see
    /// [`Manifest::seed_of`].
    pub seed: u64,
    /// The variables, filled in; what depends on the cell is not.
    pub vars: BTreeMap<String, Node>,
    /// The sweep; without `matrix` it has no axes and one cell.
    pub matrix: Matrix,
    /// The stages, in the order of the file.
    pub stages: Vec<StageDef>,
    /// What becomes of the metrics.
    pub results: Option<Results>,
}

/// Why a manifest could not be read.
#[derive(Debug, Error)]
pub enum LoadError {
    /// The file could not be read. `NotFound` is the caller's to tell apart.
    #[error("cannot read the manifest {}: {error}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        error: std::io::Error,
    },
    /// The file is longer than [`MAX_FILE_BYTES`].
    #[error("{} is longer than 1 MiB, so it is hardly a manifest; give the path of a YAML file", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// The file is not text.
    #[error("{} is not text in UTF-8 (byte {offset}); save it as UTF-8", path.display())]
    NotText {
        /// The file.
        path: PathBuf,
        /// The first byte that is at fault.
        offset: usize,
    },
}

/// A manifest as far as it can be read, with what is wrong in it so far: what knows the stage kinds can look for
/// more, so that all errors are told in one go.
#[derive(Clone, Debug)]
pub struct Draft {
    /// What can be made of the text; where there are errors, what is at fault is left out of it.
    manifest: Option<Manifest>,
    /// At least one if there is no manifest.
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
        let file = std::fs::File::open(path).map_err(io)?;
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

    /// Checks the text of a manifest; `name` is how messages call it. After a syntax error nothing else is looked
    /// for.
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

    /// What can be made of the text.
    pub fn manifest(&self) -> Option<&Manifest> {
        self.manifest.as_ref()
    }

    /// Adds errors, but for those in places that are at fault already: what was refused as text is not worth a second
    /// complaint about its type.
    #[must_use]
    pub fn with(mut self, errors: Vec<Diagnostic>) -> Self {
        let already = |error: &Diagnostic| self.errors.iter().any(|first| first.place == error.place);
        let more: Vec<Diagnostic> = errors.into_iter().filter(|error| !already(error)).collect();
        self.errors.extend(more);
        self
    }

    /// The manifest, if nothing is wrong with it.
    ///
    /// # Errors
    /// With everything that is wrong.
    pub fn finish(self) -> Result<Manifest, Errors> {
        match self.manifest {
            Some(manifest) if self.errors.is_empty() => Ok(manifest),
            _ => Err(Errors::new(self.errors)),
        }
    }
}

impl Manifest {
    /// Checks the text of a manifest; `name` is how messages call it.
    ///
    /// # Errors
    /// With everything that is wrong in it. After a syntax error nothing else is looked for.
    pub fn parse(name: &str, text: impl Into<String>, overrides: &[Override]) -> Result<Self, Errors> {
        Draft::parse(name, text, overrides).finish()
    }

    /// Returns every cell of the matrix; without a matrix one, which is empty.
    pub fn cells(&self) -> Vec<Cell> {
        self.matrix.cells()
    }

    /// Returns the seed of a stage in a cell: its own if it has one, else the cell's value of the axis `seed`, else the
    /// manifest's.
    pub fn seed_of(&self, stage: &StageDef, cell: &Cell) -> u64 {
        let axis_seed = || match self.value_of("seed", cell)?.node.kind {
            NodeKind::Int(seed) => u64::try_from(seed).ok(),
            _ => None,
        };
        let own = stage.seed.as_ref().map(|seed| seed.value);
        own.or_else(axis_seed).unwrap_or(self.seed)
    }

    /// Returns a stage by its name.
    pub fn stage(&self, name: &str) -> Option<&StageDef> {
        self.stages.iter().find(|stage| stage.name == name)
    }

    /// Returns the value that an axis has in a cell.
    pub fn value_of(&self, axis: &str, cell: &Cell) -> Option<&AxisValue> {
        self.matrix.axis(axis)?.values.get(*cell.get(axis)?)
    }

    /// Returns the parameters of a stage in a cell, a mapping with nothing left to fill in. The cell needs to have
    /// the stage's own [`StageDef::axes`] only.
    ///
    /// # Errors
    /// If `with` is a reference to something that is no mapping, or what it refers to cannot be put there.
    pub fn instantiate(&self, stage: &StageDef, cell: &Cell) -> Result<Node, Errors> {
        let path = format!("stages.{}.with", stage.name);
        let mut scope = InCell { manifest: self, cell, progress: Progress::new() };
        let with = substitute(&mut scope, &stage.with, &path);
        let mut fields = Fields { errors: scope.progress.errors };
        if fields.errors.is_empty() {
            fields.map(&path, &with, "let it refer to a value with fields: `{name: argd, method: argd}`");
        }
        Errors::check(fields.errors).map(|()| with)
    }
}

/// What is known in a cell: its value of each axis.
struct InCell<'m> {
    manifest: &'m Manifest,
    cell: &'m Cell,
    progress: Progress,
}

impl Scope for InCell<'_> {
    fn resolve(&mut self, reference: &Reference, path: &str) -> Resolved {
        let (axis, inside) = match (reference.root, reference.steps.split_first()) {
            (Root::Seed, _) => ("seed", &[][..]),
            (_, Some((axis, inside))) => (axis.as_str(), inside),
            (_, None) => ("", &[][..]),
        };
        let Some(value) = self.manifest.value_of(axis, self.cell) else {
            let error =
                Diagnostic::new(path, &reference.place, format!("`{reference}` has no value in this cell"));
            self.progress.errors.push(error);
            return Resolved::Failed;
        };
        match value.part(inside) {
            Some(node) => Resolved::Value(node, inside.is_empty().then(|| value.label.clone())),
            None => {
                self.progress.errors.push(value.no_such_part(reference, inside, path));
                Resolved::Failed
            }
        }
    }

    fn progress(&mut self) -> &mut Progress {
        &mut self.progress
    }
}

#[cfg(test)]
mod tests;
