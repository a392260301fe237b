//! Stage kinds: the trait that a kind's file implements, and the trait that the pipeline uses.

use std::path::PathBuf;

use schemars::{JsonSchema, Schema};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{Context, Input, Need, Outcome, Output, ParamError, StageError};

/// A stage kind with typed parameters. The file of a kind implements it.
pub trait Kind: Send + Sync + 'static {
    /// The `kind` of a manifest.
    const KIND: &'static str;
    /// The version. Raise it by hand whenever the same inputs would give other outputs.
    const VERSION: u32;
    /// One line for the documentation.
    const ABOUT: &'static str;
    /// Named inputs.
    const INPUTS: &'static [Input];
    /// Named outputs.
    const OUTPUTS: &'static [Output];
    /// Parameters. Every field has a default unless the stage needs a value for it. Unknown fields are refused. Ranges
    /// are schema attributes.
    type Params: Serialize + DeserializeOwned + JsonSchema + Send + Sync + 'static;

    /// Checks relations between parameters, which the schema cannot check.
    fn check(_params: &Self::Params) -> Vec<ParamError> {
        vec![]
    }

    /// Optional inputs that these parameters require.
    fn needs(_params: &Self::Params) -> Vec<Need> {
        vec![]
    }

    /// Whether the outputs depend on the seed. Otherwise all seeds share the stage.
    fn seeded(_params: &Self::Params) -> bool {
        true
    }

    /// Whether the stage makes this output with these parameters. By default it makes every output.
    fn makes(_params: &Self::Params, _output: &Output) -> bool {
        true
    }

    /// Files and folders outside the store that the stage reads. Their content enters the key.
    fn sources(_params: &Self::Params) -> Vec<PathBuf> {
        vec![]
    }

    /// The number of classes of the data set that the stage makes, if the parameters alone give it.
    fn classes(_params: &Self::Params) -> Option<usize> {
        None
    }

    /// Checks the classes that parameters name against the number of classes of the data set at the port `dataset`.
    fn check_classes(_params: &Self::Params, _classes: usize) -> Vec<ParamError> {
        vec![]
    }

    /// How to get the files of [`Kind::sources`], for the stage `stage` of a manifest.
    fn advice(_params: &Self::Params, _stage: &str) -> Option<String> {
        None
    }

    /// Runs the stage.
    fn run(params: &Self::Params, context: &mut Context<'_>) -> Result<Outcome, StageError>;
}

/// A stage kind as the pipeline uses it.
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
    /// See [`Kind::classes`].
    fn classes(&self) -> Option<usize>;
    /// See [`Kind::check_classes`].
    fn check_classes(&self, classes: usize) -> Vec<ParamError>;
    /// See [`Kind::advice`].
    fn advice(&self, stage: &str) -> Option<String>;
    /// Runs the stage.
    fn run(&self, context: &mut Context<'_>) -> Result<Outcome, StageError>;
}

/// A kind without its type.
struct Boxed<K>(std::marker::PhantomData<fn() -> K>);

/// A kind's parameters without their type.
struct WithParams<K: Kind>(K::Params);

impl<K: Kind> Stage for Boxed<K> {
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
            vec![ParamError { path, message: error.into_inner().to_string(), help: None }]
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

    fn classes(&self) -> Option<usize> {
        K::classes(&self.0)
    }

    fn check_classes(&self, classes: usize) -> Vec<ParamError> {
        K::check_classes(&self.0, classes)
    }

    fn advice(&self, stage: &str) -> Option<String> {
        K::advice(&self.0, stage)
    }

    fn run(&self, context: &mut Context<'_>) -> Result<Outcome, StageError> {
        K::run(&self.0, context)
    }
}

/// Wraps a typed kind for the registry.
pub(super) fn boxed<K: Kind>() -> Box<dyn Stage> {
    Box::new(Boxed::<K>(std::marker::PhantomData))
}
