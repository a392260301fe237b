//! Shared code of the stages that train or test networks: their inputs, and the tests during a training.

use std::sync::Arc;

use serde_json::json;

use super::measure::{self, Measured};
use super::{Artifact, Context, Input, Outcome, Output, ParamError, StageError};
use crate::attacks::Trigger;
use crate::data::{Dataset, InvalidParam, Overlay, Samples, TrainView, load_indices};
use crate::models::{Model, ModelError, Spec, Weights};
use crate::nn::Network;
use crate::shape::Shape;
use crate::train::{Frozen, Observer, Progress, Session, Silent, TrainError};

/// The port of the images that a stage trains on.
pub(super) const DATASET: Input = Input {
    name: "dataset",
    takes: Artifact::Dataset,
    also: &[("indices", Artifact::Indices)],
    required: true,
    about: "The images to train on: a data set, or a split of one.",
};

/// The port of the trigger for the tests during a training.
pub(super) const TRIGGER: Input = Input::optional(
    "trigger",
    Artifact::Trigger,
    "If connected, ACC, ASR and RA on the test images are measured before the first epoch and after each, for \
            the log and the events. The training does not depend on them.",
);

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

/// A model from a port, with a network that can run.
pub(super) struct Loaded {
    pub spec: Spec,
    pub network: Network,
    pub weights: Weights,
}

impl Loaded {
    /// Loads the model of `port` and checks that it fits the data set's images.
    ///
    /// # Errors
    ///
    /// An unreadable file, or an image size or number of classes that differs from the data set's.
    pub fn from(context: &Context<'_>, port: &str, dataset: &Dataset) -> Result<Self, StageError> {
        let Model { spec, weights } = Model::load(context.input(port)?)?;
        let network = network(context, &spec, port, dataset)?;
        Ok(Self { spec, network, weights })
    }

    /// The network for inference, not for training.
    pub fn freeze(self) -> Result<Frozen, StageError> {
        Ok(Frozen::new(self.network, &self.weights)?)
    }
}

/// The network of a spec from `port`. Checks that it fits the data set's images.
///
/// # Errors
///
/// An image size or number of classes that differs from the data set's, or a network that the backend does not support.
pub(super) fn network(
    context: &Context<'_>,
    spec: &Spec,
    port: &str,
    dataset: &Dataset,
) -> Result<Network, StageError> {
    let of_model = (spec.image, spec.classes);
    let of_data = (dataset.shape(), dataset.classes.len());
    if of_model != of_data {
        let text = |(shape, classes): (Shape, usize)| format!("images of {shape} in {classes} classes");
        let (model, data) = (text(of_model), text(of_data));
        return Err(StageError::Unfit {
            problem: format!("`{port}` reads {model}, `dataset` has {data}"),
            help: "connect the data set that the model was trained on".to_owned(),
        });
    }
    Ok(Network::new(spec.graph(), context.backend)?)
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
    let parameters = model.weights.theta.len();
    Ok(Outcome::of([("images", json!(samples.len())), ("parameters", json!(parameters))]))
}

/// The context of a training that tests the network after every epoch.
pub(super) struct Tested<'a> {
    context: &'a Context<'a>,
    /// The tests after every epoch.
    test: Option<(&'a Dataset, Trigger)>,
}

impl<'a> Tested<'a> {
    /// Tests on the test images of `dataset` if the port [`TRIGGER`] is connected, and otherwise never.
    ///
    /// # Errors
    ///
    /// An unreadable trigger, or a trigger for another image size.
    pub fn new(context: &'a Context<'a>, dataset: &'a Dataset) -> Result<Self, StageError> {
        let test = measure::trigger(context, dataset)?.map(|trigger| (dataset, trigger));
        Ok(Self { context, test })
    }

    /// Same as [`Context::session`].
    pub fn session(&self) -> Session<'_> {
        Session { observer: self, ..self.context.session() }
    }
}

impl Observer for Tested<'_> {
    fn progress(&self, progress: &Progress) {
        self.context.progress(progress);
    }

    fn note(&self, line: &str) {
        self.context.note(line);
    }

    fn warn(&self, line: &str) {
        self.context.warn(line);
    }

    fn stopped(&self) -> bool {
        self.context.stopped()
    }

    fn test(&self, network: &Network, weights: &Weights) -> Result<Vec<(&'static str, f64)>, TrainError> {
        let Some((dataset, trigger)) = &self.test else { return Ok(vec![]) };
        let measured = Measured::of(network, weights, dataset, Some(trigger), &Silent(self.context.stop))?;
        Ok(measured.each_epoch())
    }
}

/// Converts the parameter errors of a library type into those of a stage.
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
