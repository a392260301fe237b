//! `split`: chooses a part of the training images as the clean data of a defense.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::data::{Dataset, Overlay, Split, load_indices, save_indices};
use crate::stages::training;
use crate::stages::{Artifact, Context, Input, Kind, Observer, Outcome, Output, ParamError, StageError};

/// The stage kind `split`.
pub struct SplitStage;

/// How to choose the images.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SplitParams {
    /// The share of the training images to choose. The count is rounded down, but is at least 1.
    #[schemars(range(max = 1.0), extend("exclusiveMinimum" = 0.0))]
    pub ratio: f64,
    /// Choose the same share of every class.
    pub stratified: bool,
}

impl Default for SplitParams {
    fn default() -> Self {
        Self { ratio: 0.05, stratified: false }
    }
}

impl Kind for SplitStage {
    const KIND: &'static str = "split";
    const VERSION: u32 = 1;
    const ABOUT: &'static str =
        "Chooses a part of the training images by seed, as the clean data of a defense.";
    const INPUTS: &'static [Input] = &[
        Input { about: "The images to choose from: a data set, or a split of one.", ..training::DATASET },
        Input::optional(
            "poison",
            Artifact::Overlay,
            "Poisoned images, which are then never chosen. Without it they can be chosen in their clean form, as \
                    in the reference.",
        ),
    ];
    const OUTPUTS: &'static [Output] = &[
        Output { name: "dataset", makes: Artifact::Dataset, about: "The data set, passed on." },
        Output {
            name: "indices",
            makes: Artifact::Indices,
            about: "Positions of the chosen training images.",
        },
    ];
    type Params = SplitParams;

    fn check(params: &SplitParams) -> Vec<ParamError> {
        let good = params.ratio > 0.0 && params.ratio <= 1.0;
        let wrong = || ParamError {
            path: vec!["ratio".to_owned()],
            message: "must be above 0 and at most 1".to_owned(),
            help: None,
        };
        (!good).then(wrong).into_iter().collect()
    }

    fn run(params: &SplitParams, context: &mut Context<'_>) -> Result<Outcome, StageError> {
        let dataset = Dataset::load(context.input("dataset")?)?;
        let pool = match context.optional_input("dataset.indices") {
            Some(path) => load_indices(path)?,
            None => (0..dataset.train.len() as u32).collect(),
        };
        let poison = context.optional_input("poison").map(Overlay::load).transpose()?;
        let excluded = poison.as_ref().map_or(&[][..], Overlay::indices);
        let split = Split { ratio: params.ratio, stratified: params.stratified };
        let chosen = split.draw(dataset.train.labels(), &pool, excluded, context.seed)?;
        save_indices(&context.output("indices"), &chosen)?;
        if let Some(warning) = params.lacks(&dataset, &chosen) {
            context.warn(&warning);
        }
        let passed_on = vec![("dataset", "dataset")];
        Ok(Outcome { passed_on, ..Outcome::of([("images", json!(chosen.len()))]) })
    }
}

impl SplitParams {
    /// The warning about a choice that lacks classes.
    fn lacks(&self, dataset: &Dataset, chosen: &[u32]) -> Option<String> {
        let labels: BTreeSet<u32> = dataset.train.select(chosen).labels().iter().copied().collect();
        let classes = dataset.classes.len();
        let missing = classes.saturating_sub(labels.len());
        let images = if chosen.len() == 1 { "image" } else { "images" };
        let advice = if self.stratified || chosen.len() < classes {
            "raise `ratio`"
        } else {
            "raise `ratio`, or set `stratified: true`"
        };
        (missing > 0)
            .then(|| format!("{} {images}: {missing} of {classes} classes have none; {advice}", chosen.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::poison::PoisonStage;
    use super::*;
    use crate::stages::kind::boxed;
    use crate::stages::tests::run::{run, synthetic, warnings_of};

    #[test]
    fn a_split_passes_its_data_set_on_and_can_be_split_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        synthetic(path);
        let inputs = [("dataset", "dataset")];
        let outcome = run::<SplitStage>(json!({"ratio": 0.5, "stratified": true}), &inputs, path).unwrap();
        assert_eq!(
            (outcome.passed_on, &outcome.metrics["images"]),
            (vec![("dataset", "dataset")], &json!(30))
        );
        let first = load_indices(&path.join("indices")).unwrap();

        std::fs::rename(path.join("indices"), path.join("first")).unwrap();
        let inputs = [("dataset", "dataset"), ("dataset.indices", "first")];
        run::<SplitStage>(json!({"ratio": 0.1}), &inputs, path).unwrap();
        let second = load_indices(&path.join("indices")).unwrap();
        assert!(second.len() == 3 && second.iter().all(|index| first.contains(index)));
    }

    #[test]
    fn a_split_without_some_classes_is_warned_about() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        synthetic(path);
        let warnings = |with| warnings_of::<SplitStage>(with, &[("dataset", "dataset")], path);
        assert_eq!(warnings(json!({"ratio": 0.01})), ["1 image: 9 of 10 classes have none; raise `ratio`"]);
        assert_eq!(warnings(json!({"ratio": 0.2, "stratified": true})), [""; 0]);
        let some = warnings(json!({"ratio": 0.2})).concat();
        assert!(some.starts_with("12 images: ") && some.ends_with(", or set `stratified: true`"), "{some}");
    }

    #[test]
    fn connected_poisoned_images_are_not_chosen() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        synthetic(path);
        let poison = json!({"attack": "badnets", "rate": 0.5});
        run::<PoisonStage>(poison, &[("dataset", "dataset")], path).unwrap();
        let inputs = [("dataset", "dataset"), ("poison", "overlay")];
        run::<SplitStage>(json!({"ratio": 0.5}), &inputs, path).unwrap();
        let overlay = Overlay::load(&path.join("overlay")).unwrap();
        let chosen = load_indices(&path.join("indices")).unwrap();
        assert!(chosen.len() == 30 && chosen.iter().all(|&index| overlay.find(index).is_none()));
        let error = run::<SplitStage>(json!({"ratio": 0.6}), &inputs, path).unwrap_err();
        assert_eq!(error.to_string(), "the split needs 36 images, but only 30 are not poisoned");
    }

    #[test]
    fn a_ratio_out_of_range_is_refused_by_name() {
        for ratio in [0.0, 1.5] {
            let wrong = boxed::<SplitStage>().bind(&json!({"ratio": ratio})).err().unwrap();
            assert_eq!(wrong[0].path, ["ratio"]);
        }
    }
}
