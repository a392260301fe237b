//! The model artifact: an architecture with its numbers, as a safetensors file.
//!
//! Tensors are named as in PyTorch's `state_dict` but lie in our layout (see [`Slot::shape`]); one metadata key
//! holds the rest as JSON. Equal models give equal bytes.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::Architecture;
use crate::nn::Normalise;
use crate::nn::graph::{Graph, Shape, Slot};

/// The one metadata key of the file.
const METADATA_KEY: &str = "argd-pipe.model";
/// Beyond any use, and far from overflow.
pub(super) const MAX_SIZE: usize = 1 << 16;

/// A network with its numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    /// Which network.
    pub architecture: Architecture,
    /// Shape of the images that it reads.
    pub image: Shape,
    /// Number of classes.
    pub classes: usize,
    /// What it wants done to images first; a checkpoint of another program may have been trained so.
    pub normalise: Option<Normalise>,
    /// Trainable values in the order of the graph's slots.
    pub theta: Vec<f32>,
    /// Running statistics in the order of the graph's slots.
    pub state: Vec<f32>,
}

/// Why a model file could not be read or written.
#[derive(Debug, Error)]
#[error("model {}: {problem}", path.display())]
pub struct ModelError {
    path: PathBuf,
    problem: Problem,
}

impl ModelError {
    /// Whether the file is not there.
    pub fn is_missing(&self) -> bool {
        matches!(&self.problem, Problem::Io(error) if error.kind() == io::ErrorKind::NotFound)
    }

    /// Takes apart an error of reading or writing the file: which one, and why. Any other is given back.
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
    #[error("not a safetensors file, or cut short ({0})")]
    Format(#[from] safetensors::SafeTensorError),
    #[error("the metadata has no `{METADATA_KEY}`: the file was not written by argd-pipe")]
    NoMetadata,
    #[error("metadata `{METADATA_KEY}`: {0}")]
    Metadata(#[from] serde_json::Error),
    #[error("metadata `{METADATA_KEY}`: sizes are 1 to {MAX_SIZE}")]
    Size,
    #[error("metadata `{METADATA_KEY}`: {0}")]
    Normalise(String),
    #[error("tensor `{0}` is missing")]
    Missing(String),
    #[error("tensor `{0}` does not belong to the architecture")]
    Unexpected(String),
    #[error("tensor `{name}` is {found}, not F32 {expected:?}")]
    Shape { name: String, expected: Vec<usize>, found: String },
    #[error("{name} has {found} values, {architecture} has {expected}")]
    Length { name: &'static str, found: usize, expected: usize, architecture: Architecture },
}

/// What the metadata key holds.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    architecture: Architecture,
    /// Height, width, channels.
    image: [usize; 3],
    classes: usize,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    normalise: Option<Normalise>,
}

impl Model {
    /// Builds the network's graph.
    pub fn graph(&self) -> Graph {
        let normalise = self.normalise.clone();
        Graph { normalise, ..self.architecture.graph(self.image, self.classes) }
    }

    /// Writes the model to `path`; equal models give equal bytes.
    ///
    /// # Errors
    ///
    /// The file cannot be written, or `theta` or `state` is not of the architecture's length.
    pub fn save(&self, path: &Path) -> Result<(), ModelError> {
        self.encode()
            .and_then(|bytes| Ok(fs::write(path, bytes)?))
            .map_err(|problem| ModelError { path: path.to_owned(), problem })
    }

    /// Reads a model that [`Model::save`] wrote.
    ///
    /// # Errors
    ///
    /// The file cannot be read, is cut short, or does not hold exactly the tensors of its architecture.
    pub fn load(path: &Path) -> Result<Self, ModelError> {
        fs::read(path)
            .map_err(Problem::Io)
            .and_then(|bytes| Self::decode(&bytes))
            .map_err(|problem| ModelError { path: path.to_owned(), problem })
    }

    fn encode(&self) -> Result<Vec<u8>, Problem> {
        let graph = self.graph();
        self.check(&graph)?;
        let theta = graph.theta.iter().map(|slot| (slot, &self.theta));
        let state = graph.state.iter().map(|slot| (slot, &self.state));
        let tensors: Vec<_> =
            theta.chain(state).map(|(slot, values)| (slot, to_bytes(&values[slot.range()]))).collect();
        let views = tensors
            .iter()
            .map(|(slot, bytes)| Ok((&slot.name, TensorView::new(Dtype::F32, slot.shape.clone(), bytes)?)))
            .collect::<Result<Vec<_>, Problem>>()?;
        let Shape { height, width, channels } = self.image;
        let image = [height, width, channels];
        let normalise = self.normalise.clone();
        let config = Config { architecture: self.architecture, image, classes: self.classes, normalise };
        let metadata = HashMap::from([(METADATA_KEY.to_owned(), serde_json::to_string(&config)?)]);
        Ok(safetensors::serialize(views, Some(metadata))?)
    }

    fn decode(bytes: &[u8]) -> Result<Self, Problem> {
        let (_, header) = SafeTensors::read_metadata(bytes)?;
        let config = header.metadata().as_ref().and_then(|map| map.get(METADATA_KEY));
        let Config { architecture, image: [height, width, channels], classes, normalise } =
            serde_json::from_str(config.ok_or(Problem::NoMetadata)?)?;
        if [height, width, channels, classes].iter().any(|size| !(1..=MAX_SIZE).contains(size)) {
            return Err(Problem::Size);
        }
        if let Some(fault) = normalise.as_ref().and_then(|normalise| normalise.fault(channels)) {
            return Err(Problem::Normalise(fault));
        }
        let image = Shape { height, width, channels };
        let graph = architecture.graph(image, classes);
        let file = SafeTensors::deserialize(bytes)?;
        let belongs = |name: &str| graph.theta.iter().chain(&graph.state).any(|slot| slot.name == name);
        if let Some(name) = file.names().into_iter().find(|name| !belongs(name)) {
            return Err(Problem::Unexpected(name.to_owned()));
        }
        let (theta, state) = (read_slots(&file, &graph.theta)?, read_slots(&file, &graph.state)?);
        Ok(Self { architecture, image, classes, normalise, theta, state })
    }

    /// Checks that there are as many numbers as the graph has places.
    pub(super) fn check(&self, graph: &Graph) -> Result<(), Problem> {
        self.check_length("theta", self.theta.len(), graph.theta_len())?;
        self.check_length("state", self.state.len(), graph.state_len())
    }

    fn check_length(&self, name: &'static str, found: usize, expected: usize) -> Result<(), Problem> {
        let architecture = self.architecture;
        let wrong = Problem::Length { name, found, expected, architecture };
        if found == expected { Ok(()) } else { Err(wrong) }
    }
}

fn read_slots(file: &SafeTensors<'_>, slots: &[Slot]) -> Result<Vec<f32>, Problem> {
    let mut values = vec![];
    for slot in slots {
        let tensor = file.tensor(&slot.name).map_err(|_| Problem::Missing(slot.name.clone()))?;
        if tensor.dtype() != Dtype::F32 || tensor.shape() != slot.shape {
            let found = format!("{:?} {:?}", tensor.dtype(), tensor.shape());
            return Err(Problem::Shape { name: slot.name.clone(), expected: slot.shape.clone(), found });
        }
        values.extend(from_bytes(tensor.data()));
    }
    Ok(values)
}

/// The little-endian bytes of `values`.
pub(crate) fn to_bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// The values of little-endian `bytes`; a remainder of less than four bytes is left out.
pub(crate) fn from_bytes(bytes: &[u8]) -> impl Iterator<Item = f32> {
    bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model() -> Model {
        let architecture: Architecture = "wrn-10-1".parse().unwrap();
        let image = Shape { height: 8, width: 8, channels: 3 };
        let (theta, state) = architecture.graph(image, 4).init(3);
        Model { architecture, image, classes: 4, normalise: None, theta, state }
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
        let normalise = |channels| Some(Normalise { mean: vec![0.1; channels], std: vec![0.3; channels] });
        let normalising = Model { normalise: normalise(3), ..model() };
        normalising.save(&path).unwrap();
        assert_eq!(Model::load(&path).unwrap(), normalising);
        assert_eq!(normalising.graph().normalise, normalise(3));
        Model { normalise: normalise(2), ..model() }.save(&path).unwrap();
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
            assert!(message.contains("model.safetensors") && message.contains("cut short"), "{message}");
        }
    }

    #[test]
    fn tensors_of_another_shape_are_named() {
        let mut other = model();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model");
        other.classes = 5;
        let message = other.save(&path).unwrap_err().to_string();
        assert!(message.contains("theta has"), "{message}");

        let bytes = model().encode().unwrap();
        let text = r#"\"classes\":4"#.as_bytes();
        let at = bytes.windows(text.len()).position(|window| window == text).unwrap();
        let mut changed = bytes;
        changed[at + text.len() - 1] = b'7';
        let message = Model::decode(&changed).unwrap_err().to_string();
        assert!(message.contains("`fc.weight` is F32 [64, 4], not F32 [64, 7]"), "{message}");
    }
}
