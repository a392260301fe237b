//! `evaluate`: measures a model's accuracy and, with a trigger, how well the backdoor works.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::data::Dataset;
use crate::stages::baseline;
use crate::stages::measure::{self, Measured};
use crate::stages::metrics::{ACC, ASR, VALID, decimals};
use crate::stages::require::Require;
use crate::stages::training::{self, Loaded};
use crate::stages::{Artifact, Context, Input, Kind, Observer, Outcome, Output, StageError};
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
        let classes = dataset.classes.len();
        warnings(params, &metrics, baseline.as_ref(), classes).iter().for_each(|line| context.warn(line));
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

/// What is wrong with metrics that look like results.
fn warnings(
    params: &EvaluateParams,
    metrics: &Map<String, Value>,
    baseline: Option<&Map<String, Value>>,
    classes: usize,
) -> Vec<String> {
    let of = |metrics: &Map<String, Value>, name: &str| metrics.get(name).and_then(Value::as_f64);
    let mut warnings = vec![];
    let unmet = params.require.unmet(metrics);
    warnings.extend((!unmet.is_empty()).then(|| format!("not valid: {}", unmet.join(", "))));

    let chance = guessed(of(metrics, "n_clean").unwrap_or_default(), classes);
    let before = baseline.and_then(|baseline| of(baseline, ACC));
    let at_chance = of(metrics, ACC).filter(|acc| *acc <= chance);
    warnings.extend(at_chance.and_then(|acc| {
        let acc = format!("ACC {} is at chance for {classes} classes", decimals(acc));
        match before {
            // The baseline has the same warning.
            Some(before) if before <= chance => None,
            Some(before) => {
                Some(format!("{acc}, from {} in the baseline: the model is destroyed", decimals(before)))
            }
            None => Some(format!("{acc}: {AT_CHANCE}")),
        }
    }));
    // A model that learned nothing did not learn the trigger either.
    if at_chance.is_none() && baseline.is_none() && !params.require.has(ASR) {
        let asr = of(metrics, ASR).filter(|asr| *asr < WORKS);
        warnings.extend(asr.map(|asr| format!("ASR {}: {DOES_NOT_WORK}", decimals(asr))));
    }
    warnings
}

/// The causes of an accuracy at chance.
const AT_CHANCE: &str =
    "it is not trained, or the normalization, class order or image size is not that of its training";

/// An attack with a smaller success rate, in percent, does not work.
const WORKS: f64 = 50.0;
const DOES_NOT_WORK: &str = "the attack does not work on this model; train longer or raise the attack's `rate`. After \
                             a defense, connect `baseline`";

/// The largest accuracy, in percent, that guessing reaches on this many images: 2 standard deviations above its mean.
fn guessed(images: f64, classes: usize) -> f64 {
    let p = 1.0 / classes.max(1) as f64;
    100.0 * (p + 2.0 * (p * (1.0 - p) / images.max(1.0)).sqrt())
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

#[cfg(test)]
mod tests {
    use super::*;

    fn of(require: Value, metrics: Value, baseline: Option<Value>) -> Vec<String> {
        let params: EvaluateParams = serde_json::from_value(json!({"require": require})).unwrap();
        let baseline = baseline.as_ref().and_then(Value::as_object);
        warnings(&params, metrics.as_object().unwrap(), baseline, 10)
    }

    #[test]
    fn an_accuracy_at_chance_is_warned_about_with_its_causes() {
        let at = |acc: f64, baseline| of(json!({}), json!({"acc": acc, "n_clean": 10_000}), baseline);
        for acc in [0.4, 10.0, 10.5] {
            let warning = at(acc, None).concat();
            assert!(
                warning.contains("is at chance for 10 classes: it is not trained, or the normalization"),
                "{warning}"
            );
        }
        assert_eq!(at(11.0, None), [""; 0]);
        let destroyed =
            "ACC 10.00 is at chance for 10 classes, from 86.80 in the baseline: the model is destroyed";
        assert_eq!(at(10.0, Some(json!({"acc": 86.8}))), [destroyed]);
        assert_eq!(at(10.0, Some(json!({"acc": 10.0}))), [""; 0]);
        assert!(guessed(32.0, 10) > 20.0 && guessed(10_000.0, 2) < 51.1);
    }

    #[test]
    fn an_attack_that_does_not_work_is_warned_about_before_a_defense() {
        let metrics = || json!({"acc": 90.0, "asr": 3.4, "n_clean": 10_000});
        let warnings = of(json!({}), metrics(), None);
        assert!(warnings.concat().starts_with("ASR 3.40: the attack does not work"), "{warnings:?}");
        assert_eq!(of(json!({}), metrics(), Some(json!({"acc": 91.0, "asr": 99.0}))), [""; 0]);
        assert_eq!(of(json!({"asr": ">= 95"}), metrics(), None), ["not valid: asr 3.40 < 95"]);
    }
}
