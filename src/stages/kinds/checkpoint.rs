//! `checkpoint`: reads a model that another program trained.

use std::path::PathBuf;

use schemars::{JsonSchema, Schema};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::data::Dataset;
use crate::models::{Architecture, ImportError, Spec, import};
use crate::nn::Normalise;
use crate::shape::Shape;
use crate::stages::training::MODEL;
use crate::stages::{Artifact, Context, Input, Kind, Outcome, Output, ParamError, StageError};

/// The stage kind `checkpoint`.
pub struct CheckpointStage;

/// The file and its network. Nothing in the file is executed. It must contain exactly the tensors of the network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(transform = with_first_name)]
pub struct CheckpointParams {
    /// The file. Either a PyTorch file (`.pth`, `.pt`, `.tar`) with a `state_dict`, also inside a dict under a name
    /// such as `state_dict` or `model`; or safetensors with PyTorch's names and layout.
    #[serde(skip_serializing)]
    pub path: PathBuf,
    /// The network, such as `wrn-16-1`, `resnet32-cifar` or `preactresnet18`. The table of models has all names.
    pub model: Architecture,
    /// Height, width and channels of its input images. By default those of the connected `dataset`.
    #[serde(default)]
    #[schemars(inner(range(min = 1, max = 65_536)))]
    pub image: Option<[usize; 3]>,
    /// Number of classes. By default that of the connected `dataset`.
    #[serde(default)]
    #[schemars(range(min = 1, max = 65_536))]
    pub classes: Option<usize>,
    /// The normalization of pixels in [0, 1] during the training: (x - mean) / std for each channel. By default none,
    /// as in the NAD and ARGD repositories. BackdoorBench has `{mean: [0.4914, 0.4822, 0.4465], std: [0.247, 0.243,
    /// 0.261]}` on CIFAR-10.
    // Keys have the parameter under its first name.
    #[serde(default, rename(deserialize = "normalize"), alias = "normalise")]
    pub normalise: Option<Normalise>,
}

/// Has manifests take `normalise`, too: what `normalize` was called first.
fn with_first_name(schema: &mut Schema) {
    let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) else { return };
    let Some(Value::Object(mut first)) = properties.get("normalize").cloned() else { return };
    first.insert("description".to_owned(), "What `normalize` was called first.".into());
    first.insert("deprecated".to_owned(), true.into());
    properties.insert("normalise".to_owned(), first.into());
}

impl Kind for CheckpointStage {
    const KIND: &'static str = "checkpoint";
    const VERSION: u32 = 1;
    const ABOUT: &'static str =
        "Reads a model that another program trained, from a PyTorch or safetensors file.";
    const INPUTS: &'static [Input] = &[Input::optional(
        "dataset",
        Artifact::Dataset,
        "The model's data set: it gives the images' shape and the number of classes.",
    )];
    const OUTPUTS: &'static [Output] =
        &[Output { name: MODEL.name, makes: Artifact::Model, about: "The network from the file." }];
    type Params = CheckpointParams;

    fn check(params: &CheckpointParams) -> Vec<ParamError> {
        let Some(normalise) = &params.normalise else { return vec![] };
        let channels = params.image.map_or(normalise.mean.len(), |[.., channels]| channels);
        let wrong = |message| ParamError { path: vec!["normalize".to_owned()], message, help: None };
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
        let spec = spec(params, dataset.as_ref())?;
        if let Some(fault) = params.normalise.as_ref().and_then(|it| it.fault(spec.image.channels)) {
            return Err(StageError::Failed(format!("`normalize`: {fault}")));
        }
        let model = import(&params.path, spec)?;
        model.save(&context.output(MODEL.name))?;
        Ok(Outcome::of([("parameters", json!(model.weights.theta.len()))]))
    }
}

/// The expected content of the file, from the parameters and the data set. They must agree.
fn spec(params: &CheckpointParams, dataset: Option<&Dataset>) -> Result<Spec, StageError> {
    let of_data = dataset.map(|dataset| (dataset.shape(), dataset.classes.len()));
    let image = params.image.map(Shape::try_from).transpose();
    let image = image.map_err(|error| StageError::Failed(format!("`image`: {error}")))?;
    let image = settled("image", image, of_data.map(|(image, _)| image))?;
    let classes = settled("classes", params.classes, of_data.map(|(_, classes)| classes))?;
    Ok(Spec { architecture: params.model, image, classes, normalise: params.normalise.clone() })
}

fn settled<T: Copy + PartialEq>(name: &str, given: Option<T>, of_data: Option<T>) -> Result<T, StageError> {
    let (problem, help) = match (given, of_data) {
        (Some(given), Some(of_data)) if given != of_data => ("differs from the data set's", "remove it"),
        (Some(value), _) | (None, Some(value)) => return Ok(value),
        (None, None) => ("is missing", "set it, or connect `dataset`"),
    };
    Err(StageError::Unfit { problem: format!("`{name}` {problem}"), help: help.to_owned() })
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

    use super::*;
    use crate::models::{Format, Model, export};
    use crate::stages::kind::boxed;
    use crate::stages::tests::run::{run, synthetic};

    /// A data set of 32x32 images in 10 classes, and a file with a WRN-10-1 for it.
    fn lab() -> (tempfile::TempDir, Model) {
        let folder = tempfile::tempdir().unwrap();
        synthetic(folder.path());
        let image = Shape { height: 32, width: 32, channels: 3 };
        let architecture = "wrn-10-1".parse().unwrap();
        let spec = Spec { architecture, image, classes: 10, normalise: None };
        let weights = spec.graph().init(5).into();
        let model = Model { spec, weights };
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
        assert_eq!(message(json!({"image": [32, 32, 3]}), &[]), "`classes` is missing");
        assert_eq!(message(json!({"classes": 9}), &connected), "`classes` differs from the data set's");
    }

    #[test]
    fn a_model_keeps_its_normalization() {
        let (folder, model) = lab();
        let normalise = json!({"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.2, 0.25]});
        let imported =
            import_with(folder.path(), json!({"normalize": normalise}), &[("dataset", "dataset")]).unwrap();
        let normalise = Some(Normalise { mean: vec![0.5, 0.4, 0.3], std: vec![0.2, 0.2, 0.25] });
        assert_eq!(imported, Model { spec: Spec { normalise, ..model.spec }, weights: model.weights });

        let gray = json!({"normalize": {"mean": [0.5], "std": [0.2]}});
        let message = import_with(folder.path(), gray, &[("dataset", "dataset")]).unwrap_err().to_string();
        assert_eq!(message, "`normalize`: 1 means and 1 standard deviations for 3 channels");
        let with = json!({"path": "x", "model": "wrn-10-1", "normalize": {"mean": [0.5], "std": [0.0]}});
        assert_eq!(boxed::<CheckpointStage>().bind(&with).err().unwrap()[0].path, ["normalize"]);
    }

    #[test]
    fn the_path_is_a_source_and_not_a_parameter() {
        let bound = boxed::<CheckpointStage>().bind(&json!({"path": "a.pth", "model": "ResNet34"})).unwrap();
        assert_eq!(bound.sources(), [PathBuf::from("a.pth")]);
        let params = json!({"model": "resnet32-cifar", "image": null, "classes": null, "normalise": null});
        assert_eq!((bound.params(), bound.seeded()), (params, false));
    }

    /// The first name of `normalize` is still read, and is the one in keys.
    #[test]
    fn both_names_of_normalize_give_the_same_parameters() {
        let params = |name: &str| {
            let with = json!({"path": "x", "model": "wrn-10-1", name: {"mean": [0.5], "std": [0.25]}});
            boxed::<CheckpointStage>().bind(&with).unwrap().params()
        };
        let normalise = json!({"mean": [0.5], "std": [0.25]});
        let expected = json!({"model": "wrn-10-1", "image": null, "classes": null, "normalise": normalise});
        assert_eq!([params("normalize"), params("normalise")], [expected.clone(), expected]);
    }

    #[test]
    fn a_missing_file_is_a_missing_input() {
        let (folder, _) = lab();
        std::fs::remove_file(folder.path().join("theirs.pth")).unwrap();
        let error = import_with(folder.path(), json!({}), &[("dataset", "dataset")]).unwrap_err();
        assert!(matches!(error, StageError::InputMissing { .. }), "{error}");
    }
}
