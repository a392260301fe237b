//! `train`: trains a network from random parameters, on poisoned images if they are connected.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::data::{Augment, Samples};
use crate::methods::{Beside, With};
use crate::models::{Architecture, Spec};
use crate::nn::Network;
use crate::stages::training::{self, Tested};
use crate::stages::{Artifact, Context, Input, Kind, Outcome, Output, ParamError, StageError};
use crate::train::{CrossEntropy, Schedule, Training, fit};

/// The stage kind `train`.
pub struct TrainStage;

/// The network and its training.
pub type TrainParams = With<Untrained, Training>;

/// The network and its training. Except for `shuffle`, the defaults are those of the reference implementation's
/// training of a backdoored model.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Untrained {
    /// The network, such as `wrn-16-1`, `resnet32-cifar` or `preactresnet18`. The table of models has all names.
    pub model: Architecture,
}

impl Beside<Training> for Untrained {
    fn usual() -> Training {
        let schedule = Schedule::steps(&[(0, 0.1), (6, 0.01), (29, 0.0009)]);
        Training { schedule, augment: Augment::NONE, ..Training::default() }
    }

    fn about(field: &str) -> Option<&'static str> {
        Some(match field {
            "epochs" => "Passes over the images. (The reference's loop for 10 runs 9.)",
            "schedule" => "Learning rates by epoch. By default 0.1, 0.01 and 0.0009 from epochs 0, 6 and 29.",
            "augment" => {
                "The augmentation of the images. By default none: then a trigger is learned in only one place and is\n\
                 easier to erase. `{}` is the augmentation of the defenses."
            }
            "shuffle" => {
                "Draw a new order for each epoch. The reference does not. Without it, a data set that is sorted by\n\
                 class, such as a folder of images, does not train."
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
        let (image, classes) = (samples.shape(), samples.dataset().classes.len());
        let spec = Spec { architecture: params.own.model, image, classes, normalise: None };
        let network = Network::new(spec.graph(), context.backend)?;
        let settings = params.shared.settings();
        let tested = Tested::new(context, samples.dataset())?;
        let trained = fit(
            &network,
            network.graph().init(context.seed).into(),
            samples.clone(),
            &mut CrossEntropy,
            &settings,
            tested.session(),
        )?;
        training::finish(spec, trained.weights, &samples, context)
    }
}
