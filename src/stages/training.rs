//! What the stages that train or test networks share: their inputs, and how a running stage is watched.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Map, Value, json};

use super::measure::{self, Measured};
use super::{Artifact, Context, Input, Observer, Outcome, Output, ParamError, StageError};
use crate::attacks::Trigger;
use crate::data::{Dataset, InvalidParam, Overlay, Samples, TrainView, load_indices};
use crate::models::{Model, ModelError, Spec, Weights};
use crate::nn::Network;
use crate::shape::Shape;
use crate::train::{Frozen, Progress, Session, TrainError, Unheard, Watch};

/// The port of the images that a stage trains on.
pub(super) const DATASET: Input = Input {
    name: "dataset",
    takes: Artifact::Dataset,
    also: &[("indices", Artifact::Indices)],
    required: true,
    about: "What to train on: a data set, or a split of one.",
};

/// The port of the trigger that a stage which trains is tested with.
pub(super) const TRIGGER: Input = Input {
    name: "trigger",
    takes: Artifact::Trigger,
    also: &[],
    required: false,
    about: "If connected, the test images tell ACC, ASR and RA before the first epoch and after each, in the log \
            and the events. The training does not depend on them.",
};

/// The output of a stage that trains.
pub(super) const MODEL: Output =
    Output { name: "model", makes: Artifact::Model, about: "The network after the last epoch." };

/// The training images of the port `dataset`, with the port `poison` over them.
pub(super) fn view(context: &Context<'_>) -> Result<Arc<TrainView>, StageError> {
    let dataset = Dataset::load(context.input("dataset")?)?;
    let indices = context.optional_input("dataset.indices").map(load_indices).transpose()?;
    let overlay = context.optional_input("poison").map(Overlay::load).transpose()?;
    Ok(Arc::new(TrainView::new(Arc::new(dataset), indices, overlay)?))
}

/// A model from a port, whose network can run.
pub(super) struct Loaded {
    pub spec: Spec,
    pub network: Network,
    pub weights: Weights,
}

impl Loaded {
    /// Loads the model of `port` and checks that it was made for such images.
    ///
    /// # Errors
    ///
    /// An unreadable file, or another image size or number of classes than the data set's.
    pub fn from(context: &Context<'_>, port: &str, dataset: &Dataset) -> Result<Self, StageError> {
        let Model { spec, weights } = Model::load(context.input(port)?)?;
        let network = network(&spec, port, dataset)?;
        Ok(Self { spec, network, weights })
    }

    /// The network as one that is looked at and not trained.
    pub fn freeze(self) -> Result<Frozen, StageError> {
        Ok(Frozen::new(self.network, &self.weights)?)
    }
}

/// The network of a spec from `port`, which must be for such images.
///
/// # Errors
///
/// Another image size or number of classes than the data set's.
pub(super) fn network(spec: &Spec, port: &str, dataset: &Dataset) -> Result<Network, StageError> {
    let of_model = (spec.image, spec.classes);
    let of_data = (dataset.shape(), dataset.classes.len());
    if of_model != of_data {
        let tell = |(shape, classes): (Shape, usize)| format!("images of {shape} in {classes} classes");
        let (model, data) = (tell(of_model), tell(of_data));
        let advice = "connect the data set that the model was trained on";
        return Err(StageError::Failed(format!("`{port}` reads {model}, `dataset` has {data}; {advice}")));
    }
    Ok(Network::new(spec.graph()))
}

/// Writes a model to the output `model`.
///
/// # Errors
///
/// A file that cannot be written.
pub(super) fn finish(
    spec: Spec,
    weights: Weights,
    samples: &TrainView,
    context: &Context<'_>,
) -> Result<Outcome, StageError> {
    let model = Model { spec, weights };
    model.save(&context.output(MODEL.name))?;
    let metrics = [("images", samples.len()), ("parameters", model.weights.theta.len())];
    let metrics: Map<String, Value> =
        metrics.into_iter().map(|(name, count)| (name.to_owned(), json!(count))).collect();
    Ok(Outcome { passed_on: vec![], metrics })
}

/// Tells the executor's observer how a training is, and stops it when the executor says so.
pub(super) struct Watcher<'a> {
    observer: &'a dyn Observer,
    stop: &'a AtomicBool,
    seed: u64,
    partial: &'a Path,
    /// What every epoch is tested with.
    test: Option<(&'a Dataset, Trigger)>,
}

impl<'a> Watcher<'a> {
    pub fn new(context: &Context<'a>) -> Self {
        let Context { observer, stop, seed, partial, .. } = *context;
        Self { observer, stop, seed, partial, test: None }
    }

    /// One that tests every epoch on the test images of `dataset` if the port [`TRIGGER`] is connected.
    ///
    /// # Errors
    ///
    /// A trigger that is unreadable or for other images.
    pub fn testing(context: &Context<'a>, dataset: &'a Dataset) -> Result<Self, StageError> {
        let test = measure::trigger(context, dataset)?.map(|trigger| (dataset, trigger));
        Ok(Self { test, ..Self::new(context) })
    }

    /// A training whose checkpoints outlive a killed attempt at this stage.
    pub fn session(&self) -> Session<'_> {
        Session { seed: self.seed, watch: self, checkpoints: self.partial }
    }
}

impl Watch for Watcher<'_> {
    fn progress(&self, progress: &Progress) {
        self.observer.progress(progress);
    }

    fn note(&self, line: &str) {
        self.observer.note(line);
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn test(&self, network: &Network, weights: &Weights) -> Result<Vec<(&'static str, f64)>, TrainError> {
        let Some((dataset, trigger)) = &self.test else { return Ok(vec![]) };
        let measured = Measured::of(network, weights, dataset, Some(trigger), &Unheard(self.stop))?;
        Ok(measured.shown())
    }
}

/// Parameter errors of a library type as those of a stage.
pub(super) fn param_errors(wrong: Vec<InvalidParam>) -> Vec<ParamError> {
    wrong.into_iter().map(ParamError::from).collect()
}

impl From<TrainError> for StageError {
    fn from(error: TrainError) -> Self {
        match error {
            TrainError::Stopped => Self::Stopped,
            TrainError::Checkpoint { path, source } => Self::Io { path, source },
            other => Self::Failed(other.to_string()),
        }
    }
}

impl From<ModelError> for StageError {
    fn from(error: ModelError) -> Self {
        match error.into_io() {
            Ok((path, source)) => Self::Io { path, source },
            Err(error) => Self::Failed(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests;
