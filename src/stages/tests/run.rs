//! Runs single stages on files in a folder.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;

use serde_json::{Value, json};

use crate::data::Dataset;
use crate::files::Folder;
use crate::nn::Backend;
use crate::stages::kind::boxed;
pub(crate) use crate::stages::kinds::dataset::DatasetStage;
pub(crate) use crate::stages::kinds::poison::PoisonStage;
use crate::stages::metrics::Metric;
use crate::stages::{Context, Kind, Observer, Outcome, Progress, StageError};
use crate::train::SILENT;

/// Runs a stage and writes its outputs to `folder`. Inputs are (port, file in `folder`).
pub(crate) fn run<K: Kind>(
    with: Value,
    inputs: &[(&str, &str)],
    folder: &Path,
) -> Result<Outcome, StageError> {
    run_observed::<K>(with, inputs, folder, &SILENT)
}

/// Same as [`run`], with an observer.
pub(crate) fn run_observed<K: Kind>(
    with: Value,
    inputs: &[(&str, &str)],
    folder: &Path,
    observer: &dyn Observer,
) -> Result<Outcome, StageError> {
    let bound = boxed::<K>().bind(&with).unwrap();
    let inputs = inputs.iter().map(|(port, file)| ((*port).to_owned(), folder.join(file)));
    let outcome = bound.run(&mut Context {
        seed: 1,
        inputs: inputs.collect::<BTreeMap<_, _>>(),
        work: folder,
        partial: &Folder::open(folder).unwrap(),
        backend: &Backend::default(),
        observer,
        stop: &AtomicBool::new(false),
    })?;
    let unknown = outcome.metrics.keys().find(|name| Metric::named(name).is_none());
    assert_eq!(unknown, None, "a metric that the table lacks");
    Ok(outcome)
}

/// The warnings of a stage.
pub(crate) fn warnings_of<K: Kind>(with: Value, inputs: &[(&str, &str)], folder: &Path) -> Vec<String> {
    #[derive(Default)]
    struct Warnings(Mutex<Vec<String>>);
    impl Observer for Warnings {
        fn progress(&self, _: &Progress) {}
        fn note(&self, _: &str) {}
        fn warn(&self, line: &str) {
            self.0.lock().unwrap().push(line.to_owned());
        }
    }
    let warnings = Warnings::default();
    run_observed::<K>(with, inputs, folder, &warnings).unwrap();
    warnings.0.into_inner().unwrap()
}

/// Writes a small data set of 60 training images to `folder`.
pub(crate) fn synthetic(folder: &Path) -> Dataset {
    let with = json!({"source": "synthetic", "train": 60, "test": 20});
    run::<DatasetStage>(with, &[], folder).unwrap();
    Dataset::load(&folder.join("dataset")).unwrap()
}
