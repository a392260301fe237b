//! What the executor hands to a running stage, and what it gets back.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Map, Value};

use super::StageError;

/// How far a stage is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Progress {
    /// Epochs done.
    pub epoch: usize,
    /// Epochs to do.
    pub epochs: usize,
    /// Steps done in this epoch.
    pub step: usize,
    /// Steps of an epoch.
    pub steps: usize,
    /// Speed, over the last second or so.
    pub images_per_second: f64,
    /// Loss terms by name, means over the epoch so far.
    pub terms: Vec<(&'static str, f64)>,
}

/// Writes `epoch 3 of 10, step 20 of 47, 512 images/s, loss 0.412`.
impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { epoch, epochs, step, steps, images_per_second, terms } = self;
        if *epochs > 0 {
            write!(f, "epoch {} of {epochs}, ", (epoch + 1).min(*epochs))?;
        }
        write!(f, "step {step} of {steps}")?;
        if *images_per_second > 0.0 {
            write!(f, ", {images_per_second:.0} images/s")?;
        }
        terms.iter().try_for_each(|(name, value)| write!(f, ", {name} {value:.3}"))
    }
}

/// Who is told how far a stage is.
pub trait Observer: Sync {
    /// Called often; must be cheap.
    fn progress(&self, progress: &Progress);
    /// A line for the log and, in verbose mode, the terminal.
    fn note(&self, line: &str);
}

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
    /// Who is told how far it is.
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

    /// Whether the stage should checkpoint and return [`StageError::Stopped`].
    pub fn stopped(&self) -> bool {
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
