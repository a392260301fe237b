//! `erase`: removes the backdoor from a model with a defense, given clean images.

use super::training::{self, Loaded, Watcher};
use super::{Artifact, Context, Input, Kind, Outcome, Output, ParamError, StageError};
use crate::data::Dataset;
use crate::defenses::{AnyDefense, Frozen, Task};

/// The stage kind `erase`.
pub struct EraseStage;

impl Kind for EraseStage {
    const KIND: &'static str = "erase";
    const VERSION: u32 = 1;
    const ABOUT: &'static str = "Removes the backdoor from a model with a defense, given clean images.";
    const INPUTS: &'static [Input] = &[
        Input {
            name: "student",
            takes: Artifact::Model,
            also: &[],
            required: true,
            about: "The model with the backdoor.",
        },
        Input {
            name: "teacher",
            takes: Artifact::Model,
            also: &[],
            required: false,
            about: "The model that `nad` and `argd` learn from, and that `mcr` connects the student to; other methods do \
                    not look at it.",
        },
        training::DATASET,
    ];
    const OUTPUTS: &'static [Output] = &[
        training::MODEL,
        Output {
            name: "curve",
            makes: Artifact::Curve,
            about: "The curve from the student to the teacher; only the method `mcr` makes one.",
        },
    ];
    type Params = AnyDefense;

    fn check(params: &AnyDefense) -> Vec<ParamError> {
        training::param_errors(params.defense().check())
    }

    fn makes(params: &AnyDefense, output: &Output) -> bool {
        output.makes != Artifact::Curve || params.defense().makes_curve()
    }

    fn run(params: &AnyDefense, context: &mut Context<'_>) -> Result<Outcome, StageError> {
        let samples = training::view(context)?;
        let mut student = Loaded::from(context, "student", samples.dataset())?;
        let teacher = teacher(params, context, samples.dataset())?;
        let weights = student.take_weights();
        let watcher = Watcher::new(context);
        let (network, session) = (&student.network, watcher.session());
        let task = Task { network, student: weights, teacher, samples: samples.clone(), session };
        let erased = params.defense().erase(task)?;
        if let Some(curve) = erased.curve {
            curve.save(&student.model, &context.output("curve"))?;
        }
        let mut outcome = student.finish(erased.weights, &samples, context)?;
        outcome.metrics.extend(erased.metrics);
        Ok(outcome)
    }
}

/// Loads the teacher, if the defense has a use for it.
fn teacher(
    params: &AnyDefense,
    context: &Context<'_>,
    dataset: &Dataset,
) -> Result<Option<Frozen>, StageError> {
    if !params.defense().needs_teacher() {
        return Ok(None);
    }
    if context.optional_input("teacher").is_none() {
        let (name, advice) = (params.name(), "add `teacher: <a stage that makes a model>` to `needs`");
        return Err(StageError::Failed(format!("method `{name}` needs a teacher; {advice}")));
    }
    let mut teacher = Loaded::from(context, "teacher", dataset)?;
    let weights = teacher.take_weights();
    Ok(Some(Frozen::new(teacher.network, &weights)?))
}
