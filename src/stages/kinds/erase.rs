//! `erase`: removes the backdoor from a model with a defense, given clean images.

use serde_json::{Map, Value};

use crate::defenses::{AnyDefense, Case};
use crate::stages::training::{self, Loaded, Tested};
use crate::stages::{
    Artifact, Context, Input, Kind, Need, Observer, Outcome, Output, ParamError, StageError,
};

/// The stage kind `erase`.
pub struct EraseStage;

impl Kind for EraseStage {
    const KIND: &'static str = "erase";
    const VERSION: u32 = 1;
    const ABOUT: &'static str = "Removes the backdoor from a model with a defense, given clean images.";
    const INPUTS: &'static [Input] = &[
        Input::required("student", Artifact::Model, "The model with the backdoor."),
        Input::optional(
            "teacher",
            Artifact::Model,
            "The model that `nad` and `argd` learn from, and that `mcr` connects with the student. Other methods \
                    do not use it.",
        ),
        training::DATASET,
        training::TRIGGER,
    ];
    const OUTPUTS: &'static [Output] = &[
        training::MODEL,
        Output {
            name: "curve",
            makes: Artifact::Curve,
            about: "The curve from the student to the teacher. Only the method `mcr` makes one.",
        },
    ];
    type Params = AnyDefense;

    fn check(params: &AnyDefense) -> Vec<ParamError> {
        training::param_errors(params.get().check())
    }

    fn needs(params: &AnyDefense) -> Vec<Need> {
        let teacher = Need { port: "teacher", parameter: "method" };
        params.get().needs_teacher().then_some(teacher).into_iter().collect()
    }

    fn makes(params: &AnyDefense, output: &Output) -> bool {
        output.makes != Artifact::Curve || params.get().makes_curve()
    }

    fn run(params: &AnyDefense, context: &mut Context<'_>) -> Result<Outcome, StageError> {
        let samples = training::view(context)?;
        let Loaded { spec, network, weights } = Loaded::from(context, "student", samples.dataset())?;
        let teacher = if params.get().needs_teacher() {
            Some(Loaded::from(context, "teacher", samples.dataset())?.freeze()?)
        } else {
            None
        };
        let tested = Tested::new(context, samples.dataset())?;
        let session = tested.session();
        let before = weights.clone();
        let case = Case { network: &network, student: weights, teacher, samples: samples.clone(), session };
        let erased = params.get().erase(case)?;
        if erased.weights == before {
            context.warn(&unchanged(&erased.metrics));
        }
        if let Some(curve) = erased.curve {
            curve.save(&spec, &context.output("curve"))?;
        }
        let mut outcome = training::finish(spec, erased.weights, &samples, context)?;
        outcome.metrics.extend(erased.metrics);
        Ok(outcome)
    }
}

/// The warning about a defense that returned the student, with its own findings.
fn unchanged(metrics: &Map<String, Value>) -> String {
    let count = |name: &str| metrics.get(name).and_then(Value::as_u64);
    let why = match (count("pruned"), count("channels"), metrics.get("flags").and_then(Value::as_u64)) {
        (Some(0), Some(channels), _) => format!(" (pruned 0 of {channels} channels)"),
        (_, _, Some(0)) => " (no class was flagged)".to_owned(),
        _ => String::new(),
    };
    format!("the defense changed nothing{why}: the output is the student")
}
