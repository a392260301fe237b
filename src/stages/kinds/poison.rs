//! `poison`: makes an attack's trigger and stamps it on a part of the training images.

use serde_json::json;

use std::path::PathBuf;

use crate::attacks::{AnyAttack, Case, poison};
use crate::data::readers::{passed_over, read_pictures};
use crate::data::{Dataset, load_indices};
use crate::stages::training::{self, Loaded};
use crate::stages::{
    Artifact, Context, Input, Kind, Need, Observer, Outcome, Output, ParamError, StageError,
};

/// The stage kind `poison`.
pub struct PoisonStage;

impl Kind for PoisonStage {
    const KIND: &'static str = "poison";
    const VERSION: u32 = 1;
    const ABOUT: &'static str = "Plants an attack's trigger in a part of the training images.";
    const INPUTS: &'static [Input] = &[
        Input { about: "The images to poison: a data set, or a split of one.", ..training::DATASET },
        Input::optional(
            "model",
            Artifact::Model,
            "A clean model of the data set, for attacks that need one. Other attacks do not use it.",
        ),
    ];
    const OUTPUTS: &'static [Output] = &[
        Output {
            name: "overlay",
            makes: Artifact::Overlay,
            about: "The poisoned training images with their labels.",
        },
        Output {
            name: "trigger",
            makes: Artifact::Trigger,
            about: "The trigger, which evaluations stamp on test images.",
        },
    ];
    type Params = AnyAttack;

    fn check(params: &AnyAttack) -> Vec<ParamError> {
        let wrong = params.attack().check().into_iter().chain(params.poisoning().check());
        wrong.map(ParamError::from).collect()
    }

    fn check_classes(params: &AnyAttack, classes: usize) -> Vec<ParamError> {
        training::param_errors(params.poisoning().check_classes(classes))
    }

    fn needs(params: &AnyAttack) -> Vec<Need> {
        let model = Need { port: "model", parameter: "attack" };
        params.attack().needs_model().then_some(model).into_iter().collect()
    }

    fn sources(params: &AnyAttack) -> Vec<PathBuf> {
        params.attack().pictures().map(PathBuf::from).into_iter().collect()
    }

    fn run(params: &AnyAttack, context: &mut Context<'_>) -> Result<Outcome, StageError> {
        let dataset = Dataset::load(context.input("dataset")?)?;
        let pool = context.optional_input("dataset.indices").map(load_indices).transpose()?;
        let attack = params.attack();
        let pictures = attack.pictures().map(|path| read_pictures(path, dataset.shape())).transpose()?;
        attack
            .pictures()
            .and_then(|path| passed_over(&[path]))
            .iter()
            .for_each(|warning| context.warn(warning));
        let model = if attack.needs_model() {
            Some(Loaded::from(context, "model", &dataset)?.freeze()?)
        } else {
            None
        };
        let case = Case {
            dataset: &dataset,
            pool: pool.as_deref(),
            pictures: pictures.as_ref(),
            model: model.as_ref(),
            poisoning: params.poisoning(),
            seed: context.seed,
            observer: context,
        };
        let poisoned = poison(params, &case)?;
        poisoned.overlay.save(&context.output("overlay"), dataset.classes.len())?;
        poisoned.trigger.save(&context.output("trigger"))?;
        Ok(Outcome::of([
            ("poisoned", json!(poisoned.poisoned)),
            ("covers", json!(poisoned.covers)),
            ("rate_actual", json!(poisoned.rate_actual)),
        ]))
    }
}

#[cfg(test)]
mod tests {
    use super::super::train::TrainStage;
    use super::*;
    use crate::attacks::{Rule, Trigger};
    use crate::data::Overlay;
    use crate::stages::kind::boxed;
    use crate::stages::tests::run::{run, synthetic};

    #[test]
    fn every_attack_writes_an_overlay_a_trigger_and_correct_counts() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        let dataset = synthetic(path);
        let short = json!({"model": "wrn-10-1", "epochs": 1});
        run::<TrainStage>(short, &[("dataset", "dataset")], path).unwrap();
        for &attack in AnyAttack::NAMES {
            let mut with = json!({"attack": attack, "target": 2});
            let mut params: AnyAttack = serde_json::from_value(with.clone()).unwrap();
            let clean_label = params.poisoning().rule == Rule::CleanLabel;
            with["rate"] = json!(if clean_label { 0.5 } else { 0.1 });
            if params.attack().needs_model() {
                with["steps"] = json!(2);
            }
            params = serde_json::from_value(with.clone()).unwrap();
            let outcome =
                run::<PoisonStage>(with, &[("dataset", "dataset"), ("model", "model")], path).unwrap();
            let overlay = Overlay::load(&path.join("overlay")).unwrap();
            let trigger = Trigger::load(&path.join("trigger")).unwrap();

            let poisoned = if clean_label { 3 } else { 6 };
            assert_eq!(outcome.metrics["poisoned"], json!(poisoned), "{attack}");
            assert_eq!(outcome.metrics["rate_actual"], json!(f64::from(poisoned) / 60.0), "{attack}");
            let covers = outcome.metrics["covers"].as_u64().unwrap();
            assert_eq!(overlay.images().len() as u64, poisoned as u64 + covers, "{attack}");
            assert_eq!(trigger.attack(), attack);
            if covers == 0 && !params.attack().needs_model() {
                let stamped = trigger.stamp(&dataset.train, overlay.indices()).unwrap();
                assert_eq!(&stamped, overlay.images(), "{attack}");
            }
        }
    }

    #[test]
    fn some_attacks_need_a_model() {
        let needs = |attack: &str| boxed::<PoisonStage>().bind(&json!({"attack": attack})).unwrap().needs();
        let model = Need { port: "model", parameter: "attack" };
        assert_eq!(needs("trojan-nn"), [model]);
        assert_eq!(needs("label-consistent"), [model]);
        assert_eq!(needs("badnets"), []);
    }

    #[test]
    fn a_picture_is_a_source_and_not_a_parameter() {
        let bound = boxed::<PoisonStage>().bind(&json!({"attack": "blend", "image": "kitty.png"})).unwrap();
        assert_eq!(bound.sources(), [PathBuf::from("kitty.png")]);
        assert_eq!(bound.params().get("image"), None);
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
        let refused = |with| boxed::<PoisonStage>().bind(&with).err().unwrap().remove(0);
        assert_eq!(refused(json!({"attack": "badnets", "row": 3})).path, ["row"]);
        assert_eq!(
            refused(json!({"attack": "badnets", "rule": "all2all", "rate_of": "non_target"})).path,
            ["rate_of"]
        );
        let unknown = refused(json!({"attack": "sig", "pattern": "grid"})).message;
        assert!(unknown.contains("unknown field `pattern`, expected one of `quirks`"), "{unknown}");
    }

    #[test]
    fn an_unknown_target_and_a_patch_that_does_not_fit_fail_the_stage() {
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
