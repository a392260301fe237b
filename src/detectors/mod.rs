//! Detectors: procedures that tell whether a network has a backdoor, or an image a trigger.
//!
//! A detector knows networks and images, but no files, no manifest and no progress bar. It changes nothing: what
//! removes a backdoor is a defense. Adding one is a file and a line in the registry below.

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
    /// A stop, a network whose outputs are not numbers, or parts that do not fit each other.
    fn detect(&self, case: &Case<'_>) -> Result<Finding, TrainError>;
}

/// What a detector works on.
pub struct Case<'a> {
    /// The network that may have a backdoor.
    pub suspect: Frozen,
    /// Clean training images that the defender has.
    pub samples: Arc<TrainView>,
    /// Images of an attacker, to measure the detector by.
    pub attacked: Option<Attacked>,
    /// Where it runs.
    pub session: Session<'a>,
}

/// Test images with the trigger of a known attack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attacked {
    /// The images, and the labels that they are meant to get.
    pub images: Images,
    /// The one class that they are meant to get, if it is one for all.
    pub target: Option<u32>,
}

/// What a detector found.
pub struct Finding {
    /// Numbers and short texts for tables, by name; rates in percent.
    pub metrics: Map<String, Value>,
    /// What else is worth reading, by name.
    pub details: Map<String, Value>,
    /// What the finding rests on.
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
