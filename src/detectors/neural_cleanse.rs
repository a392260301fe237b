//! Neural Cleanse (Wang et al. 2019): if a small trigger moves every image to a class, the class is the target of a
//! backdoor.

mod cost;
mod reverse;

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::statistics::{anomaly_indices, median};
use super::{Case, Detector, Finding};
use crate::data::{Samples, TrainView};
use crate::files::tensors::NamedTensor;
use crate::train::{Frozen, Session, TrainError};
pub use reverse::Reversal;

/// Neural Cleanse: searches for the smallest trigger that moves all images to a class, by gradient descent, for every
/// class. A class is flagged if its trigger is a small outlier.
///
/// The trigger is a mask m and a pattern p, x' = (1 - m) x + m p, that minimize CE(f(x'), class) + cost |m|_1 on clean
/// images (section IV of the paper). The defaults are those of the authors' code, but `epochs` is BackdoorBench's:
/// there, as here, a round of the cost's schedule is a pass over the clean images. In the authors' code it is 31
/// batches.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct NeuralCleanse {
    /// The largest number of passes over the clean images for each class.
    #[schemars(range(min = 1, max = 100_000))]
    pub epochs: usize,
    /// The number of images in one step.
    #[schemars(range(min = 1, max = 65_536))]
    pub batch: usize,
    /// The learning rate of Adam, whose betas are 0.5 and 0.9.
    #[schemars(extend("exclusiveMinimum" = 0.0))]
    pub lr: f64,
    /// The images that a trigger must move to its class to succeed, in percent.
    #[schemars(range(min = 0.0, max = 100.0))]
    pub success: f64,
    /// The first weight of the mask's size after triggers succeed; before that it is 0.
    #[schemars(extend("exclusiveMinimum" = 0.0))]
    pub cost: f64,
    /// The number of passes in a row that must succeed, or fail, to change the weight.
    #[schemars(range(min = 1))]
    pub patience: usize,
    /// The factor of the weight after successes. After failures, the weight is divided by this factor to the power of
    /// 1.5.
    #[schemars(extend("exclusiveMinimum" = 1.0))]
    pub multiplier: f64,
    /// The number of passes in a row without a smaller mask that ends the search, if the weight has risen and fallen
    /// before.
    #[schemars(range(min = 1))]
    pub early_stop_patience: usize,
    /// A mask counts as smaller if it is below this fraction of the smallest so far.
    #[schemars(range(max = 1.0), extend("exclusiveMinimum" = 0.0))]
    pub early_stop_threshold: f64,
    /// The anomaly index above which a class is flagged, if its mask is smaller than the median.
    #[schemars(range(min = 0.0))]
    pub threshold: f64,
}

impl Default for NeuralCleanse {
    fn default() -> Self {
        Self {
            epochs: 80,
            batch: 32,
            lr: 0.1,
            success: 99.0,
            cost: 1e-3,
            patience: 5,
            multiplier: 2.0,
            early_stop_patience: 25,
            early_stop_threshold: 0.99,
            threshold: 2.0,
        }
    }
}

/// The result of Neural Cleanse, by class.
#[derive(Clone, Debug, PartialEq)]
pub struct Diagnosis {
    /// The smallest triggers found.
    pub reversals: Vec<Reversal>,
    /// The distance of each norm from the median, in robust standard deviations.
    pub anomaly_indices: Vec<f64>,
    /// The classes that are suspected targets of a backdoor.
    pub flagged: Vec<usize>,
}

impl NeuralCleanse {
    /// Finds a trigger for every class and flags the suspiciously small ones. The result of each class is kept with
    /// the session's checkpoints: the same call resumes after the last one.
    ///
    /// # Errors
    ///
    /// A stop, or a loss that is not finite.
    pub fn diagnose(
        &self,
        suspect: &Frozen,
        samples: &Arc<TrainView>,
        session: Session<'_>,
    ) -> Result<Diagnosis, TrainError> {
        let classes = samples.dataset().classes.len();
        let reverse = |class| {
            let name = format!("reversal-{class}");
            if let Some(kept) = session.kept(&name) {
                return Ok(kept);
            }
            let reversal = reverse::reverse(self, suspect, samples, class, session)?;
            session.observer.note(&reversal.summary());
            session.keep(&name, &reversal)?;
            Ok(reversal)
        };
        let reversals = (0..classes).map(reverse).collect::<Result<Vec<_>, TrainError>>()?;
        Ok(self.judge(reversals))
    }

    /// Flags the classes whose triggers are outliers on the small side.
    fn judge(&self, reversals: Vec<Reversal>) -> Diagnosis {
        let norms: Vec<f64> = reversals.iter().map(|reversal| reversal.norm).collect();
        let anomaly_indices = anomaly_indices(&norms);
        let middle = median(&norms);
        let is_small = |class: &usize| norms[*class] < middle && anomaly_indices[*class] > self.threshold;
        let flagged = (0..norms.len()).filter(is_small).collect();
        Diagnosis { reversals, anomaly_indices, flagged }
    }
}

impl Detector for NeuralCleanse {
    fn detect(&self, case: &Case<'_>) -> Result<Finding, TrainError> {
        let diagnosis = self.diagnose(&case.suspect, &case.samples, case.session)?;
        let mut metrics = diagnosis.metrics();
        if let Some(target) = case.attacked.as_ref().and_then(|attacked| attacked.target) {
            let is_flagged = diagnosis.flagged.contains(&(target as usize));
            metrics.insert("target_flagged".to_owned(), json!(u8::from(is_flagged)));
        }
        let shape = case.samples.shape();
        let (masks, patterns): (Vec<_>, Vec<_>) =
            diagnosis.reversals.iter().map(|reversal| (&reversal.mask[..], &reversal.pattern[..])).unzip();
        let classes = diagnosis.reversals.len();
        let evidence = vec![
            NamedTensor::f32("masks", vec![classes, shape.height, shape.width], &masks.concat()),
            NamedTensor::f32(
                "patterns",
                vec![classes, shape.height, shape.width, shape.channels],
                &patterns.concat(),
            ),
        ];
        let details = diagnosis.details(&case.samples.dataset().classes);
        Ok(Finding { metrics, details, evidence })
    }
}

impl Diagnosis {
    /// The anomaly index of the smallest trigger, its norm and the median norm, and the flagged classes.
    pub fn metrics(&self) -> Map<String, Value> {
        let smallest = self.reversals.iter().min_by(|a, b| a.norm.total_cmp(&b.norm));
        let index = smallest.map_or(0.0, |reversal| self.anomaly_indices[reversal.class]);
        let names: Vec<String> = self.flagged.iter().map(ToString::to_string).collect();
        let flagged = if names.is_empty() { "none".to_owned() } else { names.join(" ") };
        let norms: Vec<f64> = self.reversals.iter().map(|reversal| reversal.norm).collect();
        let metrics = [
            ("anomaly_index", json!(index)),
            ("flagged", json!(flagged)),
            ("flags", json!(names.len())),
            ("norm_median", json!(median(&norms))),
            ("norm_smallest", json!(smallest.map_or(0.0, |reversal| reversal.norm))),
        ];
        metrics.map(|(name, value)| (name.to_owned(), value)).into_iter().collect()
    }

    /// The results for each class.
    fn details(&self, names: &[String]) -> Map<String, Value> {
        let class = |reversal: &Reversal| {
            json!({
                "class": reversal.class,
                "name": names[reversal.class],
                "norm": reversal.norm,
                "anomaly_index": self.anomaly_indices[reversal.class],
                "success": reversal.success,
                "converged": reversal.converged,
                "epochs": reversal.epochs,
            })
        };
        let classes = self.reversals.iter().map(class).collect();
        Map::from_iter([("classes".to_owned(), Value::Array(classes))])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(norms: &[f64]) -> Diagnosis {
        let reversal = |(class, &norm)| Reversal {
            class,
            mask: vec![],
            pattern: vec![],
            norm,
            success: 100.0,
            converged: true,
            epochs: 1,
        };
        NeuralCleanse::default().judge(norms.iter().enumerate().map(reversal).collect())
    }

    #[test]
    fn only_outliers_on_the_small_side_are_flagged() {
        let diagnosis = judged(&[50.0, 52.0, 5.0, 48.0, 51.0, 300.0]);
        assert_eq!(diagnosis.flagged, [2]);
        assert!(diagnosis.anomaly_indices[5] > 2.0);
        let metrics = diagnosis.metrics();
        assert_eq!((&metrics["flagged"], &metrics["flags"]), (&json!("2"), &json!(1)));
        assert_eq!(metrics["anomaly_index"], json!(diagnosis.anomaly_indices[2]));
        assert_eq!((&metrics["norm_smallest"], &metrics["norm_median"]), (&json!(5.0), &json!(50.5)));
        assert_eq!(judged(&[50.0, 52.0, 49.0, 51.0]).metrics()["flagged"], json!("none"));
        assert_eq!(judged(&[50.0, 52.0, 9.0, 51.0, 49.0, 8.0, 50.5]).metrics()["flagged"], json!("2 5"));
    }
}
