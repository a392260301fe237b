//! The port `baseline`: the evaluation of the model that later evaluations and detections are compared with.

use std::fs;

use serde_json::{Map, Value};

use super::metrics::VALID;
use super::{Artifact, Context, Input, StageError};

/// The port.
pub(super) const BASELINE: Input =
    Input::optional("baseline", Artifact::Report, "The evaluation of the model.");

/// The report of the port, if one is connected.
///
/// # Errors
///
/// An unreadable file, and a file that is not a report.
pub(super) fn read(context: &Context<'_>) -> Result<Option<Map<String, Value>>, StageError> {
    let Some(path) = context.optional_input(BASELINE.name) else { return Ok(None) };
    let text = fs::read_to_string(path).map_err(|source| StageError::Io { path: path.to_owned(), source })?;
    serde_json::from_str(&text)
        .map(Some)
        .map_err(|error| StageError::Failed(format!("baseline {}: {error}", path.display())))
}

/// Whether the baseline is valid. `None` if it has no requirement.
pub(super) fn is_valid(report: &Map<String, Value>) -> Option<bool> {
    report.get(VALID)?.as_bool()
}
