//! `detect`: looks for a backdoor in a model, or for triggers in images. It changes neither.

use serde_json::json;

use crate::attacks::Trigger;
use crate::data::Dataset;
use crate::detectors::{AnyDetector, Attacked, Case};
use crate::files::tensors::write_tensors;
use crate::stages::baseline;
use crate::stages::metrics::VALID;
use crate::stages::training::{self, Loaded};
use crate::stages::{Artifact, Context, Input, Kind, Outcome, Output, ParamError, StageError};

/// The stage kind `detect`.
pub struct DetectStage;

impl Kind for DetectStage {
    const KIND: &'static str = "detect";
    const VERSION: u32 = 2;
    const ABOUT: &'static str =
        "Looks for a backdoor in a model, or for triggers in images, given clean images.";
    const INPUTS: &'static [Input] = &[
        Input::required("model", Artifact::Model, "The model that may have a backdoor."),
        Input { about: "Clean images: a data set, or a split of one.", ..training::DATASET },
        Input {
            about: "The trigger of the attack, to measure the detector. Detectors do not use it to detect.",
            ..training::TRIGGER
        },
        Input {
            about: "The evaluation of the model. If it is not valid, the detection is not valid either.",
            ..baseline::BASELINE
        },
    ];
    const OUTPUTS: &'static [Output] = &[
        Output {
            name: "report",
            makes: Artifact::Report,
            about: "The findings as JSON. Rates are in percent.",
        },
        Output {
            name: "evidence",
            makes: Artifact::Evidence,
            about: "Masks and patterns by class (neural-cleanse), or entropies (strip), as tensors.",
        },
    ];
    type Params = AnyDetector;

    fn check(params: &AnyDetector) -> Vec<ParamError> {
        training::param_errors(params.get().check())
    }

    fn run(params: &AnyDetector, context: &mut Context<'_>) -> Result<Outcome, StageError> {
        let samples = training::view(context)?;
        let suspect = Loaded::from(context, "model", samples.dataset())?.freeze()?;
        let attacked = attacked(context, samples.dataset())?;
        let valid = baseline::read(context)?.as_ref().and_then(baseline::is_valid);
        let case = Case { suspect, samples, attacked, session: context.session() };
        let mut finding = params.get().detect(&case)?;
        finding.metrics.extend(valid.map(|valid| (VALID.to_owned(), json!(valid))));
        write_tensors(&context.output("evidence"), &finding.evidence, &())?;
        let mut report = finding.metrics.clone();
        report.extend(finding.details);
        context.write_report(report)?;
        Ok(Outcome { passed_on: vec![], metrics: finding.metrics })
    }
}

/// The test images with the trigger, if one is connected, except images of their target class.
fn attacked(context: &Context<'_>, dataset: &Dataset) -> Result<Option<Attacked>, StageError> {
    let Some(path) = context.optional_input("trigger") else { return Ok(None) };
    let trigger = Trigger::load(path)?;
    let images = trigger.stamp(&dataset.test, &trigger.attackable(&dataset.test))?;
    Ok(Some(Attacked { images, target: trigger.target() }))
}
