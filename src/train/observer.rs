//! The progress of work, and its observer.

use std::borrow::Cow;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::{Deserialize, Serialize};

use super::TrainError;
use crate::in_order;
use crate::models::Weights;
use crate::nn::Network;

/// The progress of work: epochs, and steps within each. Work without epochs has only steps.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Progress {
    /// What `epochs` counts, or what `steps` counts if there are no epochs.
    #[serde(default)]
    pub unit: Unit,
    /// Finished epochs.
    pub epoch: usize,
    /// All epochs; 0 if the work has none.
    pub epochs: usize,
    /// Finished steps of this epoch.
    pub step: usize,
    /// All steps of an epoch.
    pub steps: usize,
    /// The speed over about the last second; 0 if the work does not count images.
    pub images_per_second: f64,
    /// The loss terms by name: means over the epoch so far.
    #[serde(with = "in_order")]
    pub terms: Vec<(Cow<'static, str>, f64)>,
    /// The results of [`Observer::test`] between two epochs, by name, in percent.
    #[serde(with = "in_order", default, skip_serializing_if = "Vec::is_empty")]
    pub tests: Vec<(Cow<'static, str>, f64)>,
}

/// What work counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unit {
    /// Passes over the training images.
    #[default]
    Epoch,
    /// Classes whose trigger is searched.
    Class,
    /// Steps of an optimizer.
    Step,
    /// Batches of images.
    Batch,
    /// Images, one by one.
    Image,
    /// Points of a curve.
    Point,
    /// Thresholds that are tried.
    Threshold,
    /// A unit of another version of this program.
    #[serde(other)]
    Part,
}

impl Unit {
    /// Its name in text.
    pub fn name(self) -> &'static str {
        match self {
            Self::Epoch => "epoch",
            Self::Class => "class",
            Self::Step => "step",
            Self::Batch => "batch",
            Self::Image => "image",
            Self::Point => "point",
            Self::Threshold => "threshold",
            Self::Part => "part",
        }
    }
}

impl Progress {
    /// The progress of work without epochs.
    pub fn of_steps(unit: Unit, step: usize, steps: usize) -> Self {
        Self { unit, step, steps, ..Self::default() }
    }

    /// The number of the current unit, counted from 1, and the number of all; `None` if the work counts nothing.
    pub fn count(&self) -> Option<(usize, usize)> {
        let &Self { epoch, epochs, step, steps, .. } = self;
        match (epochs, steps) {
            (0, 0) => None,
            (0, _) => Some((step, steps)),
            _ => Some(((epoch + 1).min(epochs), epochs)),
        }
    }

    /// The fraction of the work that is done, in [0, 1].
    pub fn fraction(&self) -> f64 {
        let &Self { epoch, epochs, step, steps, .. } = self;
        let of_epoch = if steps == 0 { 0.0 } else { (step as f64 / steps as f64).min(1.0) };
        if epochs == 0 { of_epoch } else { ((epoch as f64 + of_epoch) / epochs as f64).min(1.0) }
    }
}

/// Writes `epoch 3 of 10, step 20 of 47, 512 images/s, loss 0.412`, or `batch 3 of 10`.
impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { unit, epochs, step, steps, images_per_second, terms, tests, .. } = self;
        match self.count() {
            Some((at, of)) => write!(f, "{} {at} of {of}", unit.name())?,
            None => write!(f, "{} {step}", unit.name())?,
        }
        if *epochs > 0 {
            write!(f, ", step {step} of {steps}")?;
        }
        if *images_per_second > 0.0 {
            write!(f, ", {images_per_second:.0} images/s")?;
        }
        terms.iter().chain(tests).try_for_each(|(name, value)| write!(f, ", {name} {value:.3}"))
    }
}

/// Observes work of any kind: receives its progress, may test a network between two epochs, and may stop the work.
pub trait Observer: Sync {
    /// Receives the progress at every step. It must be cheap.
    fn progress(&self, progress: &Progress);
    /// Receives a line for the log and, in verbose mode, for the terminal.
    fn note(&self, line: &str);
    /// Receives a warning: the result is valid, but it may not mean what the user thinks. It is kept with the result.
    fn warn(&self, line: &str) {
        self.note(&format!("warning: {line}"));
    }
    /// Whether to stop at the next batch, with a checkpoint; no by default.
    fn stopped(&self) -> bool {
        false
    }
    /// Tests a network before the first epoch and after each. Returns percentages by name; none by default. The
    /// training does not depend on them.
    ///
    /// # Errors
    ///
    /// [`TrainError::Stopped`] after a request to stop, and images that do not match the network.
    fn test(&self, _network: &Network, _weights: &Weights) -> Result<Vec<(&'static str, f64)>, TrainError> {
        Ok(vec![])
    }
}

/// An observer that ignores its input; only the flag stops the work.
#[derive(Clone, Copy, Debug)]
pub struct Silent<'a>(pub &'a AtomicBool);

impl Observer for Silent<'_> {
    fn progress(&self, _: &Progress) {}

    fn note(&self, _: &str) {}

    fn warn(&self, _: &str) {}

    fn stopped(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Hides the progress of a part of the work whose own progress is reported.
pub struct Quiet<'a>(pub &'a dyn Observer);

impl Observer for Quiet<'_> {
    fn progress(&self, _: &Progress) {}

    fn note(&self, line: &str) {
        self.0.note(line);
    }

    fn warn(&self, line: &str) {
        self.0.warn(line);
    }

    fn stopped(&self) -> bool {
        self.0.stopped()
    }
}

/// An observer that ignores its input and never stops the work.
#[cfg(test)]
pub(crate) static SILENT: Silent<'static> = {
    static NEVER: AtomicBool = AtomicBool::new(false);
    Silent(&NEVER)
};
