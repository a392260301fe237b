//! Detectors: procedures that decide whether a network has a backdoor, or an image a trigger.
//!
//! A detector knows networks and images, but no files, no manifest and no progress bar. It changes no network;
//! erasers, which remove a backdoor, are in `defenses`. A new detector is one file and one line in the registry below.

mod neural_cleanse;
mod statistics;
mod strip;

use std::sync::Arc;

use serde_json::{Map, Value};

use crate::data::{Images, InvalidParam, TrainView};
use crate::files::tensors::NamedTensor;
use crate::methods::registry;
use crate::train::{Frozen, Session, TrainError};

pub use neural_cleanse::{Diagnosis, Reversal};

/// A detector with its parameters.
pub trait Detector {
    /// Checks what the schema cannot: relations between parameters.
    fn check(&self) -> Vec<InvalidParam> {
        vec![]
    }

    /// Looks for a backdoor.
    ///
    /// # Errors
    ///
    /// A stop, a network whose outputs are not finite, or inputs that do not match.
    fn detect(&self, case: &Case<'_>) -> Result<Finding, TrainError>;
}

/// The inputs of a detector.
pub struct Case<'a> {
    /// The network that may have a backdoor.
    pub suspect: Frozen,
    /// The defender's clean training images.
    pub samples: Arc<TrainView>,
    /// The attacker's images, to measure the detector.
    pub attacked: Option<Attacked>,
    /// The seed, the observer and the checkpoints of the run.
    pub session: Session<'a>,
}

/// Test images with the trigger of a known attack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attacked {
    /// The images, and the labels that they should get.
    pub images: Images,
    /// The target class, if all images have the same one.
    pub target: Option<u32>,
}

/// The result of a detector.
pub struct Finding {
    /// Numbers and short texts for tables, by name; rates in percent.
    pub metrics: Map<String, Value>,
    /// More details, by name.
    pub details: Map<String, Value>,
    /// Tensors that show how the detector decided.
    pub evidence: Vec<NamedTensor<'static>>,
}

registry! {
    /// A registered detector with its parameters, chosen by `method`.
    enum AnyDetector by "method" as Detector;

    "neural-cleanse" => neural_cleanse::NeuralCleanse,
    "strip" => strip::Strip,
}

#[cfg(test)]
mod tests;
