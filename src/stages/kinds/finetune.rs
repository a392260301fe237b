//! `finetune`: trains a model further on clean images, as a teacher or as the simplest defense.

use crate::stages::training::{self, Loaded, Tested};
use crate::stages::{Artifact, Context, Input, Kind, Outcome, Output, ParamError, StageError};
use crate::train::{CrossEntropy, Training, fit};

/// The stage kind `finetune`.
pub struct FinetuneStage;

impl Kind for FinetuneStage {
    const KIND: &'static str = "finetune";
    const VERSION: u32 = 1;
    const ABOUT: &'static str =
        "Trains a model further on clean images with cross entropy: a teacher for the defenses.";
    const INPUTS: &'static [Input] = &[
        Input::required("model", Artifact::Model, "The model to start from."),
        training::DATASET,
        training::TRIGGER,
    ];
    const OUTPUTS: &'static [Output] = &[training::MODEL];
    type Params = Training;

    fn check(params: &Training) -> Vec<ParamError> {
        training::param_errors(params.check())
    }

    fn run(params: &Training, context: &mut Context<'_>) -> Result<Outcome, StageError> {
        let samples = training::view(context)?;
        let Loaded { spec, network, weights } = Loaded::from(context, "model", samples.dataset())?;
        let tested = Tested::new(context, samples.dataset())?;
        let trained =
            fit(&network, weights, samples.clone(), &mut CrossEntropy, &params.settings(), tested.session())?;
        training::finish(spec, trained.weights, &samples, context)
    }
}
