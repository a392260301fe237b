//! `point`: a model at one point of a curve between two models. With an axis for `t`, the whole curve.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::data::Augment;
use crate::stages::training::{self, Loaded};
use crate::stages::{Artifact, Context, Input, Kind, Outcome, Output, StageError};
use crate::train::{Curve, Weights, batch_norm_statistics};

/// The stage kind `point`.
pub struct PointStage;

/// Which point.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PointParams {
    /// Where on the curve: 0 is the model that it starts from, 1 the one that it ends at.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub t: f64,
    /// How images are varied for the running statistics: as in the training of the curve.
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
        "Takes a model from a curve between two models, as mode connectivity repair makes it.";
    const INPUTS: &'static [Input] = &[
        Input::required("curve", Artifact::Curve, "The curve."),
        Input {
            about: "Clean images, of which the model gets its running statistics: a data set, or a split of one.",
            ..training::DATASET
        },
    ];
    const OUTPUTS: &'static [Output] = &[Output { about: "The model at the point.", ..training::MODEL }];
    type Params = PointParams;

    fn run(params: &PointParams, context: &mut Context<'_>) -> Result<Outcome, StageError> {
        let samples = training::view(context)?;
        let (curve, model) = Curve::load(context.input("curve")?)?;
        let point = Loaded::fitting(context, model, "curve", samples.dataset())?;
        let theta = curve.at(params.t);
        let state =
            batch_norm_statistics(&point.network, &theta, &samples, params.augment, context.session())?;
        point.finish(Weights { theta, state }, &samples, context)
    }
}
