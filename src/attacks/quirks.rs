//! Deviations of reference implementations, as switches.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Whose deviations from the published attack to reproduce, for comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Quirks {
    /// The ARGD repository's.
    Argd,
}
