//! Ports: what stages hand to each other, and the names that a manifest gives to it.

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

impl Input {
    /// An input that `needs` must name.
    pub const fn required(name: &'static str, takes: Artifact, about: &'static str) -> Self {
        Self { name, takes, also: &[], required: true, about }
    }

    /// An input that `needs` may leave out.
    pub const fn optional(name: &'static str, takes: Artifact, about: &'static str) -> Self {
        Self { required: false, ..Self::required(name, takes, about) }
    }
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
