//! The parameters of the training of a stage.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Schedule, Settings, Sgd};
use crate::data::{Augment, InvalidParam};

/// Training on a small clean set. The defaults are those of ARGD's reference implementation for every method, so that
/// all methods are compared with the same training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Training {
    /// The number of passes over the images.
    #[schemars(range(min = 1, max = 100_000))]
    pub epochs: usize,
    /// The number of images in one step; the last step of an epoch may have fewer.
    #[schemars(range(min = 1, max = 65_536))]
    pub batch: usize,
    /// The learning rates by epoch. If not given, 0.1, 0.01 and 0.001 from epochs 0, 3 and 6. (The reference returns
    /// to 0.01 from epoch 11.)
    pub schedule: Schedule,
    /// The momentum of the optimizer.
    #[schemars(range(min = 0.0), extend("exclusiveMaximum" = 1.0))]
    pub momentum: f64,
    /// Use Nesterov's rule for the momentum.
    pub nesterov: bool,
    /// The weight decay, on every parameter.
    #[schemars(range(min = 0.0))]
    pub weight_decay: f64,
    /// The augmentation of images.
    pub augment: Augment,
    /// Draw a new order for each epoch.
    pub shuffle: bool,
}

impl Default for Training {
    fn default() -> Self {
        Self {
            epochs: 10,
            batch: 64,
            schedule: Schedule::steps(&[(0, 0.1), (3, 0.01), (6, 0.001)]),
            momentum: 0.9,
            nesterov: true,
            weight_decay: 1e-4,
            augment: Augment::default(),
            shuffle: true,
        }
    }
}

impl Training {
    /// Checks what the schema cannot.
    pub fn check(&self) -> Vec<InvalidParam> {
        let mut wrong = vec![];
        if let Err((piece, problem)) = self.schedule.check() {
            wrong.push(InvalidParam::new("schedule", format!("piece {piece} {problem}")));
        }
        if !(0.0..1.0).contains(&self.momentum) {
            wrong.push(InvalidParam::new("momentum", "must be at least 0 and below 1"));
        }
        if self.nesterov && self.momentum == 0.0 {
            wrong.push(
                InvalidParam::new("nesterov", "needs a momentum above 0").with_help("set `nesterov: false`"),
            );
        }
        wrong
    }

    /// The settings of the training loop.
    pub fn settings(&self) -> Settings {
        let &Self { epochs, batch, nesterov, augment, shuffle, .. } = self;
        let sgd = Sgd { nesterov, ..Sgd::plain(self.momentum, self.weight_decay) };
        Settings { epochs, batch, schedule: self.schedule.clone(), sgd, augment, shuffle }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_schema_cannot_say_is_checked() {
        assert_eq!(Training::default().check(), []);
        let wrong = Training { momentum: 0.0, schedule: Schedule::steps(&[(1, 0.1)]), ..Training::default() };
        let fields: Vec<_> = wrong.check().into_iter().map(|wrong| wrong.field).collect();
        assert_eq!(fields, ["schedule", "nesterov"]);
    }
}
