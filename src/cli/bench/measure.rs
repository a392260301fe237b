//! Measures the program's own training loop, predictions and ARGD on images of noise.
//!
//! A step here is a step of a stage, with its batches and augmentation, so an epoch of a real training takes as long as
//! its steps take here.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use clap::ValueEnum;
use serde::Serialize;

use super::super::error::CliError;
use crate::data::{DataError, Dataset, Images, TrainView};
use crate::defenses::{self, Argd, Defense};
use crate::files::Folder;
use crate::models::{Architecture, Weights};
use crate::nn::{Backend, Level, Network};
use crate::rng;
use crate::shape::Shape;
use crate::stages::StageError;
use crate::train::{
    CrossEntropy, Frozen, Observer, PREDICT_BATCH, Progress, Session, Training, fit, predict,
};

const SHAPE: Shape = Shape { height: 32, width: 32, channels: 3 };
const CLASSES: usize = 10;
const SEED: u64 = 1;
/// Steps before the first measured one: they allocate buffers and fill caches.
const WARM_UP: usize = 5;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(super) enum What {
    /// Training steps: forward, backward, update.
    Train,
    /// Predictions, as in an evaluation.
    Infer,
    /// ARGD steps: training of the student, inference of the teacher, and all three terms.
    Argd,
}

impl What {
    /// Its name on the command line and in the table.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Infer => "infer",
            Self::Argd => "argd",
        }
    }
}

/// One measurement to make.
pub(super) struct Case {
    pub what: What,
    pub model: Architecture,
    /// Images per step; predictions have their own number.
    pub batch: usize,
    pub threads: usize,
    /// Steps after the warm-up.
    pub steps: usize,
}

/// The result of a measurement.
#[derive(Debug, Serialize)]
pub(super) struct Speed {
    pub what: What,
    pub model: Architecture,
    pub batch: usize,
    pub threads: usize,
    pub images_per_second: f64,
    /// The median.
    pub ms_per_step: f64,
    /// The instructions that the kernels use.
    pub simd: &'static str,
}

/// Measures a case in a thread pool of its own.
pub(super) fn measure(case: &Case) -> Result<Speed, CliError> {
    let setup = |error: &dyn std::fmt::Display| CliError::Setup(error.to_string());
    let pool = rayon::ThreadPoolBuilder::new().num_threads(case.threads).build();
    let temporary = tempfile::tempdir().map_err(|error| setup(&error))?;
    let folder = Folder::open(temporary.path()).map_err(|error| setup(&error))?;
    let (batch, clock) = (case.batch_size(), Clock::default());
    let work = || case.work(batch, &clock, &folder);
    pool.map_err(|error| setup(&error))?.install(work).map_err(|error| setup(&error))?;
    let seconds = clock.median();
    Ok(Speed {
        what: case.what,
        model: case.model,
        batch,
        threads: case.threads,
        images_per_second: batch as f64 / seconds,
        ms_per_step: seconds * 1e3,
        simd: Level::current().name(),
    })
}

impl Case {
    fn batch_size(&self) -> usize {
        if self.what == What::Infer { PREDICT_BATCH } else { self.batch }
    }

    /// Runs one epoch of exactly the requested steps.
    fn work(&self, batch: usize, clock: &Clock, folder: &Folder) -> Result<(), StageError> {
        let network = Network::new(self.model.graph(SHAPE, CLASSES), &Backend::default())?;
        let weights = Weights::from(network.graph().init(SEED));
        let dataset = images((WARM_UP + self.steps) * batch)?;
        let session = Session { seed: SEED, observer: clock, checkpoints: folder };
        let training = Training { epochs: 1, batch, ..Training::default() };
        let view = |dataset| TrainView::new(Arc::new(dataset), None, None).map(Arc::new);
        match self.what {
            What::Infer => {
                predict(&network, &weights, &dataset.train, None, clock)?;
            }
            What::Train => {
                let (samples, settings) = (view(dataset)?, training.settings());
                fit(&network, weights, samples, &mut CrossEntropy, &settings, session)?;
            }
            What::Argd => {
                let teacher = Some(Frozen::new(network.clone(), &weights)?);
                let argd = Argd { shared: training, ..Argd::default() };
                let samples = view(dataset)?;
                let student = weights;
                argd.erase(defenses::Case { network: &network, student, teacher, samples, session })?;
            }
        }
        Ok(())
    }
}

/// Images of noise.
fn images(count: usize) -> Result<Dataset, DataError> {
    let mut stream = rng::stream(SEED, "bench", 0, 0);
    let mut some = |count: usize| {
        let pixels = (0..count * SHAPE.len()).map(|_| stream.below(256) as u8).collect();
        Images::new(SHAPE, pixels, (0..count).map(|i| (i % CLASSES) as u32).collect())
    };
    let classes = (0..CLASSES).map(|class| class.to_string()).collect();
    Dataset::new(classes, some(count)?, some(1)?)
}

/// Records when each step ended.
#[derive(Default)]
struct Clock {
    ends: Mutex<Vec<Instant>>,
}

impl Clock {
    /// The median of the steps after the warm-up, in seconds.
    fn median(&self) -> f64 {
        let ends = self.ends.lock().unwrap_or_else(PoisonError::into_inner);
        let steps = ends.windows(2).map(|pair| (pair[1] - pair[0]).as_secs_f64());
        let mut steps: Vec<f64> = steps.skip(WARM_UP - 1).collect();
        steps.sort_by(f64::total_cmp);
        steps.get(steps.len() / 2).copied().unwrap_or(f64::NAN)
    }
}

impl Observer for Clock {
    fn progress(&self, _: &Progress) {
        self.ends.lock().unwrap_or_else(PoisonError::into_inner).push(Instant::now());
    }

    fn note(&self, _: &str) {}

    fn stopped(&self) -> bool {
        false
    }
}
