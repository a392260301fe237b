//! A pickle's values, and the meaning of the names in it.
//!
//! All values are in one list and refer to each other by number. A value that is used a million times is stored once,
//! and nothing recurses however deeply values are nested.

use std::collections::BTreeMap;
use std::rc::Rc;

use crate::models::pytorch::tensor::{DType, Storage, Tensor};

/// The largest number of bytes of the name of a module, a class, a storage or a tensor.
pub(super) const MAX_NAME: usize = 256;

/// Position of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::models::pytorch) struct Id(pub(super) u32);

/// A value of a pickle.
#[derive(Debug)]
pub(in crate::models::pytorch) enum Value {
    None,
    Bool(bool),
    Int(i128),
    Text(String),
    Tuple(Vec<Id>),
    List(Vec<Id>),
    /// Pairs in the order of their assignment: of equal keys, the last one counts.
    Dict(Vec<(Id, Id)>),
    Global(Global),
    Storage(Rc<Storage>),
    Tensor(Rc<Tensor>),
    /// A value that a state dict does not use: a float, a NumPy number.
    Other,
}

/// A name that a pickle may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::models::pytorch) enum Global {
    /// Makes an empty dict.
    OrderedDict,
    /// A storage's class.
    Storage(DType),
    /// Makes a tensor: a view of a storage.
    RebuildTensor,
    /// Makes a parameter from a tensor; both are treated alike.
    RebuildParameter,
    /// Makes a value that may be next to a state dict (an accuracy as a NumPy number, an image size). It is not used.
    Bystander,
}

impl Global {
    pub(super) fn find(module: &str, name: &str) -> Option<Self> {
        Some(match (module, name) {
            ("collections", "OrderedDict") => Self::OrderedDict,
            ("torch._utils", "_rebuild_tensor" | "_rebuild_tensor_v2") => Self::RebuildTensor,
            ("torch._utils", "_rebuild_parameter") => Self::RebuildParameter,
            ("torch", "Size" | "device") | ("_codecs", "encode") | ("numpy", "dtype" | "ndarray") => {
                Self::Bystander
            }
            ("numpy.core.multiarray" | "numpy._core.multiarray", "scalar" | "_reconstruct") => {
                Self::Bystander
            }
            ("torch", name) => Self::Storage(DType::of_storage(name)?),
            _ => return None,
        })
    }
}

/// The values of a pickle.
#[derive(Debug)]
pub(in crate::models::pytorch) struct Pickle {
    pub(super) values: Vec<Value>,
    pub(super) root: Id,
    /// Every storage that the pickle names, by key.
    pub storages: BTreeMap<String, Rc<Storage>>,
}

impl Pickle {
    /// The value of the pickle.
    pub fn root(&self) -> &Value {
        self.get(self.root)
    }

    /// Number of values.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// The value of a number.
    pub fn get(&self, id: Id) -> &Value {
        &self.values[id.0 as usize]
    }

    /// The text of a number; `None` if it is another value, or longer than any name.
    pub fn name(&self, id: Id) -> Option<&str> {
        name(&self.values, id)
    }
}

pub(super) fn name(values: &[Value], id: Id) -> Option<&str> {
    match &values[id.0 as usize] {
        Value::Text(text) if text.len() <= MAX_NAME => Some(text),
        _ => None,
    }
}
