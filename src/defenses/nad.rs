//! Neural attention distillation (Li et al. 2021): the student's attention maps are pulled to a fine-tuned teacher's.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::attention::{node_loss, normalise_all};
use super::{Defense, Erased, Frozen, Task, WithTraining};
use crate::data::InvalidParam;
use crate::nn::loss::cross_entropy;
use crate::train::{Objective, Step, Term, TrainError};

/// Cross entropy + sum_l beta_l mean (A_l student - A_l teacher)^2, A_l the normalised attention maps.
pub type Nad = WithTraining<Own>;

/// What NAD has beside its training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Own {
    /// Weights of the attention maps of the three groups, beta 1 to 3.
    #[schemars(inner(range(min = 0.0)))]
    pub betas: [f64; 3],
}

impl Default for Own {
    fn default() -> Self {
        Self { betas: [500.0, 1000.0, 1000.0] }
    }
}

impl Defense for Nad {
    fn needs_teacher(&self) -> bool {
        true
    }

    fn check(&self) -> Vec<InvalidParam> {
        self.training.check()
    }

    fn erase(&self, mut task: Task<'_>) -> Result<Erased, TrainError> {
        let mut objective = Distil { teacher: task.take_teacher()?, betas: self.own.betas };
        Ok(task.fit(&mut objective, &self.training)?.into())
    }
}

struct Distil {
    teacher: Frozen,
    betas: [f64; 3],
}

impl Objective for Distil {
    fn terms(&mut self, step: &Step<'_>) -> candle_core::Result<Vec<Term>> {
        let taps = self.betas.len();
        let student = normalise_all(&step.forward.attention, taps)?;
        let teacher = normalise_all(&self.teacher.forward(step.images)?.attention, taps)?;
        let ce = cross_entropy(&step.forward.logits, step.labels)?;
        Ok(vec![("ce", ce), ("attention", node_loss(&student, &teacher, &self.betas)?)])
    }
}
