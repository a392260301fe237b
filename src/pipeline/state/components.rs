//! The components of a key, in the form in which records keep them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::store::{Digest, Key, Record};

/// Content digests of a task's inputs: artifacts by `port` or `port.part`, outside files as `source:<n>`.
pub type Inputs = BTreeMap<String, Digest>;

/// The prefix of the names of outside files and folders among the inputs. A number follows.
pub(in crate::pipeline) const SOURCE: &str = "source:";

/// Everything that determines a task's outputs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Components {
    /// The version of the encoding of keys.
    pub encoding: u32,
    /// The stage kind.
    pub kind: String,
    /// The version of the kind's implementation.
    pub version: u32,
    /// The parameters after defaults, without paths.
    pub params: Value,
    /// The digests of the inputs.
    pub inputs: Inputs,
    /// The class of numerics.
    pub numerics: String,
    /// The seed, if the outputs depend on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
}

impl Components {
    /// The key of these components.
    pub fn key(&self) -> Key {
        Key::of(&self.to_value())
    }

    /// The components as a record keeps them.
    pub fn to_value(&self) -> Value {
        // A struct of text, numbers and JSON always has a JSON form.
        serde_json::to_value(self).unwrap_or_default()
    }

    /// The components of a record's key.
    ///
    /// # Errors
    /// If a program with other components wrote the record.
    pub fn of(record: &Record) -> serde_json::Result<Self> {
        Self::deserialize(&record.components)
    }
}
