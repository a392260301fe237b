//! Fine-tuning with cross entropy on clean images: the baseline of every defense.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Case, Defense, Erased, WithTraining};
use crate::data::InvalidParam;
use crate::methods::Beside;
use crate::train::{CrossEntropy, TrainError, Training};

/// Fine-tuning has only the parameters of its training.
pub type Finetune = WithTraining<Own>;

/// Fine-tuning with cross entropy. It does not use a teacher.
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
