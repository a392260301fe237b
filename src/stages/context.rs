//! The context that the executor gives to a running stage, and the outcome that the stage returns.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Map, Value};

use super::StageError;
use crate::files::Folder;
use crate::nn::Backend;
use crate::train::{Observer, Progress, Session};

/// The inputs, folders and backend of a running stage.
pub struct Context<'a> {
    /// The effective seed.
    pub seed: u64,
    /// Verified files of the input artifacts, by `port` or `port.part`.
    pub inputs: BTreeMap<String, PathBuf>,
    /// A private, empty folder for the outputs.
    pub work: &'a Path,
    /// The folder for checkpoints. It outlives a failed or killed attempt at the same key.
    pub partial: &'a Folder,
    /// The backend that computes networks.
    pub backend: &'a Backend,
    /// The observer receives progress.
    pub observer: &'a dyn Observer,
    /// If set, the stage writes a checkpoint and returns [`StageError::Stopped`].
    pub stop: &'a AtomicBool,
}

impl Context<'_> {
    /// The file of a required input.
    pub fn input(&self, port: &str) -> Result<&Path, StageError> {
        let missing = || StageError::Failed(format!("the input `{port}` is not connected"));
        self.inputs.get(port).map(PathBuf::as_path).ok_or_else(missing)
    }

    /// The file of an optional input.
    pub fn optional_input(&self, port: &str) -> Option<&Path> {
        self.inputs.get(port).map(PathBuf::as_path)
    }

    /// The file for the output `name`.
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

/// The stage's observer also receives the progress of its parts, and the stop flag stops them.
impl Observer for Context<'_> {
    fn progress(&self, progress: &Progress) {
        self.observer.progress(progress);
    }

    fn note(&self, line: &str) {
        self.observer.note(line);
    }

    fn warn(&self, line: &str) {
        self.observer.warn(line);
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

/// The outcome of a stage, besides the files that it wrote to [`Context::output`].
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Outputs that pass on an input artifact: (output, input port). All others must be files in `work`.
    pub passed_on: Vec<(&'static str, &'static str)>,
    /// Metrics for the record, the table and the CSV: numbers and short texts, by name.
    pub metrics: Map<String, Value>,
}

impl Outcome {
    /// The outcome of a stage that passes nothing on, with these metrics by name.
    pub(super) fn of<const N: usize>(metrics: [(&str, Value); N]) -> Self {
        let metrics = metrics.into_iter().map(|(name, value)| (name.to_owned(), value));
        Self { passed_on: vec![], metrics: metrics.collect() }
    }
}
