//! `checkpoint`: brings a model that another program trained into a manifest.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::data::Dataset;
use crate::models::{Architecture, Expected, ImportError, import};
use crate::nn::Normalise;
use crate::nn::graph::Shape;
use crate::stages::training::{MODEL, shape};
use crate::stages::{Artifact, Context, Input, Kind, Outcome, Output, ParamError, StageError};

/// The stage kind `checkpoint`.
pub struct CheckpointStage;

/// Which model a file holds. Nothing in the file is run, and it must hold exactly the tensors of the network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CheckpointParams {
    /// The file: PyTorch's (`.pth`, `.pt`, `.tar`; a `state_dict`, or a dict with one under `state_dict`, `model` or
    /// the like), or safetensors with PyTorch's names and layout.
    #[serde(skip_serializing)]
    pub path: PathBuf,
    /// The network.
    pub model: Architecture,
    /// Height, width and channels of the images that it reads; the data set's if `dataset` is connected.
    #[serde(default)]
    #[schemars(inner(range(min = 1, max = 65_536)))]
    pub image: Option<[usize; 3]>,
    /// Number of classes; the data set's if `dataset` is connected.
    #[serde(default)]
    #[schemars(range(min = 1, max = 65_536))]
    pub classes: Option<usize>,
    /// What was done to every pixel, a number in [0, 1], when the network was trained: (x - mean) / std for each
    /// channel. Nothing if not given, as in the NAD and ARGD repositories. BackdoorBench has `{mean: [0.4914,
    /// 0.4822, 0.4465], std: [0.247, 0.243, 0.261]}` on CIFAR-10.
    #[serde(default)]
    pub normalise: Option<Normalise>,
}

impl Kind for CheckpointStage {
    const KIND: &'static str = "checkpoint";
    const VERSION: u32 = 1;
    const ABOUT: &'static str =
        "Reads a model that another program trained, from a PyTorch or safetensors file.";
    const INPUTS: &'static [Input] = &[Input::optional(
        "dataset",
        Artifact::Dataset,
        "What the model is for: gives the images' shape and the number of classes.",
    )];
    const OUTPUTS: &'static [Output] =
        &[Output { name: MODEL.name, makes: Artifact::Model, about: "The network as the file has it." }];
    type Params = CheckpointParams;

    fn check(params: &CheckpointParams) -> Vec<ParamError> {
        let Some(normalise) = &params.normalise else { return vec![] };
        let channels = params.image.map_or(normalise.mean.len(), |[.., channels]| channels);
        let wrong = |message| ParamError { path: vec!["normalise".to_owned()], message };
        normalise.fault(channels).map(wrong).into_iter().collect()
    }

    fn seeded(_: &CheckpointParams) -> bool {
        false
    }

    fn sources(params: &CheckpointParams) -> Vec<PathBuf> {
        vec![params.path.clone()]
    }

    fn run(params: &CheckpointParams, context: &mut Context<'_>) -> Result<Outcome, StageError> {
        let dataset = context.optional_input("dataset").map(Dataset::load).transpose()?;
        let expected = expected(params, dataset.as_ref())?;
        if let Some(fault) = params.normalise.as_ref().and_then(|it| it.fault(expected.image.channels)) {
            return Err(StageError::Failed(format!("`normalise`: {fault}")));
        }
        let mut model = import(&params.path, expected)?;
        model.normalise.clone_from(&params.normalise);
        model.save(&context.output(MODEL.name))?;
        Ok(Outcome::of([("parameters", json!(model.theta.len()))]))
    }
}

/// What the file should hold, by the parameters and the data set, which must agree.
fn expected(params: &CheckpointParams, dataset: Option<&Dataset>) -> Result<Expected, StageError> {
    let image = params.image.map(|[height, width, channels]| Shape { height, width, channels });
    let of_data = dataset.map(|dataset| (shape(dataset.shape()), dataset.classes.len()));
    let image = settled("image", image, of_data.map(|(image, _)| image))?;
    let classes = settled("classes", params.classes, of_data.map(|(_, classes)| classes))?;
    Ok(Expected { architecture: params.model, image, classes })
}

fn settled<T: Copy + PartialEq>(name: &str, given: Option<T>, of_data: Option<T>) -> Result<T, StageError> {
    let problem = match (given, of_data) {
        (Some(given), Some(of_data)) if given != of_data => "is not the data set's; remove it",
        (Some(value), _) | (None, Some(value)) => return Ok(value),
        (None, None) => "is not known; give it, or connect `dataset`",
    };
    Err(StageError::Failed(format!("`{name}` {problem}")))
}

impl From<ImportError> for StageError {
    fn from(error: ImportError) -> Self {
        match error.is_missing() {
            true => Self::InputMissing {
                path: error.path().to_owned(),
                hint: "set `path` to the file of a checkpoint".to_owned(),
            },
            false => Self::Import(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::Value;

    use super::*;
    use crate::models::{Format, Model, export};
    use crate::stages::kind::boxed;
    use crate::stages::tests::run::{run, synthetic};

    /// A data set of 32x32 images in 10 classes, and a file that holds a WRN-10-1 for it.
    fn lab() -> (tempfile::TempDir, Model) {
        let folder = tempfile::tempdir().unwrap();
        synthetic(folder.path());
        let architecture: Architecture = "wrn-10-1".parse().unwrap();
        let image = Shape { height: 32, width: 32, channels: 3 };
        let (theta, state) = architecture.graph(image, 10).init(5);
        let model = Model { architecture, image, classes: 10, normalise: None, theta, state };
        export(&model, &folder.path().join("theirs.pth"), Format::PyTorch).unwrap();
        (folder, model)
    }

    /// Runs the stage on that file with `more` parameters.
    fn import_with(folder: &Path, more: Value, inputs: &[(&str, &str)]) -> Result<Model, StageError> {
        let mut with = json!({"path": folder.join("theirs.pth"), "model": "wrn-10-1"});
        with.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        run::<CheckpointStage>(with, inputs, folder)?;
        Ok(Model::load(&folder.join("model")).unwrap())
    }

    #[test]
    fn the_shape_comes_from_the_data_set_or_the_parameters() {
        let (folder, model) = lab();
        let connected = [("dataset", "dataset")];
        assert_eq!(import_with(folder.path(), json!({}), &connected).unwrap(), model);
        let given = json!({"image": [32, 32, 3], "classes": 10});
        assert_eq!(import_with(folder.path(), given.clone(), &[]).unwrap(), model);
        assert_eq!(import_with(folder.path(), given, &connected).unwrap(), model);

        let message = |more, inputs| import_with(folder.path(), more, inputs).unwrap_err().to_string();
        assert_eq!(
            message(json!({"image": [32, 32, 3]}), &[]),
            "`classes` is not known; give it, or connect `dataset`"
        );
        assert_eq!(message(json!({"classes": 9}), &connected), "`classes` is not the data set's; remove it");
    }

    #[test]
    fn normalisation_goes_with_the_model() {
        let (folder, model) = lab();
        let normalise = json!({"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.2, 0.25]});
        let imported =
            import_with(folder.path(), json!({"normalise": normalise}), &[("dataset", "dataset")]).unwrap();
        let normalise = Some(Normalise { mean: vec![0.5, 0.4, 0.3], std: vec![0.2, 0.2, 0.25] });
        assert_eq!(imported, Model { normalise, ..model });

        let grey = json!({"normalise": {"mean": [0.5], "std": [0.2]}});
        let message = import_with(folder.path(), grey, &[("dataset", "dataset")]).unwrap_err().to_string();
        assert_eq!(message, "`normalise`: 1 means and 1 standard deviations for 3 channels");
        let with = json!({"path": "x", "model": "wrn-10-1", "normalise": {"mean": [0.5], "std": [0.0]}});
        assert_eq!(boxed::<CheckpointStage>().bind(&with).err().unwrap()[0].path, ["normalise"]);
    }

    #[test]
    fn the_path_is_a_source_and_no_part_of_the_parameters() {
        let bound = boxed::<CheckpointStage>().bind(&json!({"path": "a.pth", "model": "ResNet34"})).unwrap();
        assert_eq!(bound.sources(), [PathBuf::from("a.pth")]);
        let params = json!({"model": "resnet32-cifar", "image": null, "classes": null, "normalise": null});
        assert_eq!((bound.params(), bound.seeded()), (params, false));
    }

    #[test]
    fn a_missing_file_is_a_missing_input() {
        let (folder, _) = lab();
        std::fs::remove_file(folder.path().join("theirs.pth")).unwrap();
        let error = import_with(folder.path(), json!({}), &[("dataset", "dataset")]).unwrap_err();
        assert!(matches!(error, StageError::InputMissing { .. }), "{error}");
    }
}
