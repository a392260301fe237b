//! What the executor hands to a running stage, and what it gets back.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Map, Value};

use super::StageError;
use crate::nn::Backend;
use crate::train::{Observer, Progress, Session};

/// What a stage works with.
pub struct Context<'a> {
    /// The effective seed.
    pub seed: u64,
    /// Verified files of the input artifacts by port, or `port.part`.
    pub inputs: BTreeMap<String, PathBuf>,
    /// A private, empty folder; outputs are written here.
    pub work: &'a Path,
    /// A folder that outlives a failed or killed attempt at the same key: checkpoints.
    pub partial: &'a Path,
    /// What computes networks.
    pub backend: &'a Backend,
    /// Gets the progress.
    pub observer: &'a dyn Observer,
    /// Set when the stage should checkpoint and return [`StageError::Stopped`].
    pub stop: &'a AtomicBool,
}

impl Context<'_> {
    /// The file of a required input.
    pub fn input(&self, port: &str) -> Result<&Path, StageError> {
        let missing = || StageError::Failed(format!("input `{port}` was not connected"));
        self.inputs.get(port).map(PathBuf::as_path).ok_or_else(missing)
    }

    /// The file of an optional input.
    pub fn optional_input(&self, port: &str) -> Option<&Path> {
        self.inputs.get(port).map(PathBuf::as_path)
    }

    /// Where to write the output `name`.
    pub fn output(&self, name: &str) -> PathBuf {
        self.work.join(name)
    }

    /// Writes the output `report` as JSON.
    pub(super) fn write_report(&self, report: Map<String, Value>) -> Result<(), StageError> {
        let path = self.output("report");
        let text = format!("{:#}\n", Value::Object(report));
        fs::write(&path, text).map_err(|source| StageError::Io { path, source })
    }

    /// A training whose checkpoints outlive a killed attempt at this stage.
    pub fn session(&self) -> Session<'_> {
        Session { seed: self.seed, observer: self, checkpoints: self.partial }
    }
}

/// What observes the stage also observes the work that it consists of, and the flag stops that.
impl Observer for Context<'_> {
    fn progress(&self, progress: &Progress) {
        self.observer.progress(progress);
    }

    fn note(&self, line: &str) {
        self.observer.note(line);
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

/// What a stage made, beside the files that it wrote to [`Context::output`].
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Outputs that are an input artifact passed on: (output, input port). All others must be files in `work`.
    pub passed_on: Vec<(&'static str, &'static str)>,
    /// Metrics for the record, the table and the CSV: numbers by name, and short texts.
    pub metrics: Map<String, Value>,
}

impl Outcome {
    /// What a stage made that passes nothing on, with these metrics by name.
    pub(super) fn of<const N: usize>(metrics: [(&str, Value); N]) -> Self {
        let metrics = metrics.into_iter().map(|(name, value)| (name.to_owned(), value));
        Self { passed_on: vec![], metrics: metrics.collect() }
    }
}
