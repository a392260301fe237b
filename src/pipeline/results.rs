//! The results: one row per task of the stages that the manifest names, read from records.
//!
//! A table holds nothing that depends on when, where or in which order tasks ran, so that writing it again from
//! the same records gives the same bytes.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;

use serde_json::Value;

use super::error::RunError;
use super::plan::{Plan, ResultsSpec};
use super::task::{Task, TaskId, TaskRef};
use super::whole_file::replace_file;
use crate::store::Record;

/// Metrics in percent that every table has, in the order of the field's tables.
const METRICS: [&str; 5] = ["acc", "acc_excl_target", "asr", "ra", "der"];

/// The axis whose value is a column in any case.
const SEED: &str = "seed";

/// The results of a plan.
///
/// Columns: `pipeline`, `stage`, one per axis (but `seed`), `seed`, `acc`, `acc_excl_target`, `asr`, `ra`, `der`,
/// every other metric that a row has, by name, and `key`. Percentages have two decimals, counts none; what a row
/// does not have is empty. Rows are in the order of the manifest's `results.from`, then of the cells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// Column names.
    pub header: Vec<String>,
    /// Rows of tasks that have a record.
    pub rows: Vec<Row>,
    /// Tasks that should have a row, but have no record.
    pub missing: Vec<TaskRef>,
}

/// The results of one task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Which task.
    pub task: TaskRef,
    /// One per column.
    pub fields: Vec<String>,
}

/// Collects the results from records; `None` if the manifest asks for none.
pub fn table<'r>(plan: &Plan, record: impl Fn(TaskId) -> Option<&'r Record>) -> Option<Table> {
    let ResultsSpec { from, .. } = plan.results()?;
    let (mut found, mut missing) = (vec![], vec![]);
    for task in from.iter().flat_map(|stage| plan.of_stage(stage)) {
        match record(task.id()) {
            Some(record) => found.push((task, record)),
            None => missing.push(task.label.clone()),
        }
    }
    let columns = Columns::of(plan, found.iter().map(|(_, record)| *record));
    let rows = found.into_iter().map(|(task, record)| columns.row(plan, task, record)).collect();
    Some(Table { header: columns.header(), rows, missing })
}

/// The columns that differ from table to table.
struct Columns<'a> {
    /// All axes but `seed`.
    axes: Vec<&'a str>,
    /// Metrics beside [`METRICS`].
    others: BTreeSet<&'a str>,
}

impl<'a> Columns<'a> {
    fn of(plan: &'a Plan, records: impl Iterator<Item = &'a Record>) -> Self {
        let axes = plan.axes().iter().map(String::as_str).filter(|axis| *axis != SEED).collect();
        let names = records.flat_map(|record| record.metrics.keys().map(String::as_str));
        Self { axes, others: names.filter(|name| !METRICS.contains(name)).collect() }
    }

    /// Axes are called as the manifest does, unless another column has that name.
    fn header(&self) -> Vec<String> {
        let fixed = ["pipeline", "stage", "key"];
        let is_taken =
            |axis: &str| fixed.contains(&axis) || METRICS.contains(&axis) || self.others.contains(axis);
        let axes =
            self.axes.iter().map(|&axis| if is_taken(axis) { format!("matrix.{axis}") } else { axis.into() });
        let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
        let mut header = names(&fixed[..2]);
        header.extend(axes);
        header.extend(names(&[SEED]));
        header.extend(names(&METRICS));
        header.extend(self.others.iter().map(|&name| name.to_owned()));
        header.extend(names(&fixed[2..]));
        header
    }

    fn row(&self, plan: &Plan, task: &Task, record: &Record) -> Row {
        let metric = |name: &str| record.metrics.get(name);
        let mut fields = vec![plan.name().to_owned(), task.label.stage.clone()];
        fields.extend(self.axes.iter().map(|axis| task.label.axis(axis).unwrap_or_default().to_owned()));
        fields.push(seed(plan, task));
        fields.extend(METRICS.iter().map(|name| metric(name).map_or_else(String::new, percent)));
        fields.extend(self.others.iter().map(|name| metric(name).map_or_else(String::new, number)));
        fields.push(record.key.to_string());
        Row { task: task.label.clone(), fields }
    }
}

/// The seed that counts for a task: the manifest's, or where `seed` is an axis, the task's value on it.
fn seed(plan: &Plan, task: &Task) -> String {
    if plan.axes().iter().any(|axis| axis == SEED) {
        task.label.axis(SEED).unwrap_or_default().to_owned()
    } else {
        plan.seed().to_string()
    }
}

/// Writes a percentage: two decimals, no negative zero, nothing if it is no number.
fn percent(value: &Value) -> String {
    let text = value.as_f64().map_or_else(String::new, |number| format!("{number:.2}"));
    if text == "-0.00" { "0.00".to_owned() } else { text }
}

/// Writes a count as an integer and anything else as a percentage.
fn number(value: &Value) -> String {
    if value.is_i64() || value.is_u64() { value.to_string() } else { percent(value) }
}

impl Table {
    /// Whether every task has its row; the error names those that have none and `command`, which computes them.
    pub fn complete(&self, command: &str) -> Result<(), RunError> {
        if self.missing.is_empty() {
            return Ok(());
        }
        Err(RunError::Missing { tasks: self.missing.clone(), command: command.to_owned() })
    }

    /// The table as CSV.
    pub fn to_csv(&self) -> io::Result<Vec<u8>> {
        let mut csv = csv::Writer::from_writer(vec![]);
        csv.write_record(&self.header)?;
        for row in &self.rows {
            csv.write_record(&row.fields)?;
        }
        csv.into_inner().map_err(csv::IntoInnerError::into_error)
    }

    /// Writes the table to a CSV file, making its folder if need be. The file is replaced whole or not at all.
    pub fn write(&self, path: &Path) -> Result<(), RunError> {
        check_place(path)?;
        let replaced = self.to_csv().and_then(|csv| replace_file(path, &csv));
        replaced.map_err(|source| RunError::Results { path: path.to_owned(), source })
    }
}

/// Refuses a place for results to which symbolic links lead out of the workspace, the folder that the program runs in:
/// a manifest from elsewhere writes nowhere else.
pub fn check_place(path: &Path) -> Result<(), RunError> {
    let refused = |source| RunError::Results { path: path.to_owned(), source };
    let workspace = Path::new(".").canonicalize().map_err(refused)?;
    // Of folders that are still to be made, the one that they will be in counts.
    let folder = path.ancestors().skip(1).find_map(|folder| workspace.join(folder).canonicalize().ok());
    match folder {
        Some(folder) if !folder.starts_with(&workspace) => Err(refused(io::Error::other(format!(
            "its folder is {}, outside of the workspace {}\nhint: name a folder that is no symbolic link out of it",
            folder.display(),
            workspace.display()
        )))),
        _ => Ok(()),
    }
}
