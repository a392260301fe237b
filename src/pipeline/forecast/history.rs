//! The recorded times of tasks, and which of them are like a task.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use serde_json::{Map, Value};

use crate::pipeline::plan::{Plan, Task};
use crate::pipeline::state::Components;
use crate::stages::metrics::{IMAGES, TRAIN_IMAGES};
use crate::store::{Record, Store, StoreError};

/// The most records that are read, the newest first.
const RECORDS: usize = 4000;
/// The most samples of a kind, so that a lookup takes no time.
const SAMPLES: usize = 500;

/// The parameter that counts passes over the images.
const EPOCHS: &str = "epochs";
/// Parameters that count steps, which do not depend on the number of images.
const STEPS: [&str; 2] = ["iterations", "steps"];

/// What the time of a task depends on.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Likeness {
    kind: String,
    /// The pipeline and the stage.
    stage: u64,
    /// All parameters.
    params: u64,
    /// The parameters that are texts: a method, a network.
    choices: u64,
    epochs: Option<f64>,
    steps: Option<f64>,
    /// Training images.
    pub images: Option<f64>,
}

/// The work of a task that has run.
struct Sample {
    likeness: Likeness,
    /// In thread-seconds.
    work: f64,
    /// Whether it ran in this run: on this machine, with these threads.
    is_of_run: bool,
}

/// The recorded times of tasks, by kind.
#[derive(Default)]
pub(super) struct History {
    kinds: HashMap<String, Vec<Sample>>,
}

/// How near a sample is to a task. The smallest is the nearest.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Distance {
    /// 0 if they differ in the seed alone, up to 5 if they are only of the same kind.
    level: u8,
    /// How much the effort differs.
    effort: u64,
    earlier: bool,
}

impl Likeness {
    /// That of a task, without its images.
    pub(super) fn of_task(plan: &Plan, task: &Task) -> Self {
        Self::new(task.kind, plan.name(), &task.label.stage, &task.bound.params())
    }

    /// That of a record.
    fn of_record(record: &Record) -> Option<Self> {
        let Components { kind, params, .. } = Components::of(record).ok()?;
        let stage = record.exec.task.split('@').next().unwrap_or_default();
        let likeness = Self::new(&kind, &record.exec.pipeline, stage, &params);
        Some(Self { images: images(&record.metrics), ..likeness })
    }

    fn new(kind: &str, pipeline: &str, stage: &str, params: &Value) -> Self {
        let number = |name: &str| params.get(name).and_then(Value::as_f64).filter(|number| *number > 0.0);
        let texts = params.as_object().into_iter().flatten().filter(|(_, value)| value.is_string());
        let choices: Vec<(&String, Option<&str>)> =
            texts.map(|(name, value)| (name, value.as_str())).collect();
        Self {
            kind: kind.to_owned(),
            stage: hash(&(pipeline, stage)),
            params: hash(&params.to_string()),
            choices: hash(&choices),
            epochs: number(EPOCHS),
            steps: STEPS.iter().find_map(|name| number(name)),
            images: None,
        }
    }

    /// How much more work a task is than another, as far as its parameters tell.
    fn effort_beside(&self, other: &Self) -> f64 {
        let ratio = |own: Option<f64>, other: Option<f64>| match (own, other) {
            (Some(own), Some(other)) if own > 0.0 && other > 0.0 => own / other,
            _ => 1.0,
        };
        let images = if self.steps.is_some() { 1.0 } else { ratio(self.images, other.images) };
        ratio(self.epochs, other.epochs) * ratio(self.steps, other.steps) * images
    }

    /// The distance of a sample.
    fn distance(&self, sample: &Sample) -> Distance {
        let other = &sample.likeness;
        let [stage, params, choices] =
            [self.stage == other.stage, self.params == other.params, self.choices == other.choices];
        let level = match (stage, params, choices) {
            (true, true, _) => 0,
            (true, _, true) => 1,
            (_, true, _) => 2,
            // The own stage usually has the same network and the same images.
            (true, ..) => 3,
            (_, _, true) => 4,
            _ => 5,
        };
        // In steps of about a quarter, so that samples of about the same effort count together.
        let effort = (self.effort_beside(other).ln().abs() * 4.0).round() as u64;
        Distance { level, effort, earlier: !sample.is_of_run }
    }
}

fn hash(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

impl History {
    /// The times in the newest records of a store.
    pub(super) fn of(store: &Store) -> Result<Self, StoreError> {
        let mut history = Self::default();
        for record in store.newest_records(RECORDS)? {
            if let Some(likeness) = Likeness::of_record(&record).filter(|_| record.exec.seconds > 0.0) {
                let work = record.exec.seconds * record.exec.threads.max(1) as f64;
                history.put(Sample { likeness, work, is_of_run: false });
            }
        }
        Ok(history)
    }

    /// Adds a task of this run.
    pub(super) fn add(&mut self, likeness: Likeness, work: f64) {
        self.put(Sample { likeness, work, is_of_run: true });
    }

    fn put(&mut self, sample: Sample) {
        let samples = self.kinds.entry(sample.likeness.kind.clone()).or_default();
        if samples.len() < SAMPLES {
            samples.push(sample);
        } else if sample.is_of_run {
            // The last one of the records is the oldest.
            let at = samples.iter().rposition(|old| !old.is_of_run).unwrap_or(0);
            samples[at] = sample;
        }
    }

    /// The work of a task, from the samples that are nearest to it: their median, scaled by its effort.
    pub(super) fn work(&self, of: &Likeness) -> Option<f64> {
        let (mut nearest, mut works) = (None, vec![]);
        for sample in self.kinds.get(&of.kind)? {
            let distance = of.distance(sample);
            if nearest.as_ref().is_none_or(|nearest| distance < *nearest) {
                works.clear();
                nearest = Some(distance);
            } else if nearest.as_ref().is_some_and(|nearest| distance > *nearest) {
                continue;
            }
            works.push(sample.work * of.effort_beside(&sample.likeness));
        }
        works.sort_by(f64::total_cmp);
        works.get(works.len() / 2).copied()
    }

    /// The images that a task with the same parameters had.
    pub(super) fn images(&self, of: &Likeness) -> Option<f64> {
        let mut same = self.kinds.get(&of.kind)?.iter().filter(|sample| sample.likeness.params == of.params);
        let of_stage = same.clone().find(|sample| sample.likeness.stage == of.stage);
        of_stage.or_else(|| same.next())?.likeness.images
    }
}

/// The number of training images in the metrics of a task.
pub(super) fn images(metrics: &Map<String, Value>) -> Option<f64> {
    metrics.get(IMAGES).or_else(|| metrics.get(TRAIN_IMAGES)).and_then(Value::as_f64)
}
