//! `train`: trains a network from its random start, on poisoned images if there are any.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::data::{Augment, Samples};
use crate::methods::{Beside, With};
use crate::models::{Architecture, Model};
use crate::nn::Network;
use crate::stages::training::{self, Loaded, Tested};
use crate::stages::{Artifact, Context, Input, Kind, Outcome, Output, ParamError, StageError};
use crate::train::{CrossEntropy, Schedule, Training, Weights, fit};

/// The stage kind `train`.
pub struct TrainStage;

/// What to train, and how.
pub type TrainParams = With<Untrained, Training>;

/// What to train, and how. Defaults are those of the reference implementation's training of a backdoored model, but
/// for `shuffle`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Untrained {
    /// The network.
    pub model: Architecture,
}

impl Default for Untrained {
    fn default() -> Self {
        Self { model: Architecture::WideResNet { depth: 16, width: 1 } }
    }
}

impl Beside<Training> for Untrained {
    fn usual() -> Training {
        let schedule = Schedule::steps(&[(0, 0.1), (6, 0.01), (29, 0.0009)]);
        Training { schedule, augment: Augment::NONE, ..Training::default() }
    }

    fn about(field: &str) -> Option<&'static str> {
        Some(match field {
            "epochs" => "Passes over the images. (The reference's loop for 10 runs 9.)",
            "schedule" => {
                "Learning rates by epoch; 0.1, 0.01 and 0.0009 from epochs 0, 6 and 29 if not given."
            }
            "augment" => {
                "How images are varied: not at all if not given. Without it a trigger is learned in one place only, and is\n\
                 easier to erase. `{}` is the augmentation of the defenses."
            }
            "shuffle" => {
                "Draw an order for each epoch. The reference does not; then a data set that is sorted by class, as a folder\n\
                 of images is, does not train."
            }
            _ => return None,
        })
    }
}

impl Kind for TrainStage {
    const KIND: &'static str = "train";
    const VERSION: u32 = 1;
    const ABOUT: &'static str = "Trains a network; on a poisoned data set, it learns the backdoor.";
    const INPUTS: &'static [Input] = &[
        training::DATASET,
        Input::optional("poison", Artifact::Overlay, "Poisoned images, which replace their originals."),
        training::TRIGGER,
    ];
    const OUTPUTS: &'static [Output] = &[training::MODEL];
    type Params = TrainParams;

    fn check(params: &TrainParams) -> Vec<ParamError> {
        training::param_errors(params.shared.check())
    }

    fn run(params: &TrainParams, context: &mut Context<'_>) -> Result<Outcome, StageError> {
        let samples = training::view(context)?;
        let (architecture, image) = (params.own.model, training::shape(samples.shape()));
        let classes = samples.dataset().classes.len();
        let network = Network::new(architecture.graph(image, classes), context.backend)?;
        let (theta, state) = network.graph().init(context.seed);
        let settings = params.shared.settings();
        let tested = Tested::new(context, samples.dataset())?;
        let trained = fit(
            &network,
            Weights { theta, state },
            samples.clone(),
            &mut CrossEntropy,
            &settings,
            tested.session(),
        )?;
        let (theta, state, normalise) = (vec![], vec![], None);
        let model = Model { architecture, image, classes, normalise, theta, state };
        Loaded { model, network }.finish(trained.weights, &samples, context)
    }
}
