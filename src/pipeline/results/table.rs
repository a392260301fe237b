//! The results: one row per task of the stages that the manifest names, read from records.
//!
//! A table holds nothing that depends on when, where or in which order tasks ran, so that writing it again from
//! the same records gives the same bytes.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;

use serde_json::{Map, Value};

use super::csv;
use crate::pipeline::error::RunError;
use crate::pipeline::plan::{Plan, ResultsSpec, Task, TaskId, TaskRef};
use crate::pipeline::whole_file::replace_file;
use crate::stages::metrics::{Metric, VALID, write};
use crate::store::Record;

/// The axis whose value is a column in any case.
pub(super) const SEED: &str = "seed";

/// The results of a plan.
///
/// Columns: `pipeline`, `stage`, one per axis (but `seed`), `seed`, the metrics of the field (if a model was evaluated),
/// every other metric that a row has, by name, and `key`. Percentages have two
/// decimals, counts none; what a row does not have is empty. Rows are in the order of the manifest's `results.from`,
/// then of the cells.
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
    /// What it was measured to be, by name.
    pub metrics: Map<String, Value>,
}

impl Row {
    /// Whether it counts: whether it meets its requirement, if there is one.
    pub fn is_valid(&self) -> bool {
        self.metrics.get(VALID).and_then(Value::as_bool).unwrap_or(true)
    }

    /// A metric that is a number.
    pub(super) fn number(&self, metric: &str) -> Option<f64> {
        self.metrics.get(metric)?.as_f64()
    }
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
    let axes = plan.axes().iter().map(String::as_str);
    let columns = Columns::new(axes, found.iter().map(|(_, record)| &record.metrics));
    let rows = found.into_iter().map(|(task, record)| columns.row(plan, task, record)).collect();
    Some(Table { header: columns.header(), rows, missing })
}

/// The columns that differ from table to table.
pub(super) struct Columns<'a> {
    /// All axes but `seed`.
    pub(super) axes: Vec<&'a str>,
    /// The metrics of the field, if a row has one of them.
    own: Vec<&'static str>,
    /// All other metrics.
    others: BTreeSet<&'a str>,
}

impl<'a> Columns<'a> {
    /// Columns for these axes, and for metrics by name.
    pub(super) fn new(
        axes: impl Iterator<Item = &'a str>,
        metrics: impl Iterator<Item = &'a Map<String, Value>>,
    ) -> Self {
        let names = metrics.flat_map(|metrics| metrics.keys().map(String::as_str));
        let (own, others): (BTreeSet<_>, BTreeSet<_>) = names.partition(|name| is_of_field(name));
        let axes = axes.filter(|axis| *axis != SEED).collect();
        let own =
            if own.is_empty() { vec![] } else { Metric::of_field().map(|metric| metric.name).collect() };
        Self { axes, own, others }
    }

    /// Names: `pipeline`, `stage`, axes, `seed`, metrics, `key`.
    pub(super) fn header(&self) -> Vec<String> {
        let fixed = ["pipeline", "stage", "key"];
        let is_taken =
            |axis: &str| fixed.contains(&axis) || self.own.contains(&axis) || self.others.contains(axis);
        let axes = axis_columns(self.axes.iter().copied(), is_taken);
        let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
        let mut header = names(&fixed[..2]);
        header.extend(axes);
        header.extend(names(&[SEED]));
        header.extend(names(&self.own));
        header.extend(self.others.iter().map(|&name| name.to_owned()));
        header.extend(names(&fixed[2..]));
        header
    }

    /// What the columns of metrics hold; empty where a metric is missing.
    pub(super) fn metrics(&self, metrics: &Map<String, Value>) -> Vec<String> {
        let names = self.own.iter().chain(&self.others);
        names.map(|name| metrics.get(*name).map_or_else(String::new, |value| write(name, value))).collect()
    }

    fn row(&self, plan: &Plan, task: &Task, record: &Record) -> Row {
        let mut fields = vec![plan.name().to_owned(), task.label.stage.clone()];
        fields.extend(self.axes.iter().map(|axis| task.label.axis(axis).unwrap_or_default().to_owned()));
        fields.push(seed(plan, task));
        fields.extend(self.metrics(&record.metrics));
        fields.push(record.key.to_string());
        Row { task: task.label.clone(), fields, metrics: record.metrics.clone() }
    }
}

/// The columns of axes are called as the manifest calls these, unless another column has that name.
pub(super) fn axis_columns<'a>(
    axes: impl Iterator<Item = &'a str>,
    is_taken: impl Fn(&str) -> bool,
) -> Vec<String> {
    axes.map(|axis| if is_taken(axis) { format!("matrix.{axis}") } else { axis.to_owned() }).collect()
}

/// The seed that counts for a task: the manifest's, or where `seed` is an axis, the task's value on it.
fn seed(plan: &Plan, task: &Task) -> String {
    if plan.axes().iter().any(|axis| axis == SEED) {
        task.label.axis(SEED).unwrap_or_default().to_owned()
    } else {
        plan.seed().to_string()
    }
}

/// Whether a metric is one of the field's.
pub(super) fn is_of_field(name: &str) -> bool {
    Metric::of_field().any(|metric| metric.name == name)
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
        csv::encode(&self.header, self.rows.iter().map(|row| row.fields.as_slice()))
    }

    /// Writes the table to a CSV file, making its folder if need be. The file is replaced whole or not at all.
    pub fn write(&self, path: &Path) -> Result<(), RunError> {
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
        Some(folder) if !folder.starts_with(&workspace) => {
            Err(RunError::Outside { path: path.to_owned(), folder, workspace })
        }
        _ => Ok(()),
    }
}
