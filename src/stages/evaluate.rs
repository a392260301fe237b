//! `evaluate`: a model's accuracy and, with a trigger, how well the backdoor works.

use std::fs;
use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::require::Require;
use super::training::{Loaded, Watcher};
use super::{Artifact, Context, Input, Kind, Outcome, Output, StageError};
use crate::attacks::{LabelRule, Trigger};
use crate::data::{Dataset, Images};
use crate::train::{Elsewhere, Rate, Report, Stamp, TrainError, der, predict};

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
        Input {
            name: "model",
            takes: Artifact::Model,
            also: &[],
            required: true,
            about: "The model to measure.",
        },
        Input {
            name: "dataset",
            takes: Artifact::Dataset,
            also: &[],
            required: true,
            about: "The data set whose test images are used.",
        },
        Input {
            name: "trigger",
            takes: Artifact::Trigger,
            also: &[],
            required: false,
            about: "What the attack stamps; without it only ACC is measured.",
        },
        Input {
            name: "baseline",
            takes: Artifact::Report,
            also: &[],
            required: false,
            about: "The evaluation of the model before the defense, for DER.",
        },
    ];
    const OUTPUTS: &'static [Output] =
        &[Output { name: "report", makes: Artifact::Report, about: "The metrics as JSON, in percent." }];
    type Params = EvaluateParams;

    fn seeded(_: &EvaluateParams) -> bool {
        false
    }

    fn run(params: &EvaluateParams, context: &mut Context<'_>) -> Result<Outcome, StageError> {
        let dataset = Dataset::load(context.input("dataset")?)?;
        let trigger = context.optional_input("trigger").map(Trigger::load).transpose()?;
        let (measured, elsewhere) = measure(context, &dataset, trigger.as_ref())?;
        let baseline = context.optional_input("baseline").map(read_baseline).transpose()?;
        let mut metrics = metrics(&measured, elsewhere);
        if let Some(baseline) = &baseline {
            metrics.extend(against(baseline, &metrics)?.map(|der| ("der".to_owned(), json!(der))));
        }
        let valid = valid(&params.require, &metrics, baseline.as_ref())?;
        metrics.extend(valid.map(|valid| ("valid".to_owned(), json!(valid))));
        let mut report = metrics.clone();
        report.extend(by_class(&measured, &dataset.classes));
        let path = context.output("report");
        let text = format!("{:#}\n", Value::Object(report));
        fs::write(&path, text).map_err(|source| StageError::Io { path, source })?;
        Ok(Outcome { passed_on: vec![], metrics })
    }
}

/// Predicts the test images, clean and triggered, and counts; under a source-specific rule also where the trigger is
/// not meant to work.
fn measure(
    context: &Context<'_>,
    dataset: &Dataset,
    trigger: Option<&Trigger>,
) -> Result<(Report, Option<Elsewhere>), StageError> {
    let mut loaded = Loaded::from(context, "model", dataset)?;
    let weights = loaded.take_weights();
    let watcher = Watcher::new(context);
    let predictions = |images: &Images, stamp: Option<Stamp<'_>>| -> Result<Vec<u32>, TrainError> {
        predict(&loaded.network, &weights, images, stamp, &watcher)
    };
    let (test, labels) = (&dataset.test, dataset.test.labels());
    let clean = predictions(test, None)?;
    let Some(trigger) = trigger else {
        return Ok((Report::clean(labels, &clean), None));
    };
    if trigger.shape() != test.shape() {
        let (trigger, test) = (trigger.shape(), test.shape());
        let problem = format!("`trigger` is for images of {trigger}, `dataset` has images of {test}");
        return Err(StageError::Failed(format!("{problem}; connect the data set that was poisoned")));
    }
    let wanted: Vec<u32> = labels.iter().map(|&label| trigger.target_label(label)).collect();
    let mut stamp = |position: usize, pixels: &mut [u8]| trigger.apply(position, pixels);
    let triggered = predictions(test, Some(&mut stamp))?;
    let elsewhere = match trigger.labels() {
        LabelRule::SourceSpecific { target, .. } => {
            Some(Elsewhere::count(labels, &wanted, &triggered, target))
        }
        LabelRule::All2one { .. } | LabelRule::All2all => None,
    };
    Ok((Report::with_trigger(labels, &clean, &wanted, &triggered), elsewhere))
}

/// Metrics in percent and counts, by name; what has no cases is left out.
fn metrics(report: &Report, elsewhere: Option<Elsewhere>) -> Map<String, Value> {
    let mut metrics = Map::new();
    let mut put = |name: &str, count: &str, rate: Rate| {
        metrics.extend(rate.percent().map(|percent| (name.to_owned(), json!(percent))));
        metrics.insert(count.to_owned(), json!(rate.of));
    };
    put("acc", "n_clean", report.acc);
    if let Some(triggered) = &report.triggered {
        put("acc_excl_target", "n_excl_target", triggered.acc_excl_target);
        put("asr", "n_triggered", triggered.asr);
        put("ra", "n_triggered", triggered.ra);
    }
    if let Some(elsewhere) = elsewhere {
        put("asr_elsewhere", "n_elsewhere", elsewhere.asr);
        put("ra_elsewhere", "n_elsewhere", elsewhere.ra);
    }
    metrics
}

/// Metrics in percent by the name of the true class; classes without cases are left out.
fn by_class(report: &Report, names: &[String]) -> Map<String, Value> {
    let of = |rates: &[Rate]| -> Map<String, Value> {
        let named = names.iter().zip(rates);
        named.filter_map(|(name, rate)| Some((name.clone(), json!(rate.percent()?)))).collect()
    };
    let mut found = Map::from_iter([("acc_by_class".to_owned(), of(&report.acc_by_class).into())]);
    if let Some(triggered) = &report.triggered {
        found.insert("asr_by_class".to_owned(), of(&triggered.asr_by_class).into());
    }
    found
}

/// Whether the metrics count, against their own requirement and the baseline's; nothing if there is neither.
fn valid(
    require: &Require,
    metrics: &Map<String, Value>,
    baseline: Option<&Map<String, Value>>,
) -> Result<Option<bool>, StageError> {
    let own = require.met(metrics).map_err(StageError::Failed)?;
    let baseline = baseline.and_then(|baseline| baseline.get("valid")?.as_bool());
    Ok([own, baseline].into_iter().flatten().reduce(|a, b| a && b))
}

fn read_baseline(path: &Path) -> Result<Map<String, Value>, StageError> {
    let text = fs::read_to_string(path).map_err(|source| StageError::Io { path: path.to_owned(), source })?;
    serde_json::from_str(&text)
        .map_err(|error| StageError::Failed(format!("baseline {}: {error}", path.display())))
}

/// DER against the baseline; nothing without an ASR of this model.
///
/// # Errors
///
/// A baseline without ASR.
fn against(baseline: &Map<String, Value>, after: &Map<String, Value>) -> Result<Option<f64>, StageError> {
    let of = |metrics: &Map<String, Value>, name: &str| metrics.get(name).and_then(Value::as_f64);
    let (Some(acc), Some(asr)) = (of(after, "acc"), of(after, "asr")) else {
        return Ok(None);
    };
    let (Some(acc_before), Some(asr_before)) = (of(baseline, "acc"), of(baseline, "asr")) else {
        let problem = "the baseline was evaluated without a trigger, so there is no DER";
        let advice = "connect the trigger to the baseline's `needs` too, or leave `baseline` out";
        return Err(StageError::Failed(format!("{problem}; {advice}")));
    };
    Ok(Some(der((acc_before, acc), (asr_before, asr))))
}
