//! `point`: takes a model from one point of a curve between two models. An axis for `t` gives the whole curve.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::data::Augment;
use crate::models::Weights;
use crate::stages::training;
use crate::stages::{Artifact, Context, Input, Kind, Outcome, Output, StageError};
use crate::train::{Curve, batch_norm_statistics};

/// The stage kind `point`.
pub struct PointStage;

/// The point.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PointParams {
    /// The place on the curve: 0 is its first model, 1 its last.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub t: f64,
    /// The augmentation of the images for the running statistics, as in the training of the curve.
    #[serde(default = "crop_and_flip")]
    pub augment: Augment,
}

/// The default of the method `mcr`.
fn crop_and_flip() -> Augment {
    Augment::CROP_AND_FLIP
}

impl Kind for PointStage {
    const KIND: &'static str = "point";
    const VERSION: u32 = 1;
    const ABOUT: &'static str =
        "Takes a model from a curve between two models, such as that of mode connectivity repair.";
    const INPUTS: &'static [Input] = &[
        Input::required("curve", Artifact::Curve, "The curve."),
        Input {
            about: "Clean images for the model's running statistics: a data set, or a split of one.",
            ..training::DATASET
        },
    ];
    const OUTPUTS: &'static [Output] = &[Output { about: "The model at the point.", ..training::MODEL }];
    type Params = PointParams;

    fn run(params: &PointParams, context: &mut Context<'_>) -> Result<Outcome, StageError> {
        let samples = training::view(context)?;
        let (curve, spec) = Curve::load(context.input("curve")?)?;
        let network = training::network(context, &spec, "curve", samples.dataset())?;
        let theta = curve.at(params.t);
        let state = batch_norm_statistics(&network, &theta, &samples, params.augment, context.session())?;
        training::finish(spec, Weights { theta, state }, &samples, context)
    }
}
