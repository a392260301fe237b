use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::super::Observer;
use super::*;
use crate::data::Images;
use crate::files::Folder;
use crate::nn::graph::Graph;
use crate::nn::{Backend, loss};
use crate::shape::Shape;
use crate::train::{Step, Term};

/// Cross entropy, and half the square of one number of its own minus 3.
struct Classify;

impl Objective for Classify {
    fn parameters(&self) -> Vec<f32> {
        vec![1.0]
    }

    fn terms(&mut self, step: &Step<'_>) -> candle_core::Result<Vec<Term>> {
        let ce = loss::cross_entropy(&step.forward.logits, step.labels)?;
        let own = ((step.parameters - 3.0)?.sqr()?.sum_all()? * 0.5)?;
        Ok(vec![("ce", ce), ("own", own)])
    }
}

/// Stops the training when it has seen a number of steps.
struct Counter {
    steps: AtomicUsize,
    stop_at: usize,
    last: Mutex<Progress>,
    /// The networks that it tested.
    tested: Mutex<Vec<Weights>>,
}

impl Counter {
    fn stopping_at(stop_at: usize) -> Self {
        Self { steps: AtomicUsize::new(0), stop_at, last: Mutex::default(), tested: Mutex::default() }
    }
}

impl Observer for Counter {
    fn progress(&self, progress: &Progress) {
        self.steps.fetch_add(1, Ordering::Relaxed);
        *self.last.lock().unwrap() = progress.clone();
    }

    fn note(&self, _: &str) {}

    fn stopped(&self) -> bool {
        self.steps.load(Ordering::Relaxed) >= self.stop_at
    }

    fn test(&self, _: &Network, weights: &Weights) -> Result<Vec<(&'static str, f64)>, TrainError> {
        self.tested.lock().unwrap().push(weights.clone());
        Ok(vec![])
    }
}

const SHAPE: Shape = Shape { height: 6, width: 6, channels: 1 };

/// 22 images, bright on the left or on the right; a label for each side.
fn samples() -> Arc<Images> {
    let pixel = |image: usize, at: usize| {
        let bright = (at % 6 < 3) == image.is_multiple_of(2);
        (if bright { 150 } else { 50 }) + ((image * 31 + at * 17) % 50) as u8
    };
    let pixels = (0..22).flat_map(|image| (0..36).map(move |at| pixel(image, at))).collect();
    Arc::new(Images::new(SHAPE, pixels, (0..22).map(|image| image % 2).collect()).unwrap())
}

fn network() -> Network {
    let (mut g, x) = Graph::new(Shape { height: 6, width: 6, channels: 1 });
    let x = g.conv("conv", x, 4, 3, 2);
    let x = g.batch_norm("bn", x);
    let x = g.relu(x);
    g.logits = g.linear("fc", x, 2);
    Network::new(g, &Backend::candle()).unwrap()
}

fn settings() -> Settings {
    Settings {
        epochs: 3,
        batch: 5,
        schedule: Schedule::steps(&[(0, 0.1), (2, 0.01)]),
        sgd: Sgd { momentum: 0.9, nesterov: true, weight_decay: 1e-4 },
        augment: Augment { crop_padding: 1, flip: false, cutout: 2, cutout_quirk: false },
        shuffle: true,
    }
}

fn train(folder: &Path, settings: &Settings, observer: &Counter) -> Result<Trained, TrainError> {
    let network = network();
    let session = Session { seed: 4, observer, checkpoints: &Folder::open(folder).unwrap() };
    fit(&network, network.graph().init(1).into(), samples(), &mut Classify, settings, session)
}

fn undisturbed() -> Trained {
    let folder = tempfile::tempdir().unwrap();
    train(folder.path(), &settings(), &Counter::stopping_at(usize::MAX)).unwrap()
}

#[test]
fn training_lowers_the_loss_and_trains_the_objectives_own_numbers() {
    let folder = tempfile::tempdir().unwrap();
    let observer = Counter::stopping_at(usize::MAX);
    let trained = train(folder.path(), &Settings { epochs: 12, ..settings() }, &observer).unwrap();
    let last = observer.last.into_inner().unwrap();
    assert_eq!((last.epoch, last.epochs, last.step, last.steps), (11, 12, 5, 5));
    assert_eq!(observer.steps.into_inner(), 60);
    assert!(last.terms[0].0 == "ce" && last.terms[0].1 < 0.2, "{:?}", last.terms);
    assert!((trained.parameters[0] - 3.0).abs() < 0.5, "{:?}", trained.parameters);
}

#[test]
fn stopping_at_any_step_and_going_on_ends_in_the_same_bits() {
    let expected = undisturbed();
    for stops in [vec![1], vec![5], vec![7, 2], vec![14]] {
        let folder = tempfile::tempdir().unwrap();
        for stop_at in stops {
            let stopped = train(folder.path(), &settings(), &Counter::stopping_at(stop_at));
            assert!(matches!(stopped, Err(TrainError::Stopped)));
        }
        let observer = Counter::stopping_at(usize::MAX);
        assert_eq!(train(folder.path(), &settings(), &observer).unwrap(), expected);
        assert!(observer.steps.into_inner() < 15);
    }
}

#[test]
fn the_network_is_tested_before_the_first_epoch_and_after_each() {
    let folder = tempfile::tempdir().unwrap();
    let start = Weights::from(network().graph().init(1));
    let stopped = Counter::stopping_at(7);
    train(folder.path(), &settings(), &stopped).unwrap_err();
    let first = stopped.tested.into_inner().unwrap();
    assert_eq!((first.len(), &first[0]), (2, &start));

    let observer = Counter::stopping_at(usize::MAX);
    let trained = train(folder.path(), &settings(), &observer).unwrap();
    let rest = observer.tested.into_inner().unwrap();
    assert_eq!((rest.len(), rest.last()), (2, Some(&trained.weights)), "not again in the middle of an epoch");
}

#[test]
fn a_finished_training_is_read_from_its_last_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let first = train(folder.path(), &settings(), &Counter::stopping_at(usize::MAX)).unwrap();
    let again = Counter::stopping_at(0);
    assert_eq!(train(folder.path(), &settings(), &again).unwrap(), first);
}

#[test]
fn the_number_of_threads_changes_nothing() {
    let with_threads =
        |n| rayon::ThreadPoolBuilder::new().num_threads(n).build().unwrap().install(undisturbed);
    assert_eq!(with_threads(1), with_threads(3));
}

#[test]
fn a_loss_that_is_no_number_names_the_place() {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings { schedule: Schedule::steps(&[(0, 1e30)]), ..settings() };
    let error = train(folder.path(), &settings, &Counter::stopping_at(usize::MAX)).unwrap_err();
    let message = error.to_string();
    assert!(
        message.contains("in epoch 1, batch ") && message.contains("lower the learning rate"),
        "{message}"
    );
}

#[test]
fn arguments_that_do_not_fit_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let none = Settings { epochs: 0, ..settings() };
    let refused = train(folder.path(), &none, &Counter::stopping_at(usize::MAX));
    assert!(matches!(refused, Err(TrainError::Mismatch(_))));
}
