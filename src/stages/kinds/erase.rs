//! `erase`: removes the backdoor from a model with a defense, given clean images.

use crate::defenses::{AnyDefense, Case};
use crate::stages::training::{self, Loaded, Tested};
use crate::stages::{Artifact, Context, Input, Kind, Need, Outcome, Output, ParamError, StageError};

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
        let case = Case { network: &network, student: weights, teacher, samples: samples.clone(), session };
        let erased = params.get().erase(case)?;
        if let Some(curve) = erased.curve {
            curve.save(&spec, &context.output("curve"))?;
        }
        let mut outcome = training::finish(spec, erased.weights, &samples, context)?;
        outcome.metrics.extend(erased.metrics);
        Ok(outcome)
    }
}
