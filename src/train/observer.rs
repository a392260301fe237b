//! The progress of work, and its observer.

use std::borrow::Cow;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::{Deserialize, Serialize};

use super::TrainError;
use crate::in_order;
use crate::models::Weights;
use crate::nn::Network;

/// The progress of work.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Progress {
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

/// Writes `epoch 3 of 10, step 20 of 47, 512 images/s, loss 0.412`.
impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { epoch, epochs, step, steps, images_per_second, terms, tests } = self;
        if *epochs > 0 {
            write!(f, "epoch {} of {epochs}, ", (epoch + 1).min(*epochs))?;
        }
        write!(f, "step {step} of {steps}")?;
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

    fn stopped(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// An observer that ignores its input and never stops the work.
#[cfg(test)]
pub(crate) static SILENT: Silent<'static> = {
    static NEVER: AtomicBool = AtomicBool::new(false);
    Silent(&NEVER)
};
