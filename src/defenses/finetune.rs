//! Fine-tuning: cross entropy on clean images and nothing else, the baseline of every defense.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Case, Defense, Erased, WithTraining};
use crate::data::InvalidParam;
use crate::methods::Beside;
use crate::train::{CrossEntropy, TrainError, Training};

/// Fine-tuning, which is its training alone.
pub type Finetune = WithTraining<Own>;

/// Fine-tuning with cross entropy. A connected teacher is not used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Own {}

impl Beside<Training> for Own {}

impl Defense for Finetune {
    fn check(&self) -> Vec<InvalidParam> {
        self.shared.check()
    }

    fn erase(&self, case: Case<'_>) -> Result<Erased, TrainError> {
        Ok(case.fit(&mut CrossEntropy, &self.shared)?.into())
    }
}
