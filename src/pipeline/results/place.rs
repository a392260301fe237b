//! Where the files of results go: inside the workspace, where they can be written, and over no other results.

use std::collections::BTreeSet;
use std::path::Path;

use super::file::ResultsFile;
use super::summary::Summary;
use super::table::SEED;
use crate::files::check_writable;
use crate::pipeline::error::RunError;
use crate::pipeline::plan::Plan;

/// Checks that a file of results can be written, before the work: see [`check_place`] and [`check_writable`].
pub fn check_file(path: &Path) -> Result<(), RunError> {
    check_place(path)?;
    check_writable(path).map_err(|source| RunError::Results { path: path.to_owned(), source })
}

/// Checks that the CSV of a plan, and the one of its means, can be written.
pub fn check_files(plan: &Plan) -> Result<(), RunError> {
    let Some(spec) = plan.results() else { return Ok(()) };
    check_file(&spec.csv)?;
    if has_seeds(plan) { check_file(&Summary::path(&spec.csv)) } else { Ok(()) }
}

/// Refuses a file of results that symbolic links lead out of the workspace, which is the current folder. So a manifest
/// from elsewhere cannot write outside it.
pub fn check_place(path: &Path) -> Result<(), RunError> {
    let refused = |source| RunError::Results { path: path.to_owned(), source };
    let workspace = Path::new(".").canonicalize().map_err(refused)?;
    // For folders that do not exist yet, the nearest existing parent is checked.
    let folder = path.ancestors().skip(1).find_map(|folder| workspace.join(folder).canonicalize().ok());
    match folder {
        Some(folder) if !folder.starts_with(&workspace) => {
            Err(RunError::Outside { path: path.to_owned(), folder, workspace })
        }
        _ => Ok(()),
    }
}

/// What the CSV of a plan holds now, if the plan does not replace it by results of the same kind: a table of another
/// pipeline or of other axes, or no table. It continues "the file holds".
///
/// Other values on the same axes are an edit of the manifest, and its table follows. More or fewer axes are another
/// experiment.
pub fn other_results(plan: &Plan) -> Option<String> {
    let path = &plan.results()?.csv;
    if std::fs::metadata(path).map_or(true, |found| found.len() == 0) {
        return None;
    }
    let Ok(file) = ResultsFile::read_csv(path) else { return Some("no table of results".to_owned()) };
    let others: BTreeSet<&str> = file.values("pipeline").filter(|name| *name != plan.name()).collect();
    if let Some(other) = others.first() {
        return Some(format!("results of the pipeline `{other}`"));
    }
    let own = |axis: &String| axis.strip_prefix("matrix.").unwrap_or(axis).to_owned();
    let without_seed = |axis: &String| *axis != "stage" && *axis != SEED;
    let found: BTreeSet<String> = file.identity().iter().filter(|axis| without_seed(axis)).map(own).collect();
    let planned: BTreeSet<String> = plan.axes().iter().filter(|axis| without_seed(axis)).cloned().collect();
    let listed = |axes: &BTreeSet<String>| match axes.len() {
        0 => "no axes".to_owned(),
        _ => axes.iter().map(|axis| format!("`{axis}`")).collect::<Vec<_>>().join(", "),
    };
    if found != planned {
        return Some(format!("results of other axes: {}; this run has {}", listed(&found), listed(&planned)));
    }
    match (file.varies(SEED) || Summary::path(path).exists(), seeds(plan)) {
        (true, 0) => Some("results of several seeds; this run has one".to_owned()),
        (false, 2..) => Some("results of one seed; this run has several".to_owned()),
        _ => None,
    }
}

fn has_seeds(plan: &Plan) -> bool {
    plan.axes().iter().any(|axis| axis == SEED)
}

/// The number of values on the axis `seed`; 0 without it.
fn seeds(plan: &Plan) -> usize {
    plan.tasks().filter_map(|task| task.label.axis(SEED)).collect::<BTreeSet<_>>().len()
}
