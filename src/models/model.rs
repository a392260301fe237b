//! The model artifact: a spec and weights, as a safetensors file.
//!
//! Tensors are named as in PyTorch's `state_dict` but lie in our layout (see [`Slot::shape`]); one metadata key
//! holds the spec as JSON. Equal models give equal bytes.

use std::fs;
use std::io::{self, Read, Seek};
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::{Architecture, Spec};
use crate::files::tensors::{self, Dtype, NamedTensor, TensorError, TensorFile, TensorProblem};
use crate::files::{Durability, write_whole};
use crate::nn::graph::{Graph, Slot};

/// The one metadata key of the file.
const METADATA_KEY: &str = "argd-pipe.model";

/// The weights of a network.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Weights {
    /// Trainable values, in the order of the graph's slots.
    pub theta: Vec<f32>,
    /// Running statistics, in the order of the graph's slots.
    pub state: Vec<f32>,
}

impl From<(Vec<f32>, Vec<f32>)> for Weights {
    /// Draws initial weights with [`Graph::init`].
    fn from((theta, state): (Vec<f32>, Vec<f32>)) -> Self {
        Self { theta, state }
    }
}

/// A network with its weights.
#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    /// The network.
    pub spec: Spec,
    /// Its weights.
    pub weights: Weights,
}

/// Why a model file could not be read or written.
#[derive(Debug, Error)]
#[error("model {}: {problem}", path.display())]
pub struct ModelError {
    path: PathBuf,
    problem: Problem,
}

impl ModelError {
    /// Whether the file is missing.
    pub fn is_missing(&self) -> bool {
        matches!(&self.problem, Problem::Io(error) if error.kind() == io::ErrorKind::NotFound)
    }

    /// Splits an error of reading or writing the file into its path and its cause. Returns any other error unchanged.
    pub fn into_io(self) -> Result<(PathBuf, io::Error), Self> {
        match self.problem {
            Problem::Io(source) => Ok((self.path, source)),
            problem => Err(Self { path: self.path, problem }),
        }
    }
}

#[derive(Debug, Error)]
pub(super) enum Problem {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("not a safetensors file, or truncated ({0})")]
    Format(String),
    #[error("not written by argd-pipe: the metadata has no `{METADATA_KEY}`")]
    NoMetadata,
    #[error("metadata `{METADATA_KEY}`: {0}")]
    Metadata(#[from] serde_json::Error),
    #[error("tensor `{0}` is missing")]
    Missing(String),
    #[error("tensor `{0}` does not belong to the architecture")]
    Unexpected(String),
    #[error("tensor `{name}` is {found}, not F32 {expected:?}")]
    Shape { name: String, expected: Vec<usize>, found: String },
    #[error("{name} has {found} values, {architecture} has {expected}")]
    Length { name: &'static str, found: usize, expected: usize, architecture: Architecture },
}

impl From<TensorError> for Problem {
    fn from(error: TensorError) -> Self {
        match error.problem {
            TensorProblem::Io(source) => Self::Io(source),
            TensorProblem::Content(problem) => Self::Format(problem),
        }
    }
}

impl Model {
    /// Builds the network's graph.
    pub fn graph(&self) -> Graph {
        self.spec.graph()
    }

    /// Writes the model to `path`; equal models give equal bytes.
    ///
    /// # Errors
    ///
    /// The file cannot be written, or the weights do not match the architecture.
    pub fn save(&self, path: &Path) -> Result<(), ModelError> {
        self.encode()
            .and_then(|bytes| Ok(fs::write(path, bytes)?))
            .map_err(|problem| ModelError { path: path.to_owned(), problem })
    }

    /// Writes the model to a file outside of the cache, which is replaced atomically.
    ///
    /// # Errors
    ///
    /// Those of [`Model::save`]. Then the file is unchanged.
    pub fn replace(&self, path: &Path) -> Result<(), ModelError> {
        self.encode()
            .and_then(|bytes| Ok(write_whole(path, Durability::Name, &bytes)?))
            .map_err(|problem| ModelError { path: path.to_owned(), problem })
    }

    /// Reads a model that [`Model::save`] wrote.
    ///
    /// # Errors
    ///
    /// The file cannot be read, is truncated, or does not contain exactly the tensors of its architecture.
    pub fn load(path: &Path) -> Result<Self, ModelError> {
        TensorFile::open(path)
            .map_err(Problem::from)
            .and_then(Self::decode)
            .map_err(|problem| ModelError { path: path.to_owned(), problem })
    }

    fn encode(&self) -> Result<Vec<u8>, Problem> {
        let graph = self.graph();
        self.check(&graph)?;
        let Weights { theta, state } = &self.weights;
        let slots = graph.theta.iter().map(|slot| (slot, theta));
        let slots = slots.chain(graph.state.iter().map(|slot| (slot, state)));
        let tensors: Vec<_> = slots
            .map(|(slot, values)| NamedTensor::f32(&slot.name, slot.shape.clone(), &values[slot.range()]))
            .collect();
        Ok(tensors::encode(&tensors, METADATA_KEY, serde_json::to_string(&self.spec)?)?)
    }

    fn decode<R: Read + Seek>(mut file: TensorFile<R>) -> Result<Self, Problem> {
        let spec: Spec = serde_json::from_str(file.text(METADATA_KEY).ok_or(Problem::NoMetadata)?)?;
        let graph = spec.graph();
        let belongs = |name: &str| graph.theta.iter().chain(&graph.state).any(|slot| slot.name == name);
        if let Some((name, _)) = file.shapes().into_iter().find(|(name, _)| !belongs(name)) {
            return Err(Problem::Unexpected(name));
        }
        let (theta, state) = (read_slots(&mut file, &graph.theta)?, read_slots(&mut file, &graph.state)?);
        Ok(Self { spec, weights: Weights { theta, state } })
    }

    /// Checks that the number of weights is that of the graph.
    pub(super) fn check(&self, graph: &Graph) -> Result<(), Problem> {
        self.check_length("theta", self.weights.theta.len(), graph.theta_len())?;
        self.check_length("state", self.weights.state.len(), graph.state_len())
    }

    fn check_length(&self, name: &'static str, found: usize, expected: usize) -> Result<(), Problem> {
        let architecture = self.spec.architecture;
        let wrong = Problem::Length { name, found, expected, architecture };
        if found == expected { Ok(()) } else { Err(wrong) }
    }
}

fn read_slots<R: Read + Seek>(file: &mut TensorFile<R>, slots: &[Slot]) -> Result<Vec<f32>, Problem> {
    let mut values = vec![];
    for slot in slots {
        let name = &slot.name;
        let (dtype, shape) = file.info(name).ok_or_else(|| Problem::Missing(name.clone()))?;
        if dtype != Dtype::F32 || shape != slot.shape {
            let found = format!("{dtype:?} {shape:?}");
            return Err(Problem::Shape { name: name.clone(), expected: slot.shape.clone(), found });
        }
        values.extend(tensors::f32_from_bytes(&file.bytes(name)?));
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::Normalise;
    use crate::shape::Shape;

    fn model() -> Model {
        let image = Shape { height: 8, width: 8, channels: 3 };
        let spec = Spec { architecture: "wrn-10-1".parse().unwrap(), image, classes: 4, normalise: None };
        let weights = spec.graph().init(3).into();
        Model { spec, weights }
    }

    fn normalising(channels: usize) -> Model {
        let normalise = Some(Normalise { mean: vec![0.1; channels], std: vec![0.3; channels] });
        let Model { spec, weights } = model();
        Model { spec: Spec { normalise, ..spec }, weights }
    }

    /// Models are addressed by the hash of their bytes.
    #[test]
    fn the_header_of_a_model_is_fixed() {
        let header = |model: &Model| String::from_utf8_lossy(&model.encode().unwrap()[8..600]).into_owned();
        let plain = concat!(
            r#"{"__metadata__":{"argd-pipe.model":"#,
            r#""{\"architecture\":\"wrn-10-1\",\"image\":[8,8,3],\"classes\":4}"},"#,
            r#""block1.layer.0.bn1.bias":{"dtype":"F32","shape":[16],"data_offsets":[0,64]},"#,
            r#""block1.layer.0.bn1.running_mean":{"dtype":"F32","shape":[16],"data_offsets":[64,128]},"#,
        );
        assert!(header(&model()).starts_with(plain), "{}", header(&model()));
        let normalise = r#",\"normalise\":{\"mean\":[0.1,0.1,0.1],\"std\":[0.3,0.3,0.3]}}"},"#;
        let normalising = header(&normalising(3));
        assert!(normalising.starts_with(&plain.replace(r#"}"},"#, normalise)), "{normalising}");
    }

    #[test]
    fn a_saved_model_loads_and_saves_to_the_same_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let (first, second) = (folder.path().join("a"), folder.path().join("b"));
        model().save(&first).unwrap();
        let loaded = Model::load(&first).unwrap();
        assert_eq!(loaded, model());
        loaded.save(&second).unwrap();
        assert_eq!(fs::read(first).unwrap(), fs::read(second).unwrap());
    }

    #[test]
    fn how_images_are_normalised_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model");
        normalising(3).save(&path).unwrap();
        assert_eq!(Model::load(&path).unwrap(), normalising(3));
        assert_eq!(normalising(3).graph().normalise, normalising(3).spec.normalise);
        normalising(2).save(&path).unwrap();
        let message = Model::load(&path).unwrap_err().to_string();
        assert!(message.contains("2 means and 2 standard deviations for 3 channels"), "{message}");
    }

    #[test]
    fn a_damaged_file_is_refused_with_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        model().save(&path).unwrap();
        let bytes = fs::read(&path).unwrap();
        for length in [0, 7, 100, bytes.len() - 1] {
            fs::write(&path, &bytes[..length]).unwrap();
            let message = Model::load(&path).unwrap_err().to_string();
            assert!(message.contains("model.safetensors") && message.contains("truncated"), "{message}");
        }
    }

    #[test]
    fn tensors_of_another_shape_are_named() {
        let mut other = model();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model");
        other.spec.classes = 5;
        let message = other.save(&path).unwrap_err().to_string();
        assert!(message.contains("theta has"), "{message}");

        let bytes = model().encode().unwrap();
        let text = r#"\"classes\":4"#.as_bytes();
        let at = bytes.windows(text.len()).position(|window| window == text).unwrap();
        let mut changed = bytes;
        changed[at + text.len() - 1] = b'7';
        let file = TensorFile::of_bytes(&path, &changed).unwrap();
        let message = Model::decode(file).unwrap_err().to_string();
        assert!(message.contains("`fc.weight` is F32 [64, 4], not F32 [64, 7]"), "{message}");
    }
}
