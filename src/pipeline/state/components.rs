//! What a key is made of: the one form in which records keep it and every reader gets it back.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::store::{Digest, Key, Record};

/// Content digests of a task's inputs: artifacts by `port` or `port.part`, outside files as `source:<n>`.
pub type Inputs = BTreeMap<String, Digest>;

/// What the names of outside files and folders among the inputs begin with; a number follows.
pub(in crate::pipeline) const SOURCE: &str = "source:";

/// Everything that determines what a task makes.
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
    /// What the inputs hold.
    pub inputs: Inputs,
    /// The class of numerics.
    pub numerics: String,
    /// The seed, if the outputs depend on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
}

impl Components {
    /// The key that they make.
    pub fn key(&self) -> Key {
        Key::of(&self.to_value())
    }

    /// The components as a record keeps them.
    pub fn to_value(&self) -> Value {
        // A struct of text, numbers and JSON has a JSON form.
        serde_json::to_value(self).unwrap_or_default()
    }

    /// What the key of a record was made of.
    ///
    /// # Errors
    /// If the record is of a program whose keys have other components.
    pub fn of(record: &Record) -> serde_json::Result<Self> {
        Self::deserialize(&record.components)
    }
}
