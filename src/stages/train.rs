//! `train`: trains a network from its random start, on poisoned images if there are any.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::training::{self, Watcher};
use super::{Artifact, Context, Input, Kind, Outcome, Output, ParamError, StageError};
use crate::data::{Augment, Samples};
use crate::models::{Architecture, Spec};
use crate::nn::Network;
use crate::train::{CrossEntropy, Schedule, Training, fit};

/// The stage kind `train`.
pub struct TrainStage;

/// What to train, and how. Defaults are those of the reference implementation's training of a backdoored model, but
/// for `shuffle`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TrainParams {
    /// The network.
    pub model: Architecture,
    /// Passes over the images. (The reference's loop for 10 runs 9.)
    #[schemars(range(min = 1, max = 100_000))]
    pub epochs: usize,
    /// Images of a step; the last step of an epoch may have fewer.
    #[schemars(range(min = 1, max = 65_536))]
    pub batch: usize,
    /// Learning rates by epoch; 0.1, 0.01 and 0.0009 from epochs 0, 6 and 29 if not given.
    pub schedule: Schedule,
    /// Momentum of the optimiser.
    #[schemars(range(min = 0.0), extend("exclusiveMaximum" = 1.0))]
    pub momentum: f64,
    /// Nesterov's rule for the momentum.
    pub nesterov: bool,
    /// Weight decay, on every parameter.
    #[schemars(range(min = 0.0))]
    pub weight_decay: f64,
    /// How images are varied: not at all if not given. Without it a trigger is learned in one place only, and is
    /// easier to erase. `{}` is the augmentation of the defenses.
    pub augment: Augment,
    /// Draw an order for each epoch. The reference does not; then a data set that is sorted by class, as a folder
    /// of images is, does not train.
    pub shuffle: bool,
}

impl Default for TrainParams {
    fn default() -> Self {
        let Training { epochs, batch, momentum, nesterov, weight_decay, .. } = Training::default();
        Self {
            model: Architecture::default(),
            epochs,
            batch,
            schedule: Schedule::steps(&[(0, 0.1), (6, 0.01), (29, 0.0009)]),
            momentum,
            nesterov,
            weight_decay,
            augment: Augment::NONE,
            shuffle: true,
        }
    }
}

impl TrainParams {
    fn training(&self) -> Training {
        let &Self { epochs, batch, momentum, nesterov, weight_decay, augment, shuffle, .. } = self;
        let schedule = self.schedule.clone();
        Training { epochs, batch, schedule, momentum, nesterov, weight_decay, augment, shuffle }
    }
}

impl Kind for TrainStage {
    const KIND: &'static str = "train";
    const VERSION: u32 = 1;
    const ABOUT: &'static str = "Trains a network; on a poisoned data set, it learns the backdoor.";
    const INPUTS: &'static [Input] = &[
        training::DATASET,
        Input {
            name: "poison",
            takes: Artifact::Overlay,
            also: &[],
            required: false,
            about: "Poisoned images, which replace their originals.",
        },
        training::TRIGGER,
    ];
    const OUTPUTS: &'static [Output] = &[training::MODEL];
    type Params = TrainParams;

    fn check(params: &TrainParams) -> Vec<ParamError> {
        training::param_errors(params.training().check())
    }

    fn run(params: &TrainParams, context: &mut Context<'_>) -> Result<Outcome, StageError> {
        let samples = training::view(context)?;
        let (image, classes) = (samples.shape(), samples.dataset().classes.len());
        let spec = Spec { architecture: params.model, image, classes, normalise: None };
        let network = Network::new(spec.graph());
        let settings = params.training().settings();
        let watcher = Watcher::testing(context, samples.dataset())?;
        let trained = fit(
            &network,
            network.init(context.seed).into(),
            samples.clone(),
            &mut CrossEntropy,
            &settings,
            watcher.session(),
        )?;
        training::finish(spec, trained.weights, &samples, context)
    }
}
