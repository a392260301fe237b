//! Deviations of reference implementations from the published attacks.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The reference implementation whose deviations from the published attack to reproduce.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Quirks {
    /// The ARGD repository's.
    Argd,
}
