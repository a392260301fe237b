//! Measures a network on the test images, clean and with a trigger, for evaluations and for every epoch of a training.

use serde_json::{Map, Value, json};

use super::metrics::{ACC, ASR, Metric, RA};
use super::{Context, StageError};
use crate::attacks::{LabelRule, Trigger};
use crate::data::{Dataset, Images};
use crate::models::Weights;
use crate::nn::Network;
use crate::train::{Elsewhere, Observer, Rate, Report, Stamp, TrainError, predict};

/// The trigger of the port `trigger`, if one is connected.
///
/// # Errors
///
/// An unreadable file, and a trigger for another image size than the data set's.
pub(super) fn trigger(context: &Context<'_>, dataset: &Dataset) -> Result<Option<Trigger>, StageError> {
    let Some(trigger) = context.optional_input("trigger").map(Trigger::load).transpose()? else {
        return Ok(None);
    };
    if trigger.shape() != dataset.shape() {
        let (trigger, images) = (trigger.shape(), dataset.shape());
        let problem = format!("`trigger` is for images of {trigger}, `dataset` has images of {images}");
        return Err(StageError::Unfit { problem, help: "connect the data set that was poisoned".to_owned() });
    }
    Ok(Some(trigger))
}

/// The counts on the test images.
pub(super) struct Measured {
    report: Report,
    /// The images that the trigger should not affect. Only for a source-specific rule.
    elsewhere: Option<Elsewhere>,
}

impl Measured {
    /// Predicts the test images, clean and, with a trigger, stamped, and counts.
    ///
    /// # Errors
    ///
    /// Those of [`predict`].
    pub fn of(
        network: &Network,
        weights: &Weights,
        dataset: &Dataset,
        trigger: Option<&Trigger>,
        observer: &dyn Observer,
    ) -> Result<Self, TrainError> {
        let predictions = |images: &Images, stamp: Option<Stamp<'_>>| -> Result<Vec<u32>, TrainError> {
            predict(network, weights, images, stamp, observer)
        };
        let (test, labels) = (&dataset.test, dataset.test.labels());
        let clean = predictions(test, None)?;
        let Some(trigger) = trigger else {
            return Ok(Self { report: Report::clean(labels, &clean), elsewhere: None });
        };
        let wanted: Vec<u32> = labels.iter().map(|&label| trigger.target_label(label)).collect();
        let mut stamp = |position: usize, pixels: &mut [u8]| trigger.apply(position, pixels);
        let triggered = predictions(test, Some(&mut stamp))?;
        let elsewhere = match trigger.labels() {
            LabelRule::SourceSpecific { target, .. } => {
                Some(Elsewhere::count(labels, &wanted, &triggered, target))
            }
            LabelRule::All2one { .. } | LabelRule::All2all => None,
        };
        Ok(Self { report: Report::with_trigger(labels, &clean, &wanted, &triggered), elsewhere })
    }

    /// Metrics in percent and counts, by name. Metrics without cases are omitted.
    pub fn metrics(&self) -> Map<String, Value> {
        let mut metrics = Map::new();
        let mut put = |name: &str, count: &str, rate: Rate| {
            metrics.extend(rate.percent().map(|percent| (name.to_owned(), json!(percent))));
            metrics.insert(count.to_owned(), json!(rate.of));
        };
        put(ACC, "n_clean", self.report.acc);
        if let Some(triggered) = &self.report.triggered {
            put("acc_excl_target", "n_excl_target", triggered.acc_excl_target);
            put(ASR, "n_triggered", triggered.asr);
            put(RA, "n_triggered", triggered.ra);
        }
        if let Some(elsewhere) = self.elsewhere {
            put("asr_elsewhere", "n_elsewhere", elsewhere.asr);
            put("ra_elsewhere", "n_elsewhere", elsewhere.ra);
        }
        metrics
    }

    /// Metrics in percent by the name of the true class. Classes without cases are omitted.
    pub fn by_class(&self, names: &[String]) -> Map<String, Value> {
        let of = |rates: &[Rate]| -> Map<String, Value> {
            let named = names.iter().zip(rates);
            named.filter_map(|(name, rate)| Some((name.clone(), json!(rate.percent()?)))).collect()
        };
        let mut found = Map::from_iter([("acc_by_class".to_owned(), of(&self.report.acc_by_class).into())]);
        if let Some(triggered) = &self.report.triggered {
            found.insert("asr_by_class".to_owned(), of(&triggered.asr_by_class).into());
        }
        found
    }

    /// The metrics that a training reports after each epoch, in percent.
    pub fn each_epoch(&self) -> Vec<(&'static str, f64)> {
        let metrics = self.metrics();
        let value = |name: &str| metrics.get(name).and_then(Value::as_f64);
        Metric::of_epoch().filter_map(|metric| Some((metric.name, value(metric.name)?))).collect()
    }
}
