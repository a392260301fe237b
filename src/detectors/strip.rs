//! STRIP (Gao et al. 2019): with a trigger, the prediction stays the same when other images are superimposed.

use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::statistics::{auroc, moments, normal_quantile};
use super::{Case, Detector, Finding};
use crate::data::{Batch, Samples, to_unit};
use crate::files::tensors::NamedTensor;
use crate::rng::stream;
use crate::train::{Progress, TrainError, Unit};

/// STRIP: superimposes other images on a tested image. If the entropy of the predictions is low, the image is reported
/// as triggered.
///
/// It detects triggered images, not backdoored networks. The defender's clean images give the threshold, and are also
/// the images that are superimposed. The false rejection rate (FRR) is measured on clean test images. With a connected
/// trigger, the false acceptance rate (FAR) and the AUROC are measured on triggered test images.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Strip {
    /// How images are superimposed: `sum` or `blend`.
    pub superimpose: Superimpose,
    /// The weight of the tested image in a `blend`, alpha. It has no effect with `sum`.
    #[schemars(extend("exclusiveMinimum" = 0.0, "exclusiveMaximum" = 1.0))]
    pub alpha: f64,
    /// The number of images that are superimposed, one at a time, on each tested image.
    #[schemars(range(min = 1, max = 65_536))]
    pub overlays: usize,
    /// The false rejection rate that determines the threshold, in percent.
    #[schemars(extend("exclusiveMinimum" = 0.0, "exclusiveMaximum" = 100.0))]
    pub frr: f64,
    /// The largest number of images to test: for the threshold, and for each of the rates.
    #[schemars(range(min = 1))]
    pub images: usize,
}

/// How one image is superimposed on another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Superimpose {
    /// x + o, not clipped: the authors' code adds floats.
    #[default]
    Sum,
    /// alpha x + (1 - alpha) o, as in BackdoorBench and TrojanZoo, which use an alpha of 0.5 and 64 overlays.
    Blend,
}

impl Default for Strip {
    fn default() -> Self {
        Self { superimpose: Superimpose::Sum, alpha: 0.5, overlays: 100, frr: 1.0, images: 2000 }
    }
}

impl Detector for Strip {
    fn detect(&self, case: &Case<'_>) -> Result<Finding, TrainError> {
        let test = &case.samples.dataset().test;
        let known = self.entropies(case, case.samples.as_ref(), "strip threshold")?;
        let clean = self.entropies(case, test, "strip clean")?;
        let triggered = match &case.attacked {
            Some(attacked) => self.entropies(case, &attacked.images, "strip triggered")?,
            None => vec![],
        };
        let (mean, deviation) = moments(&known);
        let threshold = mean + deviation * normal_quantile(self.frr / 100.0);
        let evidence = [("known", &known), ("clean", &clean), ("triggered", &triggered)]
            .map(|(name, entropies)| to_tensor(name, entropies));
        Ok(Finding {
            metrics: metrics(threshold, &clean, &triggered),
            details: details(threshold, &known, &clean, &triggered),
            evidence: evidence.into(),
        })
    }
}

impl Strip {
    /// The mean entropy of each tested image with its overlays, in bits. `purpose` names the random streams.
    fn entropies(
        &self,
        case: &Case<'_>,
        tested: &dyn Samples,
        purpose: &str,
    ) -> Result<Vec<f64>, TrainError> {
        let seed = case.session.seed;
        let mut chosen = stream(seed, purpose, 0, 0).permutation(tested.len());
        chosen.truncate(self.images);
        chosen.sort_unstable();
        let mut entropies = Vec::with_capacity(chosen.len());
        for &i in &chosen {
            if case.session.observer.stopped() {
                return Err(TrainError::Stopped);
            }
            let mut stream = stream(seed, purpose, 1, u64::from(i));
            let others = case.samples.len() as u32;
            let overlays: Vec<u32> = (0..self.overlays).map(|_| stream.below(others)).collect();
            let batch = self.superimposed(tested.pixels(i as usize), case.samples.as_ref(), &overlays);
            let batch = batch.tensor(case.suspect.network.device())?;
            let logits = case.suspect.forward(&batch)?.logits.to_vec2::<f32>()?;
            let sum: f64 = logits.iter().map(|scores| entropy(scores)).sum();
            if !sum.is_finite() {
                return Err(TrainError::NotFinite { image: i as usize });
            }
            entropies.push(sum / self.overlays as f64);
            let progress = Progress::of_steps(Unit::Image, entropies.len(), chosen.len());
            case.session.observer.progress(&progress);
        }
        Ok(entropies)
    }

    /// An image with each of the overlays; 1 is white.
    fn superimposed(&self, image: &[u8], samples: &dyn Samples, overlays: &[u32]) -> Batch {
        let shape = samples.shape();
        let mut batch = vec![0.0; overlays.len() * shape.len()];
        batch.par_chunks_exact_mut(shape.len()).zip(overlays).for_each(|(out, &overlay)| {
            let both = image.iter().zip(samples.pixels(overlay as usize));
            out.iter_mut().zip(both).for_each(|(out, (&x, &overlay))| *out = self.pixel(x, overlay));
        });
        Batch::new(batch, shape, vec![])
    }

    fn pixel(&self, x: u8, overlay: u8) -> f32 {
        let alpha = self.alpha as f32;
        to_unit(match self.superimpose {
            Superimpose::Sum => f32::from(x) + f32::from(overlay),
            Superimpose::Blend => alpha * f32::from(x) + (1.0 - alpha) * f32::from(overlay),
        })
    }
}

/// The entropy of softmax probabilities, in bits.
fn entropy(scores: &[f32]) -> f64 {
    let max = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let shifted = scores.iter().map(|score| f64::from(score - max));
    let weights: Vec<(f64, f64)> = shifted.map(|z| (libm::exp(z), z)).collect();
    let total: f64 = weights.iter().map(|(weight, _)| weight).sum();
    let mean: f64 = weights.iter().map(|(weight, z)| weight / total * z).sum();
    (libm::log(total) - mean) / std::f64::consts::LN_2
}

/// Rates in percent, their numbers of images, and mean entropies in bits.
fn metrics(threshold: f64, clean: &[f64], triggered: &[f64]) -> Map<String, Value> {
    let rejected = |entropies: &[f64]| entropies.iter().filter(|&&entropy| entropy < threshold).count();
    let rate = |count: usize, of: usize| json!(100.0 * count as f64 / of.max(1) as f64);
    let mut metrics = Map::new();
    metrics.insert("frr".to_owned(), rate(rejected(clean), clean.len()));
    metrics.insert("n_clean".to_owned(), json!(clean.len()));
    metrics.insert("entropy_clean".to_owned(), json!(moments(clean).0));
    let score = |entropies: &[f64]| entropies.iter().map(|entropy| -entropy).collect::<Vec<_>>();
    if let Some(area) = auroc(&score(triggered), &score(clean)) {
        metrics.insert("far".to_owned(), rate(triggered.len() - rejected(triggered), triggered.len()));
        metrics.insert("auroc".to_owned(), json!(100.0 * area));
        metrics.insert("n_triggered".to_owned(), json!(triggered.len()));
        metrics.insert("entropy_triggered".to_owned(), json!(moments(triggered).0));
    }
    metrics
}

/// The threshold and the mean entropies, in bits.
fn details(threshold: f64, known: &[f64], clean: &[f64], triggered: &[f64]) -> Map<String, Value> {
    let of = |entropies: &[f64]| match entropies {
        [] => Value::Null,
        _ => json!({"mean": moments(entropies).0, "deviation": moments(entropies).1, "n": entropies.len()}),
    };
    let entropy = json!({"known": of(known), "clean": of(clean), "triggered": of(triggered)});
    Map::from_iter([("threshold".to_owned(), json!(threshold)), ("entropy".to_owned(), entropy)])
}

fn to_tensor(name: &'static str, entropies: &[f64]) -> NamedTensor<'static> {
    let values: Vec<f32> = entropies.iter().map(|&entropy| entropy as f32).collect();
    NamedTensor::f32(name, vec![values.len()], &values)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entropy_is_in_bits_and_finite_at_the_extremes() {
        assert!((entropy(&[3.0; 8]) - 3.0).abs() < 1e-12);
        assert_eq!(entropy(&[1000.0, -1000.0, 0.0]), 0.0);
        let p: [f64; 3] = [0.7, 0.2, 0.1];
        let expected: f64 = p.iter().map(|p| -p * p.log2()).sum();
        let scores = p.map(|p| p.ln() as f32);
        assert!((entropy(&scores) - expected).abs() < 1e-6);
        assert!(entropy(&[f32::NAN, 1.0]).is_nan());
    }

    #[test]
    fn images_are_added_beyond_white_or_blended() {
        let sum = Strip::default();
        assert_eq!([sum.pixel(100, 55), sum.pixel(200, 100)], [155.0 / 255.0, 300.0 / 255.0]);
        let blend = Strip { superimpose: Superimpose::Blend, alpha: 0.25, ..sum };
        assert_eq!(blend.pixel(100, 200), 175.0 / 255.0);
    }

    #[test]
    fn rates_are_counted_at_the_threshold() {
        let metrics = metrics(1.0, &[0.5, 1.5, 2.0, 3.0], &[0.1, 0.2, 0.3, 0.4, 1.6]);
        assert_eq!((&metrics["frr"], &metrics["far"]), (&json!(25.0), &json!(20.0)));
        assert_eq!(metrics["auroc"], json!(100.0 * 18.0 / 20.0));
        let alone = super::metrics(1.0, &[0.5, 1.5], &[]);
        assert_eq!(Value::Object(alone), json!({"entropy_clean": 1.0, "frr": 50.0, "n_clean": 2}));
    }
}
