//! Defenses: procedures that remove a backdoor from a network, given some clean images.
//!
//! A defense knows networks and images, but no files, no manifest and no progress bar. A new defense is one file and
//! one line in the registry below.

mod anp;
mod argd;
mod attention;
mod embedding;
mod fine_pruning;
mod finetune;
mod ft_sam;
mod held_out;
mod mcr;
mod nad;
mod neural_cleanse;

use std::sync::Arc;

use serde_json::{Map, Value};

use crate::data::{InvalidParam, TrainView};
use crate::methods::{With, registry};
use crate::models::Weights;
use crate::nn::Network;
use crate::train::{Curve, Frozen, Objective, Session, TrainError, Training, fit};

/// A method's own parameters, and those of its training.
pub type WithTraining<Own> = With<Own, Training>;

/// A defense with its parameters.
pub trait Defense {
    /// Whether it learns from a teacher.
    fn needs_teacher(&self) -> bool {
        false
    }

    /// Whether it finds a curve between student and teacher.
    fn makes_curve(&self) -> bool {
        false
    }

    /// Checks what the schema cannot: relations between parameters.
    fn check(&self) -> Vec<InvalidParam> {
        vec![]
    }

    /// Removes the backdoor from the student.
    ///
    /// # Errors
    ///
    /// A stop, a loss that diverged, or inputs that do not match.
    fn erase(&self, case: Case<'_>) -> Result<Erased, TrainError>;
}

/// The inputs of a defense.
pub struct Case<'a> {
    /// The student's layers.
    pub network: &'a Network,
    /// The student's weights before the defense.
    pub student: Weights,
    /// A network to learn from, if one is connected.
    pub teacher: Option<Frozen>,
    /// Clean training images.
    pub samples: Arc<TrainView>,
    /// The seed, the observer and the checkpoints of the run.
    pub session: Session<'a>,
}

/// The result of a defense.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Erased {
    /// The student's weights after the defense.
    pub weights: Weights,
    /// A curve from the student to the teacher, if the defense finds one.
    pub curve: Option<Curve>,
    /// What the defense measured or decided, by name: counts and rates.
    pub metrics: Map<String, Value>,
}

impl From<Weights> for Erased {
    fn from(weights: Weights) -> Self {
        Self { weights, ..Self::default() }
    }
}

impl Case<'_> {
    /// Returns the teacher.
    ///
    /// # Errors
    ///
    /// No teacher is connected.
    fn take_teacher(&mut self) -> Result<Frozen, TrainError> {
        let missing = "this defense needs a teacher, and none is connected";
        self.teacher.take().ok_or_else(|| TrainError::Mismatch(missing.to_owned()))
    }

    /// Trains the student.
    fn fit(self, objective: &mut dyn Objective, training: &Training) -> Result<Weights, TrainError> {
        let trained =
            fit(self.network, self.student, self.samples, objective, &training.settings(), self.session)?;
        Ok(trained.weights)
    }
}

registry! {
    /// A registered defense with its parameters, chosen by `method`.
    enum AnyDefense by "method" as Defense;

    "finetune" => finetune::Finetune,
    "nad" => nad::Nad,
    "argd" => argd::Argd,
    "mcr" => mcr::Mcr,
    "fine-pruning" => fine_pruning::FinePruning,
    "anp" => anp::Anp,
    "ft-sam" => ft_sam::FtSam,
    "neural-cleanse" => neural_cleanse::Unlearning,
}

#[cfg(test)]
mod tests;
