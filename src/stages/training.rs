//! What the stages that train or test networks share: their inputs, and how a training is tested on its way.

use std::sync::Arc;

use serde_json::json;

use super::measure::{self, Measured};
use super::{Artifact, Context, Input, Outcome, Output, ParamError, StageError};
use crate::attacks::Trigger;
use crate::data::{Dataset, ImageShape, InvalidParam, Overlay, Samples, TrainView, load_indices};
use crate::models::{Model, ModelError};
use crate::nn::Network;
use crate::nn::graph::Shape;
use crate::train::{Frozen, Observer, Progress, Session, Silent, TrainError, Weights};

/// The port of the images that a stage trains on.
pub(super) const DATASET: Input = Input {
    name: "dataset",
    takes: Artifact::Dataset,
    also: &[("indices", Artifact::Indices)],
    required: true,
    about: "What to train on: a data set, or a split of one.",
};

/// The port of the trigger that a stage which trains is tested with.
pub(super) const TRIGGER: Input = Input::optional(
    "trigger",
    Artifact::Trigger,
    "If connected, the test images tell ACC, ASR and RA before the first epoch and after each, in the log \
            and the events. The training does not depend on them.",
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

/// A network from a port, and what the model artifact says beside its weights.
pub(super) struct Loaded {
    pub model: Model,
    pub network: Network,
}

impl Loaded {
    /// Loads the model of `port` and checks that it was made for such images.
    ///
    /// # Errors
    ///
    /// An unreadable file, or another image size or number of classes than the data set's.
    pub fn from(context: &Context<'_>, port: &str, dataset: &Dataset) -> Result<Self, StageError> {
        Self::fitting(context, Model::load(context.input(port)?)?, port, dataset)
    }

    /// Checks that `model`, from `port`, was made for such images.
    ///
    /// # Errors
    ///
    /// Another image size or number of classes than the data set's.
    pub fn fitting(
        context: &Context<'_>,
        model: Model,
        port: &str,
        dataset: &Dataset,
    ) -> Result<Self, StageError> {
        let of_model = (model.image, model.classes);
        let of_data = (shape(dataset.shape()), dataset.classes.len());
        if of_model != of_data {
            let tell = |(shape, classes): (Shape, usize)| {
                format!("images of {}x{}x{} in {classes} classes", shape.height, shape.width, shape.channels)
            };
            let (model, data) = (tell(of_model), tell(of_data));
            let advice = "connect the data set that the model was trained on";
            return Err(StageError::Failed(format!(
                "`{port}` reads {model}, `dataset` has {data}; {advice}"
            )));
        }
        let network = Network::new(model.graph(), context.backend)?;
        Ok(Self { model, network })
    }

    /// Takes the network's numbers.
    pub fn take_weights(&mut self) -> Weights {
        Weights { theta: std::mem::take(&mut self.model.theta), state: std::mem::take(&mut self.model.state) }
    }

    /// The network as one that is looked at and not trained.
    pub fn freeze(mut self) -> Result<Frozen, StageError> {
        let weights = self.take_weights();
        Ok(Frozen::new(self.network, &weights)?)
    }

    /// Writes the network with new numbers to the output `model`.
    pub fn finish(
        self,
        weights: Weights,
        samples: &TrainView,
        context: &Context<'_>,
    ) -> Result<Outcome, StageError> {
        let Weights { theta, state } = weights;
        let model = Model { theta, state, ..self.model };
        model.save(&context.output(MODEL.name))?;
        Ok(Outcome::of([("images", json!(samples.len())), ("parameters", json!(model.theta.len()))]))
    }
}

/// A data set's image shape, as networks call it.
pub(super) fn shape(ImageShape { height, width, channels }: ImageShape) -> Shape {
    Shape { height, width, channels }
}

/// The context of a training that tests the network after every epoch.
pub(super) struct Tested<'a> {
    context: &'a Context<'a>,
    /// What every epoch is tested with.
    test: Option<(&'a Dataset, Trigger)>,
}

impl<'a> Tested<'a> {
    /// Tests on the test images of `dataset` if the port [`TRIGGER`] is connected, and else not at all.
    ///
    /// # Errors
    ///
    /// A trigger that is unreadable or for other images.
    pub fn new(context: &'a Context<'a>, dataset: &'a Dataset) -> Result<Self, StageError> {
        let test = measure::trigger(context, dataset)?.map(|trigger| (dataset, trigger));
        Ok(Self { context, test })
    }

    /// As [`Context::session`].
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

    fn stopped(&self) -> bool {
        self.context.stopped()
    }

    fn test(&self, network: &Network, weights: &Weights) -> Result<Vec<(&'static str, f64)>, TrainError> {
        let Some((dataset, trigger)) = &self.test else { return Ok(vec![]) };
        let measured = Measured::of(network, weights, dataset, Some(trigger), &Silent(self.context.stop))?;
        Ok(measured.each_epoch())
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
