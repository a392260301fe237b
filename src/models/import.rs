//! Imports a model from a PyTorch file in both containers, or from safetensors with PyTorch's names and layout.
//!
//! The file may come from an untrusted source: nothing in it runs. If it does not contain exactly the tensors of the
//! requested network, all with finite numbers, the error names the wrong ones.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::File;
use std::io::{self, Read, Seek};
use std::path::{Path, PathBuf};

use miette::Diagnostic;
use thiserror::Error;

use super::entry::COUNT;
use super::layout::{from_torch, torch_shape};
use super::pytorch::{self, DType, StateDict};
use super::spec::MAX_SIZE;
use super::{Model, Spec, Weights, names};
use crate::files::open_regular;
use crate::files::tensors::{Dtype, TensorError, TensorFile, TensorProblem};
use crate::nn::graph::{Graph, Slot};

/// The largest number of wrong tensors that a message names.
const NAMED: usize = 3;

/// What to do about a PyTorch file that has more in it, or another form, than a `state_dict` of today.
const SAVE_AGAIN: &str =
    "load it with a current PyTorch where you trust the file, and save `model.state_dict()`";

/// Why a file cannot be imported.
#[derive(Debug, Error)]
#[error("{}: {problem}", path.display())]
pub struct ImportError {
    path: PathBuf,
    problem: Problem,
}

impl Diagnostic for ImportError {
    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        match &self.problem {
            Problem::Mismatch { hint: Some(hint), .. } => Some(Box::new(hint)),
            Problem::PyTorch(problem) if !problem.is_io() => Some(Box::new(SAVE_AGAIN)),
            _ => None,
        }
    }
}

impl ImportError {
    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the file is missing.
    pub fn is_missing(&self) -> bool {
        matches!(&self.problem, Problem::Io(error) if error.kind() == io::ErrorKind::NotFound)
    }
}

#[derive(Debug, Error)]
enum Problem {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("not a readable checkpoint: {0}")]
    PyTorch(#[from] pytorch::Problem),
    #[error("neither a PyTorch file nor a safetensors file ({0})")]
    Safetensors(String),
    #[error("its tensors do not match {expected}: {faults}")]
    Mismatch { expected: String, faults: String, hint: Option<String> },
    #[error("tensor `{0}` has integers")]
    Integers(String),
    #[error("tensor `{0}` has values that are not finite numbers")]
    NotFinite(String),
}

impl From<TensorError> for Problem {
    fn from(error: TensorError) -> Self {
        match error.problem {
            TensorProblem::Io(source) => Self::Io(source),
            TensorProblem::Content(problem) => Self::Safetensors(problem),
        }
    }
}

/// Reads the model that `spec` describes from the file `path`.
///
/// # Errors
///
/// The file cannot be read, is damaged, or does not contain exactly the tensors of the network.
pub fn import(path: &Path, spec: Spec) -> Result<Model, ImportError> {
    open(path)
        .and_then(|mut tensors| take(&mut tensors, spec))
        .map_err(|problem| ImportError { path: path.to_owned(), problem })
}

/// Reads all tensors of a file that have less than a million values; returns their number. Only the fuzz targets call it: no
/// network has the tensors of a small file.
#[doc(hidden)]
pub fn read_small_tensors(path: &Path) -> Result<usize, ImportError> {
    let read = |mut tensors: Tensors<File>| {
        let small = |shape: &[usize]| {
            let count = shape.iter().try_fold(1usize, |count, &side| count.checked_mul(side));
            count.is_some_and(|count| count < 1_000_000)
        };
        let shapes = tensors.shapes();
        let names = shapes.iter().filter(|(_, shape)| small(shape)).map(|(name, _)| name);
        Ok(names.filter(|name| tensors.values(name).is_ok()).count())
    };
    open(path).and_then(read).map_err(|problem| ImportError { path: path.to_owned(), problem })
}

/// Shapes by name.
type Shapes = BTreeMap<String, Vec<usize>>;

/// Named tensors in PyTorch's layout.
enum Tensors<R> {
    PyTorch(StateDict<R>),
    Safetensors(TensorFile<R>),
}

fn open(path: &Path) -> Result<Tensors<File>, Problem> {
    let mut file = open_regular(path)?;
    let mut start = vec![];
    (&mut file).take(2).read_to_end(&mut start)?;
    if StateDict::<File>::may_begin_with(&start) {
        return Ok(Tensors::PyTorch(StateDict::open(file)?));
    }
    Ok(Tensors::Safetensors(TensorFile::open(path)?))
}

impl<R: Read + Seek> Tensors<R> {
    fn shapes(&self) -> Shapes {
        match self {
            Self::PyTorch(dict) => {
                dict.shapes().map(|(name, shape)| (name.to_owned(), shape.to_owned())).collect()
            }
            Self::Safetensors(file) => file.shapes().into_iter().collect(),
        }
    }

    fn values(&mut self, name: &str) -> Result<Vec<f32>, Problem> {
        match self {
            Self::PyTorch(dict) => Ok(dict.values(name)?),
            Self::Safetensors(file) => {
                let dtype = match file.info(name) {
                    Some((Dtype::F64, _)) => DType::F64,
                    Some((Dtype::F32, _)) => DType::F32,
                    Some((Dtype::F16, _)) => DType::F16,
                    Some((Dtype::BF16, _)) => DType::Bf16,
                    _ => return Err(Problem::Integers(name.to_owned())),
                };
                dtype.decode(&file.bytes(name)?).ok_or_else(|| Problem::Integers(name.to_owned()))
            }
        }
    }
}

/// Checks the names and shapes of the tensors, then reads them.
fn take<R: Read + Seek>(tensors: &mut Tensors<R>, spec: Spec) -> Result<Model, Problem> {
    let mut shapes = tensors.shapes();
    shapes.retain(|name, _| !name.ends_with(COUNT));
    let graph = spec.graph();
    check(&shapes, &graph, &spec)?;
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
    let (theta, state) = (read(&graph.theta)?, read(&graph.state)?);
    Ok(Model { spec, weights: Weights { theta, state } })
}

fn check(shapes: &Shapes, graph: &Graph, spec: &Spec) -> Result<(), Problem> {
    let mut faults = faults(shapes, graph);
    let mut named = faults.by_ref().take(NAMED).collect::<Vec<_>>().join("; ");
    if named.is_empty() {
        return Ok(());
    }
    let rest = faults.count();
    if rest > 0 {
        named += &format!("; and {rest} more");
    }
    Err(Problem::Mismatch { expected: spec.to_string(), faults: named, hint: hint(shapes, spec) })
}

/// The wrong tensors, in the order of the network.
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

/// The model or number of classes that the tensors would match.
fn hint(shapes: &Shapes, spec: &Spec) -> Option<String> {
    let architectures = names().filter_map(|name| name.parse().ok());
    let models = architectures.map(|architecture| Spec { architecture, ..spec.clone() });
    let head = spec.graph().theta.last().and_then(|bias| shapes.get(&bias.name)?.first().copied());
    let classes = head.filter(|classes| (1..=MAX_SIZE).contains(classes));
    let other = classes.map(|classes| Spec { classes, ..spec.clone() });
    let fits = |spec: &Spec| faults(shapes, &spec.graph()).next().is_none();
    let fitting = models.chain(other).find(fits);
    fitting.map(|fitting| format!("its tensors are those of {fitting}"))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::{Format, export};
    use super::*;
    use crate::shape::Shape;

    const IMAGE: Shape = Shape { height: 8, width: 8, channels: 3 };

    fn spec(name: &str, classes: usize) -> Spec {
        Spec { architecture: name.parse().unwrap(), image: IMAGE, classes, normalise: None }
    }

    fn model(name: &str) -> Model {
        let spec = spec(name, 4);
        let weights = spec.graph().init(3).into();
        Model { spec, weights }
    }

    /// Exports a model and imports the file as something else.
    fn import_as(model: &Model, format: Format, spec: Spec) -> Result<Model, ImportError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.pth");
        export(model, &path, format).unwrap();
        import(&path, spec)
    }

    #[test]
    fn what_is_exported_is_imported() {
        for name in ["wrn-10-2", "resnet32-cifar"] {
            for format in [Format::PyTorch, Format::Safetensors] {
                let model = model(name);
                assert_eq!(import_as(&model, format, spec(name, 4)).unwrap(), model);
            }
        }
    }

    #[test]
    fn another_architecture_is_refused_by_the_first_tensors_at_fault() {
        for format in [Format::PyTorch, Format::Safetensors] {
            let error = import_as(&model("wrn-10-2"), format, spec("wrn-10-1", 4)).unwrap_err();
            let message = error.to_string();
            let faults = "model.pth: its tensors do not match wrn-10-1 for images of 8x8x3 in 4 classes: \
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
            |name| import_as(&model(name), Format::PyTorch, spec("wrn-16-1", 4)).unwrap_err().to_string();
        assert!(message("wrn-10-1").contains("`block1.layer.1.bn1.weight`, expected [16], is missing"));
        assert!(message("wrn-40-1").contains("`block1.layer.2.bn1.bias`, [16], does not belong to it"));
    }

    #[test]
    fn another_number_of_classes_is_refused_with_the_right_one() {
        let error = import_as(&model("wrn-10-1"), Format::PyTorch, spec("wrn-10-1", 5)).unwrap_err();
        let message = error.to_string();
        assert!(message.contains("`fc.weight` is [4, 64], expected [5, 64]"), "{message}");
        let hint = "its tensors are those of wrn-10-1 for images of 8x8x3 in 4 classes";
        assert_eq!(error.help().unwrap().to_string(), hint);
    }

    #[test]
    fn a_model_of_the_wrong_length_is_not_exported() {
        let Model { spec, weights } = model("wrn-10-1");
        let model = Model { spec: Spec { classes: 5, ..spec }, weights };
        let folder = tempfile::tempdir().unwrap();
        let error = export(&model, &folder.path().join("x.pth"), Format::PyTorch).unwrap_err();
        assert!(error.to_string().contains("theta has 77460 values"), "{error}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn numbers_that_are_not_finite_are_refused() {
        let mut model = model("wrn-10-1");
        *model.weights.theta.last_mut().unwrap() = f32::NAN;
        for format in [Format::PyTorch, Format::Safetensors] {
            let message = import_as(&model, format, spec("wrn-10-1", 4)).unwrap_err().to_string();
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
        let error = import(&path, spec("wrn-10-1", 4)).unwrap_err();
        assert!(error.is_missing(), "{error}");
        let error = import(folder.path(), spec("wrn-10-1", 4)).unwrap_err();
        assert!(error.to_string().ends_with("is a folder"), "{error}");
        for (content, message) in [
            ("", "neither a PyTorch file"),
            ("hello, this is text", "neither a PyTorch file"),
            ("PK", "the zip archive is damaged"),
        ] {
            fs::write(&path, content).unwrap();
            let error = import(&path, spec("wrn-10-1", 4)).unwrap_err();
            assert!(error.to_string().contains(message) && !error.is_missing(), "{error}");
        }
    }
}
