//! Runs single stages on files in a folder.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use serde_json::{Value, json};

use crate::data::Dataset;
use crate::stages::kind::boxed;
pub(crate) use crate::stages::kinds::dataset::DatasetStage;
pub(crate) use crate::stages::kinds::poison::PoisonStage;
use crate::stages::{Context, Kind, Observer, Outcome, Progress, StageError};

pub(crate) struct Nobody;

impl Observer for Nobody {
    fn progress(&self, _: &Progress) {}
    fn note(&self, _: &str) {}
}

/// Runs a stage in `folder`, which takes its outputs; inputs are (port, file in `folder`).
pub(crate) fn run<K: Kind>(
    with: Value,
    inputs: &[(&str, &str)],
    folder: &Path,
) -> Result<Outcome, StageError> {
    run_watched::<K>(with, inputs, folder, &Nobody)
}

/// The same, watched.
pub(crate) fn run_watched<K: Kind>(
    with: Value,
    inputs: &[(&str, &str)],
    folder: &Path,
    observer: &dyn Observer,
) -> Result<Outcome, StageError> {
    let bound = boxed::<K>().bind(&with).unwrap();
    let inputs = inputs.iter().map(|(port, file)| ((*port).to_owned(), folder.join(file)));
    bound.run(&mut Context {
        seed: 1,
        inputs: inputs.collect::<BTreeMap<_, _>>(),
        work: folder,
        partial: folder,
        observer,
        stop: &AtomicBool::new(false),
    })
}

/// Draws a small data set of 60 training images into `folder`.
pub(crate) fn synthetic(folder: &Path) -> Dataset {
    let with = json!({"source": "synthetic", "train": 60, "test": 20});
    run::<DatasetStage>(with, &[], folder).unwrap();
    Dataset::load(&folder.join("dataset")).unwrap()
}
