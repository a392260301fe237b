//! Reads tables of results from files: a CSV, or the `run.json` of a run.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use miette::Diagnostic;
use serde_json::{Map, Value};
use thiserror::Error;

use super::table::{Columns, SEED};
use crate::files::open_regular_or_inherited;
use crate::pipeline::record::{RUN_FORMAT_VERSION, RunRecord, TaskRecord};

/// The most bytes that are read of a table: the rest of a larger one is missing, which is an error.
const LARGEST: u64 = 256 << 20;

/// The error of a file without comparable results.
#[derive(Debug, Diagnostic, Error)]
pub enum ResultsFileError {
    /// A file cannot be read.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// A file has no results.
    #[error("{}: {problem}", path.display())]
    #[diagnostic(help(
        "give two files that `argd-pipe run` or `argd-pipe results` wrote, or runs in the cache"
    ))]
    NoTable {
        /// The file.
        path: PathBuf,
        /// The problem.
        problem: String,
    },
    /// Several rows of a file have the same fields in the columns of both files.
    #[error("{}: several rows are `{row}` in the columns of both files ({columns})", path.display())]
    #[diagnostic(help("compare tables of the same axes"))]
    Ambiguous {
        /// The file.
        path: PathBuf,
        /// The stage and axes of the rows.
        row: String,
        /// The columns.
        columns: String,
    },
}

/// Columns that are not part of the result.
const IGNORED: [&str; 2] = ["pipeline", "key"];

/// A table of results, as text.
pub(super) struct ResultsFile {
    path: PathBuf,
    header: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl ResultsFile {
    /// Reads a results CSV, or the results that a run recorded if the file's name ends in `.json` or `.json.gz`.
    pub fn read(path: &Path) -> Result<Self, ResultsFileError> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.ends_with(".json") || name.ends_with(".json.gz") {
            Self::read_run(path)
        } else {
            Self::read_csv(path)
        }
    }

    /// Reads the rows that the results CSV has after that run.
    fn read_run(path: &Path) -> Result<Self, ResultsFileError> {
        let no_table = |problem: String| ResultsFileError::NoTable { path: path.to_owned(), problem };
        open(path)?;
        let run = RunRecord::read(path)
            .map_err(|error| no_table(format!("it is not the file of a run: {error}")))?;
        if run.format_version > RUN_FORMAT_VERSION {
            return Err(no_table("it was written by a newer argd-pipe".to_owned()));
        }
        let tasks = with_results(&run);
        if tasks.is_empty() {
            return Err(no_table("the run stopped before producing results".to_owned()));
        }
        let axes = run.tasks.iter().flat_map(|task| task.label().axes.iter().map(|(axis, _)| axis.as_str()));
        let axes: BTreeSet<&str> = axes.collect();
        let columns = Columns::new(axes.into_iter(), tasks.iter().map(|(_, metrics)| *metrics));
        let row = |(task, metrics): &(&TaskRecord, &Map<String, Value>)| {
            let label = task.label();
            // The pipeline and the key are not part of the result.
            let mut fields = vec![String::new(), label.stage.clone()];
            fields.extend(columns.axes.iter().map(|axis| label.axis(axis).unwrap_or_default().to_owned()));
            fields.push(seed(&run, task));
            fields.extend(columns.metrics(metrics));
            fields.push(String::new());
            fields
        };
        let rows = tasks.iter().map(row).collect();
        Ok(Self { path: path.to_owned(), header: columns.header(), rows })
    }

    /// Reads a results CSV.
    pub fn read_csv(path: &Path) -> Result<Self, ResultsFileError> {
        let no_table = |problem: String| ResultsFileError::NoTable { path: path.to_owned(), problem };
        let mut reader = csv::Reader::from_reader(open(path)?.take(LARGEST));
        let fields = |record: &csv::StringRecord| record.iter().map(super::csv::decoded).collect::<Vec<_>>();
        let header = fields(reader.headers().map_err(|error| no_table(error.to_string()))?);
        for needed in ["stage", SEED] {
            if !header.iter().any(|name| name == needed) {
                return Err(no_table(format!("it has no column `{needed}`")));
            }
        }
        let rows = reader.records().map(|record| Ok(fields(&record?))).collect::<Result<_, csv::Error>>();
        let rows = rows.map_err(|error| no_table(error.to_string()))?;
        Ok(Self { path: path.to_owned(), header, rows })
    }

    /// The number of columns that identify a row: those up to the seed.
    fn split(&self) -> usize {
        self.header.iter().position(|name| name == SEED).map_or(0, |at| at + 1)
    }

    /// The columns that identify a row.
    pub fn identity(&self) -> Vec<String> {
        self.header[..self.split()].iter().filter(|name| !IGNORED.contains(&name.as_str())).cloned().collect()
    }

    /// The columns of the metrics.
    pub fn metrics(&self) -> impl Iterator<Item = &String> {
        self.header[self.split()..].iter().filter(|name| !IGNORED.contains(&name.as_str()))
    }

    /// Whether a column has several values.
    pub fn varies(&self, column: &str) -> bool {
        self.values(column).collect::<BTreeSet<_>>().len() > 1
    }

    /// The values in a column.
    pub fn values<'f>(&'f self, column: &'f str) -> impl Iterator<Item = &'f str> {
        self.rows.iter().map(move |row| self.field(row, column))
    }

    /// The field of a row in a column. Empty if the column does not exist.
    pub fn field<'r>(&self, row: &'r [String], column: &str) -> &'r str {
        let at = self.header.iter().position(|name| name == column);
        at.and_then(|at| row.get(at)).map_or("", String::as_str)
    }

    /// The names of the rows: their fields in these columns, in the rows' order.
    pub fn names(&self, by: &[String]) -> Vec<Vec<String>> {
        let name = |row: &Vec<String>| by.iter().map(|column| self.field(row, column).to_owned()).collect();
        self.rows.iter().map(name).collect()
    }

    /// The rows by their names in these columns. The names must be unique.
    pub fn by(&self, by: &[String]) -> Result<BTreeMap<Vec<String>, &[String]>, ResultsFileError> {
        let mut rows = BTreeMap::new();
        for (name, row) in self.names(by).into_iter().zip(&self.rows) {
            if rows.insert(name.clone(), row.as_slice()).is_some() {
                let (row, columns) = (name.join(" "), by.join(", "));
                return Err(ResultsFileError::Ambiguous { path: self.path.clone(), row, columns });
            }
        }
        Ok(rows)
    }
}

fn open(path: &Path) -> Result<File, ResultsFileError> {
    open_regular_or_inherited(path).map_err(|source| ResultsFileError::Io { path: path.to_owned(), source })
}

/// The tasks of a run that are rows, in the order of the CSV. If the manifest has no `results`, all tasks with metrics.
fn with_results(run: &RunRecord) -> Vec<(&TaskRecord, &Map<String, Value>)> {
    let measured = || run.tasks.iter().filter_map(|task| Some((task, task.metrics()?)));
    match &run.results {
        Some(stages) => stages
            .iter()
            .flat_map(|stage| measured().filter(move |(task, _)| task.label().stage == *stage))
            .collect(),
        None => measured().collect(),
    }
}

/// The seed of a task: its value on the axis `seed`, or the manifest's seed.
fn seed(run: &RunRecord, task: &TaskRecord) -> String {
    if run.tasks.iter().any(|task| task.label().axis(SEED).is_some()) {
        task.label().axis(SEED).unwrap_or_default().to_owned()
    } else {
        run.seed.to_string()
    }
}
