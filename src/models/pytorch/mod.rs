//! The files that `torch.save` writes: an object's pickle, and the storages that its tensors are views of.
//!
//! [`StateDict`] finds the tensors in one; [`write`] makes one. candle's reader is not used here: it panics on short
//! tuples, takes announced lengths at their word, copies shared values each time they are used, passes over tensors
//! that it cannot read, and does not know the container from before PyTorch 1.6. A checkpoint is a stranger's file.

mod archive;
mod legacy;
mod pickle;
mod tensor;
mod write;

pub(super) use tensor::DType;
pub(super) use write::write;

use std::collections::BTreeMap;
use std::io::{self, Read, Seek};
use std::rc::Rc;

use thiserror::Error;

use archive::Archive;
use legacy::Legacy;
use pickle::{Id, Pickle, Value};
use tensor::{Storage, Tensor};

/// Where training scripts put the state dict, if the file holds more than it: NAD, ARGD and ABL; PyTorch's
/// tutorials; BackdoorBench; others.
const KEYS: [&str; 5] = ["state_dict", "model_state_dict", "model", "net", "netC"];
/// What `DataParallel` puts before every name.
const PARALLEL: &str = "module.";
/// How a zip archive begins, and what each pickle of the older container begins with.
const ZIP_MAGIC: [u8; 2] = *b"PK";
const PICKLE_MAGIC: [u8; 2] = [0x80, 2];

/// Why a file of PyTorch's could not be read.
#[derive(Debug, Error)]
pub(in crate::models) enum Problem {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("the zip archive is damaged: {0}")]
    Zip(#[from] zip::result::ZipError),
    #[error("byte {at} of the pickle: {problem}")]
    Pickle { at: u64, problem: String },
    #[error("{0}")]
    Format(String),
}

impl Problem {
    fn format<T>(problem: impl Into<String>) -> Result<T, Self> {
        Err(Self::Format(problem.into()))
    }
}

/// The container of a file's storages.
#[derive(Debug)]
enum Container<R> {
    Archive(Archive<R>),
    Legacy(Legacy<R>),
}

/// The named tensors of a file, in PyTorch's layout.
#[derive(Debug)]
pub(super) struct StateDict<R> {
    container: Container<R>,
    tensors: BTreeMap<String, Rc<Tensor>>,
}

impl<R: Read + Seek> StateDict<R> {
    /// Whether a file with this beginning may be one of PyTorch's.
    pub fn may_begin_with(bytes: &[u8]) -> bool {
        bytes.starts_with(&ZIP_MAGIC) || bytes.starts_with(&PICKLE_MAGIC)
    }

    /// Reads the pickle and finds the state dict; the storages stay where they are.
    ///
    /// # Errors
    ///
    /// Anything but a whole file that holds a state dict.
    pub fn open(mut source: R) -> Result<Self, Problem> {
        let mut magic = [0; 2];
        source.rewind()?;
        source.read_exact(&mut magic)?;
        source.rewind()?;
        let (pickle, container) = match magic {
            ZIP_MAGIC => {
                let (pickle, archive) = Archive::open(source)?;
                (pickle, Container::Archive(archive))
            }
            PICKLE_MAGIC => {
                let (pickle, legacy) = Legacy::open(source)?;
                (pickle, Container::Legacy(legacy))
            }
            _ => return Problem::format("neither a zip archive nor a pickle"),
        };
        Ok(Self { container, tensors: tensors(&pickle)? })
    }

    /// Names and shapes.
    pub fn shapes(&self) -> impl Iterator<Item = (&str, &[usize])> {
        self.tensors.iter().map(|(name, tensor)| (name.as_str(), tensor.shape.as_slice()))
    }

    /// The values of a tensor in row-major order; no tensor of another name than [`StateDict::shapes`] told.
    ///
    /// # Errors
    ///
    /// A storage that is missing or cut short, and a tensor of integers.
    pub fn values(&mut self, name: &str) -> Result<Vec<f32>, Problem> {
        let Some(tensor) = self.tensors.get(name) else {
            return Problem::format(format!("tensor `{name}` is missing"));
        };
        let Storage { key, dtype, .. } = &*tensor.storage;
        let bytes = match &mut self.container {
            Container::Archive(archive) => archive.storage(&tensor.storage)?,
            Container::Legacy(legacy) => legacy.storage(&tensor.storage)?,
        };
        if Some(bytes.len()) != tensor.storage.bytes() {
            let len = tensor.storage.len;
            return Problem::format(format!("storage `{key}` has {} bytes for {len} elements", bytes.len()));
        }
        match dtype.decode(&bytes) {
            Some(elements) => Ok(tensor.gather(&elements)),
            None => Problem::format(format!("tensor `{name}` is of integers ({dtype:?})")),
        }
    }
}

/// Takes the named tensors out of a pickle: those at the top, or of the dict under one of [`KEYS`].
fn tensors(pickle: &Pickle) -> Result<BTreeMap<String, Rc<Tensor>>, Problem> {
    let Value::Dict(top) = pickle.root() else {
        return Problem::format("the file holds no dict; save `model.state_dict()`");
    };
    let under = |key: &str| {
        let &(_, value) = top.iter().rev().find(|&&(name, _)| pickle.name(name) == Some(key))?;
        match pickle.get(value) {
            Value::Dict(entries) => Some(entries),
            _ => None,
        }
    };
    let entries = KEYS.into_iter().find_map(under).unwrap_or(top);
    let named = |&(name, value): &(Id, Id)| match pickle.get(value) {
        Value::Tensor(tensor) => Some((pickle.name(name)?.to_owned(), Rc::clone(tensor))),
        _ => None,
    };
    let tensors: BTreeMap<_, _> = entries.iter().filter_map(named).collect();
    if tensors.is_empty() {
        let places = KEYS.join("`, `");
        return Problem::format(format!("no tensors, neither at the top nor under `{places}`"));
    }
    Ok(without_prefix(tensors))
}

/// Takes off what `DataParallel` puts before every name, if it is before every name.
fn without_prefix(tensors: BTreeMap<String, Rc<Tensor>>) -> BTreeMap<String, Rc<Tensor>> {
    if !tensors.keys().all(|name| name.starts_with(PARALLEL)) {
        return tensors;
    }
    tensors.into_iter().map(|(name, tensor)| (name[PARALLEL.len()..].to_owned(), tensor)).collect()
}

#[cfg(test)]
mod tests;
