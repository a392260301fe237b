//! What a manifest's stage kinds are: the trait, the registry, and one thin file per kind.
//!
//! A stage turns parameters and input artifacts into output artifacts. It knows files, but neither YAML nor the
//! store nor the terminal: the executor hands it a [`Context`] and commits what it leaves there.
//! Adding a kind is one file and one line in [`all`].

mod baseline;
mod checkpoint;
mod context;
mod convert;
mod dataset;
mod detect;
mod erase;
mod error;
mod evaluate;
mod export;
mod finetune;
mod measure;
mod point;
mod poison;
mod require;
mod split;
mod train;
mod training;

pub use crate::train::Progress;
pub use context::{Context, Observer, Outcome};
pub use error::StageError;
pub use export::{ExportError, export};

use std::path::PathBuf;

use schemars::{JsonSchema, Schema};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// What an artifact holds; ports connect by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Artifact {
    /// Training and test images with labels.
    Dataset,
    /// Positions in a data set's training images: a split.
    Indices,
    /// The training images that an attack changed, with their new labels.
    Overlay,
    /// What an attack stamps on an image, and the label rule that goes with it.
    Trigger,
    /// A network's architecture, parameters and running statistics.
    Model,
    /// A path through the parameters of an architecture, from one model to another.
    Curve,
    /// Metrics as JSON.
    Report,
    /// Tensors that a detector's finding rests on.
    Evidence,
}

/// A named input of a stage kind.
#[derive(Clone, Copy, Debug)]
pub struct Input {
    /// Its name in `needs`.
    pub name: &'static str,
    /// What it takes. The stage that feeds it must have exactly one output of this type.
    pub takes: Artifact,
    /// What it also takes, if the stage that feeds it has it (a split's indices beside its data set);
    /// handed over as `name.part`.
    pub also: &'static [(&'static str, Artifact)],
    /// Whether `needs` must name it.
    pub required: bool,
    /// One line for the documentation.
    pub about: &'static str,
}

/// A named output of a stage kind.
#[derive(Clone, Copy, Debug)]
pub struct Output {
    /// Its name.
    pub name: &'static str,
    /// What it holds.
    pub makes: Artifact,
    /// One line for the documentation.
    pub about: &'static str,
}

/// What is wrong with a parameter, beyond what its schema says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParamError {
    /// Where, from the stage's `with` (`["pattern"]`, `["milestones", "1"]`).
    pub path: Vec<String>,
    /// What, and what to do.
    pub message: String,
}

/// An optional input that a stage cannot do without, because of a parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Need {
    /// The input.
    pub port: &'static str,
    /// The parameter whose value asks for it.
    pub parameter: &'static str,
}

/// A stage kind with its parameters typed: what the file of a kind implements.
pub trait Kind: Send + Sync + 'static {
    /// The `kind` of a manifest.
    const KIND: &'static str;
    /// Raised by hand whenever the same inputs would give other outputs.
    const VERSION: u32;
    /// One line for the documentation.
    const ABOUT: &'static str;
    /// Named inputs.
    const INPUTS: &'static [Input];
    /// Named outputs.
    const OUTPUTS: &'static [Output];
    /// Parameters. Every field has a default unless the stage makes no sense without it; unknown fields are
    /// refused; ranges are schema attributes.
    type Params: Serialize + DeserializeOwned + JsonSchema + Send + Sync + 'static;

    /// Checks what the schema cannot: relations between parameters.
    fn check(_params: &Self::Params) -> Vec<ParamError> {
        vec![]
    }

    /// Optional inputs that must be connected with these parameters.
    fn needs(_params: &Self::Params) -> Vec<Need> {
        vec![]
    }

    /// Whether the outputs depend on the seed. A stage that does not is shared by all seeds.
    fn seeded(_params: &Self::Params) -> bool {
        true
    }

    /// Whether the stage makes this output with these parameters; every one, by default.
    fn makes(_params: &Self::Params, _output: &Output) -> bool {
        true
    }

    /// Files and folders outside the store that the stage reads; their content enters the key.
    fn sources(_params: &Self::Params) -> Vec<PathBuf> {
        vec![]
    }

    /// How to come by what [`Kind::sources`] names, if there is a way, for a stage that a manifest calls `stage`.
    fn advice(_params: &Self::Params, _stage: &str) -> Option<String> {
        None
    }

    /// Runs the stage.
    fn run(params: &Self::Params, context: &mut Context<'_>) -> Result<Outcome, StageError>;
}

/// A stage kind as the pipeline sees it.
pub trait Stage: Send + Sync {
    /// The `kind` of a manifest.
    fn kind(&self) -> &'static str;
    /// The implementation's version, part of every key.
    fn version(&self) -> u32;
    /// One line for the documentation.
    fn about(&self) -> &'static str;
    /// Named inputs.
    fn inputs(&self) -> &'static [Input];
    /// Named outputs.
    fn outputs(&self) -> &'static [Output];
    /// JSON Schema of the parameters.
    fn schema(&self) -> Schema;
    /// Types the parameters (a JSON object that fits the schema) and fills in the defaults.
    fn bind(&self, with: &Value) -> Result<Box<dyn Bound>, Vec<ParamError>>;
}

/// A stage with its parameters.
pub trait Bound: Send + Sync {
    /// The parameters after defaults, for the key and the record.
    fn params(&self) -> Value;
    /// See [`Kind::needs`].
    fn needs(&self) -> Vec<Need>;
    /// See [`Kind::seeded`].
    fn seeded(&self) -> bool;
    /// See [`Kind::makes`].
    fn makes(&self, output: &Output) -> bool;
    /// See [`Kind::sources`].
    fn sources(&self) -> Vec<PathBuf>;
    /// See [`Kind::advice`].
    fn advice(&self, stage: &str) -> Option<String>;
    /// Runs the stage.
    fn run(&self, context: &mut Context<'_>) -> Result<Outcome, StageError>;
}

struct Erased<K>(std::marker::PhantomData<fn() -> K>);

struct WithParams<K: Kind>(K::Params);

impl<K: Kind> Stage for Erased<K> {
    fn kind(&self) -> &'static str {
        K::KIND
    }

    fn version(&self) -> u32 {
        K::VERSION
    }

    fn about(&self) -> &'static str {
        K::ABOUT
    }

    fn inputs(&self) -> &'static [Input] {
        K::INPUTS
    }

    fn outputs(&self) -> &'static [Output] {
        K::OUTPUTS
    }

    fn schema(&self) -> Schema {
        schemars::schema_for!(K::Params)
    }

    fn bind(&self, with: &Value) -> Result<Box<dyn Bound>, Vec<ParamError>> {
        let params: K::Params = serde_path_to_error::deserialize(with).map_err(|error| {
            let path = error.path().iter().map(ToString::to_string).collect();
            vec![ParamError { path, message: error.into_inner().to_string() }]
        })?;
        let wrong = K::check(&params);
        if wrong.is_empty() { Ok(Box::new(WithParams::<K>(params))) } else { Err(wrong) }
    }
}

impl<K: Kind> Bound for WithParams<K> {
    fn params(&self) -> Value {
        serde_json::to_value(&self.0).unwrap_or(Value::Null)
    }

    fn needs(&self) -> Vec<Need> {
        K::needs(&self.0)
    }

    fn seeded(&self) -> bool {
        K::seeded(&self.0)
    }

    fn makes(&self, output: &Output) -> bool {
        K::makes(&self.0, output)
    }

    fn sources(&self) -> Vec<PathBuf> {
        K::sources(&self.0)
    }

    fn advice(&self, stage: &str) -> Option<String> {
        K::advice(&self.0, stage)
    }

    fn run(&self, context: &mut Context<'_>) -> Result<Outcome, StageError> {
        K::run(&self.0, context)
    }
}

/// Wraps a typed kind for the registry.
fn erase<K: Kind>() -> Box<dyn Stage> {
    Box::new(Erased::<K>(std::marker::PhantomData))
}

/// Every stage kind.
pub fn all() -> Vec<Box<dyn Stage>> {
    vec![
        erase::<dataset::DatasetStage>(),
        erase::<checkpoint::CheckpointStage>(),
        erase::<poison::PoisonStage>(),
        erase::<split::SplitStage>(),
        erase::<train::TrainStage>(),
        erase::<finetune::FinetuneStage>(),
        erase::<erase::EraseStage>(),
        erase::<point::PointStage>(),
        erase::<evaluate::EvaluateStage>(),
        erase::<detect::DetectStage>(),
    ]
}
