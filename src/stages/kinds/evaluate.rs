//! `evaluate`: measures a model's accuracy and, with a trigger, how well the backdoor works.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::data::Dataset;
use crate::stages::baseline;
use crate::stages::measure::{self, Measured};
use crate::stages::metrics::{ACC, ASR, VALID};
use crate::stages::require::Require;
use crate::stages::training::{self, Loaded};
use crate::stages::{Artifact, Context, Input, Kind, Outcome, Output, StageError};
use crate::train::der;

/// The stage kind `evaluate`.
pub struct EvaluateStage;

/// The connected inputs determine the metrics. The parameters set when they are valid.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct EvaluateParams {
    /// Conditions on the metrics, in percent as in the CSV: `{asr: ">= 95"}`. An evaluation that does not meet them is
    /// marked as not valid. It is also not valid if its baseline is not.
    #[serde(skip_serializing_if = "Require::is_empty")]
    pub require: Require,
}

impl Kind for EvaluateStage {
    const KIND: &'static str = "evaluate";
    const VERSION: u32 = 2;
    const ABOUT: &'static str =
        "Measures a model on the test images: ACC and, with a trigger, ASR, RA and DER.";
    const INPUTS: &'static [Input] = &[
        Input::required("model", Artifact::Model, "The model to measure."),
        Input::required("dataset", Artifact::Dataset, "The data set whose test images are used."),
        Input { about: "The trigger of the attack. Without it, only ACC is measured.", ..training::TRIGGER },
        Input { about: "The evaluation of the model before the defense, for DER.", ..baseline::BASELINE },
    ];
    const OUTPUTS: &'static [Output] =
        &[Output { name: "report", makes: Artifact::Report, about: "The metrics as JSON, in percent." }];
    type Params = EvaluateParams;

    fn seeded(_: &EvaluateParams) -> bool {
        false
    }

    fn run(params: &EvaluateParams, context: &mut Context<'_>) -> Result<Outcome, StageError> {
        let dataset = Dataset::load(context.input("dataset")?)?;
        let trigger = measure::trigger(context, &dataset)?;
        let Loaded { network, weights, .. } = Loaded::from(context, "model", &dataset)?;
        let measured = Measured::of(&network, &weights, &dataset, trigger.as_ref(), context)?;
        let baseline = baseline::read(context)?;
        let mut metrics = measured.metrics();
        if let Some(baseline) = &baseline {
            metrics.extend(against(baseline, &metrics)?.map(|der| ("der".to_owned(), json!(der))));
        }
        let valid = valid(&params.require, &metrics, baseline.as_ref())?;
        metrics.extend(valid.map(|valid| (VALID.to_owned(), json!(valid))));
        let mut report = metrics.clone();
        report.extend(measured.by_class(&dataset.classes));
        context.write_report(report)?;
        Ok(Outcome { passed_on: vec![], metrics })
    }
}

/// Whether the metrics are valid by their own requirement and the baseline's. `None` without requirements.
fn valid(
    require: &Require,
    metrics: &Map<String, Value>,
    baseline: Option<&Map<String, Value>>,
) -> Result<Option<bool>, StageError> {
    let own = require.met(metrics).map_err(StageError::Failed)?;
    Ok([own, baseline.and_then(baseline::is_valid)].into_iter().flatten().reduce(|a, b| a && b))
}

/// DER against the baseline. `None` if this model has no ASR.
///
/// # Errors
///
/// A baseline without ASR.
fn against(baseline: &Map<String, Value>, after: &Map<String, Value>) -> Result<Option<f64>, StageError> {
    let of = |metrics: &Map<String, Value>, name: &str| metrics.get(name).and_then(Value::as_f64);
    let (Some(acc), Some(asr)) = (of(after, ACC), of(after, ASR)) else {
        return Ok(None);
    };
    let (Some(acc_before), Some(asr_before)) = (of(baseline, ACC), of(baseline, ASR)) else {
        let problem = "the baseline was evaluated without a trigger, so DER is undefined";
        let advice = "connect the trigger to the baseline's `needs` too, or remove `baseline`";
        return Err(StageError::Failed(format!("{problem}; {advice}")));
    };
    Ok(Some(der((acc_before, acc), (asr_before, asr))))
}
