//! `poison`: draws an attack's trigger and stamps it on a part of the training images.

use serde_json::json;

use super::{Artifact, Context, Input, Kind, Outcome, Output, ParamError, StageError};
use crate::attacks::{AnyAttack, poison};
use crate::data::{Dataset, load_indices};

/// The stage kind `poison`.
pub struct PoisonStage;

impl Kind for PoisonStage {
    const KIND: &'static str = "poison";
    const VERSION: u32 = 1;
    const ABOUT: &'static str = "Plants an attack's trigger in a part of the training images.";
    const INPUTS: &'static [Input] = &[Input {
        name: "dataset",
        takes: Artifact::Dataset,
        also: &[("indices", Artifact::Indices)],
        required: true,
        about: "What to poison: a data set, or a split of one.",
    }];
    const OUTPUTS: &'static [Output] = &[
        Output {
            name: "overlay",
            makes: Artifact::Overlay,
            about: "The poisoned training images with their labels.",
        },
        Output { name: "trigger", makes: Artifact::Trigger, about: "What evaluation stamps on test images." },
    ];
    type Params = AnyAttack;

    fn check(params: &AnyAttack) -> Vec<ParamError> {
        let attack = params.attack();
        let wrong = attack.check().into_iter().chain(attack.poisoning().check());
        wrong.map(ParamError::from).collect()
    }

    fn run(params: &AnyAttack, context: &mut Context<'_>) -> Result<Outcome, StageError> {
        let dataset = Dataset::load(context.input("dataset")?)?;
        let pool = context.optional_input("dataset.indices").map(load_indices).transpose()?;
        let poisoned = poison(params, &dataset, pool.as_deref(), context.seed)?;
        poisoned.overlay.save(&context.output("overlay"), dataset.classes.len())?;
        poisoned.trigger.save(&context.output("trigger"))?;
        let metrics = [
            ("poisoned".to_owned(), json!(poisoned.overlay.indices().len())),
            ("rate_actual".to_owned(), json!(poisoned.rate_actual)),
        ];
        Ok(Outcome { passed_on: vec![], metrics: metrics.into_iter().collect() })
    }
}

#[cfg(test)]
mod tests {
    use super::super::dataset::tests::{run, synthetic};
    use super::super::erase;
    use super::*;
    use crate::attacks::Trigger;
    use crate::data::Overlay;

    #[test]
    fn every_attack_leaves_overlay_trigger_and_an_honest_count() {
        for attack in ["badnets", "blend", "sig", "trojan", "random-pixel"] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path();
            let dataset = synthetic(path);
            let with = json!({"attack": attack, "rate": 0.5, "target": 2});
            let outcome = run::<PoisonStage>(with, &[("dataset", "dataset")], path).unwrap();
            let overlay = Overlay::load(&path.join("overlay")).unwrap();
            let trigger = Trigger::load(&path.join("trigger")).unwrap();

            let expected = if attack == "sig" { 3 } else { 30 };
            assert_eq!(outcome.metrics["poisoned"], json!(expected), "{attack}");
            assert_eq!(outcome.metrics["rate_actual"], json!(f64::from(expected) / 60.0), "{attack}");
            assert_eq!(trigger.attack(), attack);
            assert_eq!(&trigger.stamp(&dataset.train, overlay.indices()).unwrap(), overlay.images());
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_bytes() {
        let bytes = || {
            let folder = tempfile::tempdir().unwrap();
            synthetic(folder.path());
            run::<PoisonStage>(json!({"attack": "blend"}), &[("dataset", "dataset")], folder.path()).unwrap();
            ["overlay", "trigger"].map(|file| std::fs::read(folder.path().join(file)).unwrap())
        };
        assert_eq!(bytes(), bytes());
    }

    #[test]
    fn wrong_parameters_are_refused_by_name() {
        let refused = |with| erase::<PoisonStage>().bind(&with).err().unwrap().remove(0);
        assert_eq!(refused(json!({"attack": "badnets", "row": 3})).path, ["row"]);
        assert_eq!(
            refused(json!({"attack": "badnets", "rule": "all2all", "rate_of": "non_target"})).path,
            ["rate_of"]
        );
        let unknown = refused(json!({"attack": "sig", "pattern": "grid"})).message;
        assert!(unknown.contains("unknown field `pattern`, expected one of `form`"), "{unknown}");
    }

    #[test]
    fn a_target_without_a_class_and_a_patch_that_does_not_fit_fail_the_stage() {
        let folder = tempfile::tempdir().unwrap();
        synthetic(folder.path());
        let message = |with| {
            run::<PoisonStage>(with, &[("dataset", "dataset")], folder.path()).unwrap_err().to_string()
        };
        assert!(
            message(json!({"attack": "badnets", "target": 10}))
                .contains("target 10, but the data set has 10 classes")
        );
        assert!(
            message(json!({"attack": "badnets", "size": 40})).contains("does not fit into images of 32x32")
        );
    }
}
