//! Ports: the typed inputs and outputs of stages.

/// The type of an artifact. Ports connect by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Artifact {
    /// Training and test images with labels.
    Dataset,
    /// Positions in a data set's training images: a split.
    Indices,
    /// The training images that an attack changed, with their new labels.
    Overlay,
    /// The trigger of an attack, and its label rule.
    Trigger,
    /// A network's architecture, parameters and running statistics.
    Model,
    /// A path through the parameters of an architecture, from one model to another.
    Curve,
    /// Metrics as JSON.
    Report,
    /// The tensors behind a detector's findings.
    Evidence,
}

/// A named input of a stage kind.
#[derive(Clone, Copy, Debug)]
pub struct Input {
    /// Its name in `needs`.
    pub name: &'static str,
    /// Its type. The stage that feeds it must have exactly one output of this type.
    pub takes: Artifact,
    /// Further outputs that it takes as `name.part`, if the stage that feeds it has them. For example, a split has
    /// indices beside its data set.
    pub also: &'static [(&'static str, Artifact)],
    /// Whether `needs` must name it.
    pub required: bool,
    /// One line for the documentation.
    pub about: &'static str,
}

impl Input {
    /// An input that `needs` must name.
    pub const fn required(name: &'static str, takes: Artifact, about: &'static str) -> Self {
        Self { name, takes, also: &[], required: true, about }
    }

    /// An input that `needs` can omit.
    pub const fn optional(name: &'static str, takes: Artifact, about: &'static str) -> Self {
        Self { required: false, ..Self::required(name, takes, about) }
    }
}

/// A named output of a stage kind.
#[derive(Clone, Copy, Debug)]
pub struct Output {
    /// Its name.
    pub name: &'static str,
    /// Its type.
    pub makes: Artifact,
    /// One line for the documentation.
    pub about: &'static str,
}

/// An error of a parameter that its schema does not express.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParamError {
    /// The path inside the stage's `with` (`["pattern"]`, `["milestones", "1"]`).
    pub path: Vec<String>,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub help: Option<String>,
}

/// An optional input that a parameter requires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Need {
    /// The input.
    pub port: &'static str,
    /// The parameter whose value requires it.
    pub parameter: &'static str,
}
