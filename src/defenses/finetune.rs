//! Fine-tuning: cross entropy on clean images and nothing else, the baseline of every defense.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Defense, Erased, Task, WithTraining};
use crate::data::InvalidParam;
use crate::train::{CrossEntropy, TrainError};

/// Fine-tuning, which is its training alone.
pub type Finetune = WithTraining<Own>;

/// Fine-tuning with cross entropy. A connected teacher is not used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Own {}

impl Defense for Finetune {
    fn needs_teacher(&self) -> bool {
        false
    }

    fn check(&self) -> Vec<InvalidParam> {
        self.training.check()
    }

    fn erase(&self, task: Task<'_>) -> Result<Erased, TrainError> {
        Ok(task.fit(&mut CrossEntropy, &self.training)?.into())
    }
}
