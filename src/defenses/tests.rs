//! A small student, its clean images, and any defense run on them.

mod parameters;
mod setup;

use serde_json::{Value, json};

use super::*;
use crate::data::{Dataset, Images};
use crate::files::Folder;
use crate::models::Architecture;
use crate::nn::Backend;
use crate::shape::Shape;
use crate::train::SILENT;

pub(super) use setup::{Setup, assert_close, scalar};

/// A WRN-10-1, or another network, with its first weights, for images of 8x8 in 3 classes, and 24 clean images.
pub(super) struct Bench {
    pub network: Network,
    pub student: Weights,
    samples: Arc<TrainView>,
    checkpoints: Folder,
    _folder: tempfile::TempDir,
}

const IMAGES: usize = 24;

impl Bench {
    pub fn new() -> Self {
        Self::of("wrn-10-1")
    }

    /// The same with a student of another architecture.
    pub fn of(name: &str) -> Self {
        let network = network(name);
        let student = network.graph().init(1).into();
        let shape = Shape { height: 8, width: 8, channels: 3 };
        let labels: Vec<u32> = (0..IMAGES as u32).map(|i| i % 3).collect();
        let pixel = |i: usize| ((i * 31 + i / 192 % 3 * 80) % 256) as u8;
        let images = Images::new(shape, (0..IMAGES * 192).map(pixel).collect(), labels).unwrap();
        let classes = ["a", "b", "c"].map(str::to_owned).to_vec();
        let dataset = Dataset { train: images.clone(), test: images, classes };
        let samples = Arc::new(TrainView::new(Arc::new(dataset), None, None).unwrap());
        let folder = tempfile::tempdir().unwrap();
        let checkpoints = Folder::open(folder.path()).unwrap();
        Self { network, student, samples, checkpoints, _folder: folder }
    }

    /// The student as a case without a teacher.
    pub fn case(&self) -> Case<'_> {
        self.case_in(&self.checkpoints)
    }

    fn case_in<'a>(&'a self, checkpoints: &'a Folder) -> Case<'a> {
        Case {
            network: &self.network,
            student: self.student.clone(),
            teacher: None,
            samples: Arc::clone(&self.samples),
            session: Session { seed: 5, observer: &SILENT, checkpoints },
        }
    }

    /// Runs a defense, given as in a manifest.
    pub fn erase(&self, with: Value) -> Result<Erased, TrainError> {
        self.erase_with(with, None)
    }

    /// Runs a defense with a teacher.
    pub fn erase_with(&self, with: Value, teacher: Option<Frozen>) -> Result<Erased, TrainError> {
        let defense: AnyDefense = serde_json::from_value(with).unwrap();
        let folder = tempfile::tempdir().unwrap();
        defense.get().erase(Case { teacher, ..self.case_in(&Folder::open(folder.path()).unwrap()) })
    }
}

/// A network by name.
fn network(name: &str) -> Network {
    let shape = Shape { height: 8, width: 8, channels: 3 };
    Network::new(name.parse::<Architecture>().unwrap().graph(shape, 3), &Backend::default()).unwrap()
}

/// A teacher of some architecture.
pub(super) fn teacher(name: &str) -> Frozen {
    let network = network(name);
    let weights = network.graph().init(2).into();
    Frozen::new(network, &weights).unwrap()
}

#[test]
fn a_defense_gives_the_same_bits_for_any_number_of_threads() {
    let bench = Bench::new();
    for with in [
        json!({"method": "fine-pruning", "epochs": 1, "batch": 8}),
        json!({"method": "anp", "iterations": 4, "batch": 8, "threshold": 0.9}),
        json!({"method": "ft-sam", "epochs": 2, "batch": 8}),
        json!({"method": "mcr", "epochs": 1, "batch": 8, "grid": 3}),
    ] {
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| bench.erase_with(with.clone(), Some(teacher("wrn-10-1"))).unwrap())
        };
        assert_eq!(run(1), run(3), "{with}");
    }
}

#[test]
fn student_and_teacher_may_have_different_widths_and_depths() {
    let bench = Bench::new();
    for method in ["nad", "argd"] {
        for name in ["wrn-10-2", "wrn-16-1", "resnet32-cifar"] {
            let with = json!({"method": method, "epochs": 1, "batch": 8});
            let erased = bench.erase_with(with, Some(teacher(name))).unwrap();
            assert_ne!(erased.weights, bench.student);
            assert!(erased.weights.theta.iter().all(|weight| weight.is_finite()));
        }
    }
}

#[test]
fn what_learns_from_a_teacher_asks_for_one() {
    for method in ["nad", "argd", "mcr"] {
        let message = Bench::new().erase(json!({"method": method})).unwrap_err().to_string();
        assert!(message.contains("needs a teacher"), "{message}");
    }
}
