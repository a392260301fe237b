//! A model from a file of others: PyTorch's in both containers, or safetensors, in PyTorch's names and layout.
//!
//! The file is a stranger's: nothing in it runs, and it either holds exactly the tensors of the network that is
//! asked for, all of finite numbers, or is refused by their names.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read, Seek};
use std::path::{Path, PathBuf};

use miette::Diagnostic;
use safetensors::SafeTensors;
use safetensors::tensor::Dtype;
use thiserror::Error;

use super::entry::COUNT;
use super::layout::{from_torch, torch_shape};
use super::model::MAX_SIZE;
use super::pytorch::{self, DType, StateDict};
use super::{Architecture, Model, NAMES};
use crate::nn::graph::{Graph, Shape, Slot};

/// Tensors at fault that a message names.
const NAMED: usize = 3;

/// The network that a file should hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expected {
    /// Which network.
    pub architecture: Architecture,
    /// Shape of the images that it reads.
    pub image: Shape,
    /// Number of classes.
    pub classes: usize,
}

impl Expected {
    fn graph(&self) -> Graph {
        self.architecture.graph(self.image, self.classes)
    }
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { architecture, image: Shape { height, width, channels }, classes } = self;
        write!(f, "{architecture} for images of {height}x{width}x{channels} in {classes} classes")
    }
}

/// Why a file is no such model.
#[derive(Debug, Diagnostic, Error)]
#[error("{}: {problem}", path.display())]
pub struct ImportError {
    path: PathBuf,
    problem: Problem,
    #[help]
    hint: Option<String>,
}

impl ImportError {
    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the file is not there.
    pub fn is_missing(&self) -> bool {
        matches!(&self.problem, Problem::Io(error) if error.kind() == io::ErrorKind::NotFound)
    }
}

#[derive(Debug, Error)]
enum Problem {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("not a checkpoint that can be read: {0}")]
    PyTorch(#[from] pytorch::Problem),
    #[error("not a PyTorch file, and no safetensors file either ({0})")]
    Safetensors(#[from] safetensors::SafeTensorError),
    #[error("it holds no {expected}: {faults}")]
    Mismatch { expected: String, faults: String, hint: Option<String> },
    #[error("tensor `{0}` is of integers")]
    Integers(String),
    #[error("tensor `{0}` has values that are not finite numbers")]
    NotFinite(String),
}

impl Problem {
    /// What to do about it, if that is known.
    fn hint(&self) -> Option<String> {
        match self {
            Self::Mismatch { hint, .. } => hint.clone(),
            _ => None,
        }
    }
}

/// Reads the model `expected` from the file `path`.
///
/// # Errors
///
/// The file cannot be read, is damaged, or does not hold exactly the tensors of the network.
pub fn import(path: &Path, expected: Expected) -> Result<Model, ImportError> {
    open(path).and_then(|mut tensors| take(&mut tensors, expected)).map_err(|problem| ImportError {
        path: path.to_owned(),
        hint: problem.hint(),
        problem,
    })
}

/// Shapes by name.
type Shapes = BTreeMap<String, Vec<usize>>;

/// Named tensors in PyTorch's layout.
enum Tensors<R> {
    PyTorch(StateDict<R>),
    Safetensors(Vec<u8>),
}

fn open(path: &Path) -> Result<Tensors<File>, Problem> {
    let mut file = File::open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is not a file").into());
    }
    let mut start = vec![];
    (&mut file).take(2).read_to_end(&mut start)?;
    if StateDict::<File>::may_begin_with(&start) {
        return Ok(Tensors::PyTorch(StateDict::open(file)?));
    }
    let bytes = fs::read(path)?;
    SafeTensors::deserialize(&bytes)?;
    Ok(Tensors::Safetensors(bytes))
}

impl<R: Read + Seek> Tensors<R> {
    fn shapes(&self) -> Result<Shapes, Problem> {
        Ok(match self {
            Self::PyTorch(dict) => {
                dict.shapes().map(|(name, shape)| (name.to_owned(), shape.to_owned())).collect()
            }
            Self::Safetensors(bytes) => {
                let tensors = SafeTensors::deserialize(bytes)?;
                tensors.iter().map(|(name, view)| (name.to_owned(), view.shape().to_owned())).collect()
            }
        })
    }

    fn values(&mut self, name: &str) -> Result<Vec<f32>, Problem> {
        match self {
            Self::PyTorch(dict) => Ok(dict.values(name)?),
            Self::Safetensors(bytes) => {
                let tensors = SafeTensors::deserialize(bytes)?;
                let view = tensors.tensor(name)?;
                let dtype = match view.dtype() {
                    Dtype::F64 => DType::F64,
                    Dtype::F32 => DType::F32,
                    Dtype::F16 => DType::F16,
                    Dtype::BF16 => DType::Bf16,
                    _ => return Err(Problem::Integers(name.to_owned())),
                };
                dtype.decode(view.data()).ok_or_else(|| Problem::Integers(name.to_owned()))
            }
        }
    }
}

/// Checks the tensors' names and shapes, and then reads them.
fn take<R: Read + Seek>(tensors: &mut Tensors<R>, expected: Expected) -> Result<Model, Problem> {
    let mut shapes = tensors.shapes()?;
    shapes.retain(|name, _| !name.ends_with(COUNT));
    let graph = expected.graph();
    check(&shapes, &graph, expected)?;
    let mut read = |slots: &[Slot]| -> Result<Vec<f32>, Problem> {
        let mut all = vec![];
        for slot in slots {
            let values = tensors.values(&slot.name)?;
            if !values.iter().all(|value| value.is_finite()) {
                return Err(Problem::NotFinite(slot.name.clone()));
            }
            all.extend(from_torch(&values, &slot.shape));
        }
        Ok(all)
    };
    let Expected { architecture, image, classes } = expected;
    let (theta, state) = (read(&graph.theta)?, read(&graph.state)?);
    Ok(Model { architecture, image, classes, normalise: None, theta, state })
}

fn check(shapes: &Shapes, graph: &Graph, expected: Expected) -> Result<(), Problem> {
    let mut faults = faults(shapes, graph);
    let mut named = faults.by_ref().take(NAMED).collect::<Vec<_>>().join("; ");
    if named.is_empty() {
        return Ok(());
    }
    let rest = faults.count();
    if rest > 0 {
        named += &format!("; and {rest} more");
    }
    Err(Problem::Mismatch { expected: expected.to_string(), faults: named, hint: hint(shapes, expected) })
}

/// What is wrong with the tensors, in the order of the network's.
fn faults(shapes: &Shapes, graph: &Graph) -> impl Iterator<Item = String> {
    let slots = || graph.theta.iter().chain(&graph.state);
    let wrong = slots().filter_map(move |slot| {
        let (name, wanted) = (&slot.name, torch_shape(&slot.shape));
        match shapes.get(name) {
            Some(found) if *found == wanted => None,
            Some(found) => Some(format!("`{name}` is {found:?}, expected {wanted:?}")),
            None => Some(format!("`{name}`, expected {wanted:?}, is missing")),
        }
    });
    let known: BTreeSet<&str> = slots().map(|slot| slot.name.as_str()).collect();
    let unknown = shapes.iter().filter(move |(name, _)| !known.contains(name.as_str()));
    wrong.chain(unknown.map(|(name, found)| format!("`{name}`, {found:?}, does not belong to it")))
}

/// The model or number of classes with which the tensors would fit.
fn hint(shapes: &Shapes, expected: Expected) -> Option<String> {
    let models = NAMES.iter().filter_map(|name| name.parse().ok());
    let models = models.map(|architecture| Expected { architecture, ..expected });
    let head = expected.graph().theta.last().and_then(|bias| shapes.get(&bias.name)?.first().copied());
    let classes = head.filter(|classes| (1..=MAX_SIZE).contains(classes));
    let other = classes.map(|classes| Expected { classes, ..expected });
    let fits = |expected: &Expected| faults(shapes, &expected.graph()).next().is_none();
    let fitting = models.chain(other).find(fits);
    fitting.map(|fitting| format!("its tensors are those of {fitting}"))
}

#[cfg(test)]
mod tests {
    use super::super::{Format, export};
    use super::*;

    const IMAGE: Shape = Shape { height: 8, width: 8, channels: 3 };

    fn expected(name: &str, classes: usize) -> Expected {
        Expected { architecture: name.parse().unwrap(), image: IMAGE, classes }
    }

    fn model(name: &str) -> Model {
        let expected = expected(name, 4);
        let (theta, state) = expected.graph().init(3);
        let architecture = expected.architecture;
        Model { architecture, image: IMAGE, classes: 4, normalise: None, theta, state }
    }

    /// Exports a model and imports the file as something else.
    fn import_as(model: &Model, format: Format, expected: Expected) -> Result<Model, ImportError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.pth");
        export(model, &path, format).unwrap();
        import(&path, expected)
    }

    #[test]
    fn what_is_exported_is_imported() {
        for name in ["wrn-10-2", "resnet32-cifar"] {
            for format in [Format::PyTorch, Format::Safetensors] {
                let model = model(name);
                assert_eq!(import_as(&model, format, expected(name, 4)).unwrap(), model);
            }
        }
    }

    #[test]
    fn another_architecture_is_refused_by_the_first_tensors_at_fault() {
        for format in [Format::PyTorch, Format::Safetensors] {
            let error = import_as(&model("wrn-10-2"), format, expected("wrn-10-1", 4)).unwrap_err();
            let message = error.to_string();
            let faults = "model.pth: it holds no wrn-10-1 for images of 8x8x3 in 4 classes: \
                          `block1.layer.0.conv1.weight` is [32, 16, 3, 3], expected [16, 16, 3, 3]; \
                          `block1.layer.0.bn2.weight` is [32], expected [16]; \
                          `block1.layer.0.bn2.bias` is [32], expected [16]; and ";
            assert!(message.contains(faults), "{message}");
            let hint = "its tensors are those of wrn-10-2 for images of 8x8x3 in 4 classes";
            assert_eq!(error.help().unwrap().to_string(), hint);
        }
    }

    #[test]
    fn missing_and_foreign_tensors_are_named() {
        let message =
            |name| import_as(&model(name), Format::PyTorch, expected("wrn-16-1", 4)).unwrap_err().to_string();
        assert!(message("wrn-10-1").contains("`block1.layer.1.bn1.weight`, expected [16], is missing"));
        assert!(message("wrn-40-1").contains("`block1.layer.2.bn1.bias`, [16], does not belong to it"));
    }

    #[test]
    fn another_number_of_classes_is_refused_with_the_right_one() {
        let error = import_as(&model("wrn-10-1"), Format::PyTorch, expected("wrn-10-1", 5)).unwrap_err();
        let message = error.to_string();
        assert!(message.contains("`fc.weight` is [4, 64], expected [5, 64]"), "{message}");
        let hint = "its tensors are those of wrn-10-1 for images of 8x8x3 in 4 classes";
        assert_eq!(error.help().unwrap().to_string(), hint);
    }

    #[test]
    fn a_model_of_the_wrong_length_is_not_exported() {
        let model = Model { classes: 5, ..model("wrn-10-1") };
        let folder = tempfile::tempdir().unwrap();
        let error = export(&model, &folder.path().join("x.pth"), Format::PyTorch).unwrap_err();
        assert!(error.to_string().contains("theta has 77460 values"), "{error}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn numbers_that_are_not_finite_are_refused() {
        let mut model = model("wrn-10-1");
        *model.theta.last_mut().unwrap() = f32::NAN;
        for format in [Format::PyTorch, Format::Safetensors] {
            let message = import_as(&model, format, expected("wrn-10-1", 4)).unwrap_err().to_string();
            assert!(
                message.ends_with("tensor `fc.bias` has values that are not finite numbers"),
                "{message}"
            );
        }
    }

    #[test]
    fn files_that_are_missing_or_no_checkpoints_are_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.pth");
        let error = import(&path, expected("wrn-10-1", 4)).unwrap_err();
        assert!(error.is_missing(), "{error}");
        let error = import(folder.path(), expected("wrn-10-1", 4)).unwrap_err();
        assert!(error.to_string().ends_with("it is not a file"), "{error}");
        for (content, message) in [
            ("", "not a PyTorch file"),
            ("hello, this is text", "not a PyTorch file"),
            ("PK", "the zip archive is damaged"),
        ] {
            fs::write(&path, content).unwrap();
            let error = import(&path, expected("wrn-10-1", 4)).unwrap_err();
            assert!(error.to_string().contains(message) && !error.is_missing(), "{error}");
        }
    }
}
