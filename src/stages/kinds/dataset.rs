//! `dataset`: reads images, or generates them from the seed.

use std::path::PathBuf;

use serde_json::json;

use crate::data::fetch::PublicDataset;
use crate::data::readers::Source;
use crate::stages::{Artifact, Context, Input, Kind, Observer, Outcome, Output, ParamError, StageError};

/// The stage kind `dataset`.
pub struct DatasetStage;

impl Kind for DatasetStage {
    const KIND: &'static str = "dataset";
    const VERSION: u32 = 1;
    const ABOUT: &'static str = "Reads a data set from files, or generates the synthetic one from the seed.";
    const INPUTS: &'static [Input] = &[];
    const OUTPUTS: &'static [Output] = &[Output {
        name: "dataset",
        makes: Artifact::Dataset,
        about: "Training and test images with their labels and the names of the classes.",
    }];
    type Params = Source;

    fn check(params: &Source) -> Vec<ParamError> {
        params.get().check().into_iter().map(ParamError::from).collect()
    }

    fn seeded(params: &Source) -> bool {
        params.get().seeded()
    }

    fn sources(params: &Source) -> Vec<PathBuf> {
        params.get().path().map(PathBuf::from).into_iter().collect()
    }

    fn classes(params: &Source) -> Option<usize> {
        params.get().classes()
    }

    fn advice(params: &Source, stage: &str) -> Option<String> {
        let with = format!("stages.{stage}.with");
        Some(match params.get().public() {
            Some(PublicDataset { name, source, .. }) => format!(
                "`argd-pipe data fetch {name}` downloads {name}; then add \
                 `--set {with}.source={source} --set {with}.path=$(argd-pipe data path {name})`"
            ),
            None => format!(
                "`argd-pipe data ls` lists public data sets; `argd-pipe data fetch NAME` downloads one and \
                 prints the values of `{with}.source` and `{with}.path`"
            ),
        })
    }

    fn run(params: &Source, context: &mut Context<'_>) -> Result<Outcome, StageError> {
        let dataset = params.get().read(context.seed)?;
        params.get().passed_over().iter().for_each(|warning| context.warn(warning));
        dataset.save(&context.output("dataset"))?;
        Ok(Outcome::of([
            ("train_images", json!(dataset.train.len())),
            ("test_images", json!(dataset.test.len())),
            ("classes", json!(dataset.classes.len())),
        ]))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::data::Dataset;
    use crate::stages::kind::boxed;
    use crate::stages::tests::run::{run, warnings_of};

    #[test]
    fn a_data_set_is_written_and_counted() {
        let folder = tempfile::tempdir().unwrap();
        let with = json!({"source": "synthetic", "train": 60, "test": 20});
        let outcome = run::<DatasetStage>(with, &[], folder.path()).unwrap();
        let counts = json!({"train_images": 60, "test_images": 20, "classes": 10});
        assert_eq!(Value::Object(outcome.metrics), counts);
        assert_eq!(Dataset::load(&folder.path().join("dataset")).unwrap().train.len(), 60);
    }

    #[test]
    fn a_missing_folder_is_a_missing_input_with_a_hint() {
        let folder = tempfile::tempdir().unwrap();
        for source in ["image-folder", "cifar10", "cifar100", "idx", "gtsrb"] {
            let with = json!({"source": source, "path": folder.path().join("nowhere")});
            let error = run::<DatasetStage>(with, &[], folder.path()).unwrap_err();
            assert!(matches!(&error, StageError::InputMissing { .. }), "{error}");
            assert!(miette::Diagnostic::help(&error).unwrap().to_string().contains("`path`"), "{error}");
        }
    }

    #[test]
    fn pictures_of_other_formats_are_warned_about() {
        let folder = tempfile::tempdir().unwrap();
        for file in ["train/a/0.png", "train/b/0.png", "test/a/0.png", "test/b/0.png"] {
            let path = folder.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            image::RgbImage::new(4, 4).save(path).unwrap();
        }
        let with = || json!({"source": "image-folder", "path": folder.path()});
        assert_eq!(warnings_of::<DatasetStage>(with(), &[], folder.path()), [""; 0]);
        std::fs::write(folder.path().join("train/a/1.webp"), "x").unwrap();
        let warnings = warnings_of::<DatasetStage>(with(), &[], folder.path()).concat();
        assert!(warnings.starts_with("passed over 1 picture (1 .webp): only"), "{warnings}");
    }

    #[test]
    fn the_path_is_a_source_and_not_a_parameter() {
        let bound = boxed::<DatasetStage>().bind(&json!({"source": "idx", "path": "data/mnist"})).unwrap();
        assert_eq!(bound.sources(), [PathBuf::from("data/mnist")]);
        assert_eq!(bound.params(), json!({"source": "idx", "to_rgb": true, "pad_to": 32, "classes": 10}));
        assert!(!bound.seeded());
        assert!(boxed::<DatasetStage>().bind(&json!({"source": "synthetic"})).unwrap().seeded());
    }

    #[test]
    fn parameters_out_of_range_are_refused_by_name() {
        let wrong =
            boxed::<DatasetStage>().bind(&json!({"source": "synthetic", "classes": 1})).err().unwrap();
        assert_eq!(wrong[0].path, ["classes"]);
    }
}
