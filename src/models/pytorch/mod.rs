//! The files that `torch.save` writes: an object's pickle, and the storages of its tensors.
//!
//! [`StateDict`] finds the tensors in a file; [`write`] writes a file. A checkpoint may come from an untrusted source,
//! so candle's reader is not used: it panics on short tuples, trusts declared lengths, copies shared values at each
//! use, and skips tensors that it cannot read. It also cannot read the container from before PyTorch 1.6.

mod archive;
mod legacy;
mod pickle;
mod problem;
mod tensor;
mod write;

pub(in crate::models) use problem::Problem;
pub(super) use tensor::DType;
pub(super) use write::write;

use std::collections::BTreeMap;
use std::io::{Read, Seek};
use std::rc::Rc;

use archive::Archive;
use legacy::Legacy;
use pickle::{Id, Pickle, Value};
use tensor::{Storage, Tensor};

/// The keys of the state dict in files of training scripts that hold more: NAD, ARGD and ABL; PyTorch's tutorials;
/// BackdoorBench; others.
const KEYS: [&str; 5] = ["state_dict", "model_state_dict", "model", "net", "netC"];
/// The prefix that `DataParallel` adds to every name.
const PARALLEL: &str = "module.";
/// The first bytes of a zip archive, and of each pickle of the older container.
const ZIP_MAGIC: [u8; 2] = *b"PK";
const PICKLE_MAGIC: [u8; 2] = [0x80, 2];

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
    /// Whether a file with these first bytes may be a PyTorch file.
    pub fn may_begin_with(bytes: &[u8]) -> bool {
        bytes.starts_with(&ZIP_MAGIC) || bytes.starts_with(&PICKLE_MAGIC)
    }

    /// Reads the pickle and finds the state dict; the storages stay where they are.
    ///
    /// # Errors
    ///
    /// If it is not a complete file with a state dict.
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

    /// The values of a tensor in row-major order; `name` must be one of [`StateDict::shapes`].
    ///
    /// # Errors
    ///
    /// A storage that is missing or truncated, and a tensor of integers.
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
            None => Problem::format(format!("tensor `{name}` has integers ({dtype:?})")),
        }
    }
}

/// Returns the named tensors of a pickle: those at the top, or of the dict under one of [`KEYS`].
fn tensors(pickle: &Pickle) -> Result<BTreeMap<String, Rc<Tensor>>, Problem> {
    let Value::Dict(top) = pickle.root() else {
        return Problem::format("the file has no dict");
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

/// Removes the prefix of `DataParallel`, if every name has it.
fn without_prefix(tensors: BTreeMap<String, Rc<Tensor>>) -> BTreeMap<String, Rc<Tensor>> {
    if !tensors.keys().all(|name| name.starts_with(PARALLEL)) {
        return tensors;
    }
    tensors.into_iter().map(|(name, tensor)| (name[PARALLEL.len()..].to_owned(), tensor)).collect()
}

#[cfg(test)]
mod tests;
