//! `evaluate`: a model's accuracy and, with a trigger, how well the backdoor works.

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

/// What an evaluation measures follows from what is connected; what can be set is when its numbers count.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct EvaluateParams {
    /// What the metrics must be, in percent as in the CSV: `{asr: ">= 95"}`. An evaluation that misses it is marked
    /// as not valid, and so is one whose baseline is not valid.
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
        Input { about: "What the attack stamps; without it only ACC is measured.", ..training::TRIGGER },
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
        let mut loaded = Loaded::from(context, "model", &dataset)?;
        let weights = loaded.take_weights();
        let measured = Measured::of(&loaded.network, &weights, &dataset, trigger.as_ref(), context)?;
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

/// Whether the metrics count, against their own requirement and the baseline's; nothing if there is neither.
fn valid(
    require: &Require,
    metrics: &Map<String, Value>,
    baseline: Option<&Map<String, Value>>,
) -> Result<Option<bool>, StageError> {
    let own = require.met(metrics).map_err(StageError::Failed)?;
    Ok([own, baseline.and_then(baseline::is_valid)].into_iter().flatten().reduce(|a, b| a && b))
}

/// DER against the baseline; nothing without an ASR of this model.
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
        let problem = "the baseline was evaluated without a trigger, so there is no DER";
        let advice = "connect the trigger to the baseline's `needs` too, or leave `baseline` out";
        return Err(StageError::Failed(format!("{problem}; {advice}")));
    };
    Ok(Some(der((acc_before, acc), (asr_before, asr))))
}
