//! The results: one row per task of the stages in `results.from`, read from records.
//!
//! A table does not depend on when, where or in which order tasks ran. The same records always give the same bytes.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;

use serde_json::{Map, Value};

use super::csv;
use crate::files::{Durability, write_whole};
use crate::pipeline::error::RunError;
use crate::pipeline::plan::{Plan, ResultsSpec, Task, TaskId, TaskRef};
use crate::stages::metrics::{Metric, VALID, write};
use crate::store::Record;

/// The axis that is always a column.
pub(super) const SEED: &str = "seed";

/// The results of a plan.
///
/// Columns: `pipeline`, `stage`, one per axis except `seed`, `seed`, the standard metrics (if a model was evaluated),
/// every other metric by name, and `key`. Percentages have 2 decimals, counts none. Missing values are empty. Rows are
/// in the order of the manifest's `results.from`, then of the cells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// Column names.
    pub header: Vec<String>,
    /// Rows of tasks that have a record.
    pub rows: Vec<Row>,
    /// Tasks of the results without a record.
    pub missing: Vec<TaskRef>,
}

/// The results of one task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The task.
    pub task: TaskRef,
    /// One per column.
    pub fields: Vec<String>,
    /// Its metrics by name.
    pub metrics: Map<String, Value>,
}

impl Row {
    /// Whether it meets its requirement. True without a requirement.
    pub fn is_valid(&self) -> bool {
        self.metrics.get(VALID).and_then(Value::as_bool).unwrap_or(true)
    }

    /// A metric that is a number.
    pub(super) fn number(&self, metric: &str) -> Option<f64> {
        self.metrics.get(metric)?.as_f64()
    }
}

/// Collects the results from records. `None` if the manifest has no `results`.
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
    /// All axes except `seed`.
    pub(super) axes: Vec<&'a str>,
    /// The standard metrics, if a row has one of them.
    own: Vec<&'static str>,
    /// All other metrics.
    others: BTreeSet<&'a str>,
}

impl<'a> Columns<'a> {
    /// Columns for these axes and metrics.
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

    /// The fields of the metrics' columns. Empty for a missing metric.
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

/// The columns of axes have the axes' names, or `matrix.<axis>` if another column has that name.
pub(super) fn axis_columns<'a>(
    axes: impl Iterator<Item = &'a str>,
    is_taken: impl Fn(&str) -> bool,
) -> Vec<String> {
    axes.map(|axis| if is_taken(axis) { format!("matrix.{axis}") } else { axis.to_owned() }).collect()
}

/// The seed of a task: its value on the axis `seed`, or the manifest's seed.
fn seed(plan: &Plan, task: &Task) -> String {
    if plan.axes().iter().any(|axis| axis == SEED) {
        task.label.axis(SEED).unwrap_or_default().to_owned()
    } else {
        plan.seed().to_string()
    }
}

/// Whether a metric is one of the standard ones.
pub(super) fn is_of_field(name: &str) -> bool {
    Metric::of_field().any(|metric| metric.name == name)
}

impl Table {
    /// Checks that every task has its row. The error names those without one, and `command`, which computes them.
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

    /// Writes the table to a CSV file, and creates its folder. The file is replaced atomically.
    pub fn write(&self, path: &Path) -> Result<(), RunError> {
        let replaced = self.to_csv().and_then(|csv| write_whole(path, Durability::Content, &csv));
        replaced.map_err(|source| RunError::Results { path: path.to_owned(), source })
    }
}
