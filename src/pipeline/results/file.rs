//! Tables of results as they are in files: a CSV, or the `run.json` of a run.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use miette::Diagnostic;
use serde_json::{Map, Value};
use thiserror::Error;

use super::table::{Columns, SEED};
use crate::pipeline::record::{RUN_FORMAT_VERSION, RunRecord, TaskRecord};

/// Why a file holds no results that can be compared.
#[derive(Debug, Diagnostic, Error)]
pub enum ResultsFileError {
    /// A file cannot be read.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file holds no results.
    #[error("{}: {problem}", path.display())]
    #[diagnostic(help(
        "give two files that `argd-pipe run` or `argd-pipe results` wrote, or runs in the cache"
    ))]
    NoTable {
        /// Which.
        path: PathBuf,
        /// Why not.
        problem: String,
    },
    /// Rows of a file cannot be told apart by the columns that both files have.
    #[error("{}: several rows are `{row}` by the columns that both files have ({columns})", path.display())]
    #[diagnostic(help("compare tables of the same axes"))]
    Ambiguous {
        /// Which.
        path: PathBuf,
        /// The stage and axes of the rows.
        row: String,
        /// The columns.
        columns: String,
    },
}

/// Columns that say nothing about the result.
const IGNORED: [&str; 2] = ["pipeline", "key"];

/// A table of results, as text.
pub(super) struct ResultsFile {
    path: PathBuf,
    header: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl ResultsFile {
    /// Reads a results CSV, or from a file whose name ends in `.json` the results that a run recorded.
    pub fn read(path: &Path) -> Result<Self, ResultsFileError> {
        if path.extension().is_some_and(|extension| extension == "json") {
            Self::read_run(path)
        } else {
            Self::read_csv(path)
        }
    }

    /// Reads what the results CSV would have after that run.
    fn read_run(path: &Path) -> Result<Self, ResultsFileError> {
        let no_table = |problem: String| ResultsFileError::NoTable { path: path.to_owned(), problem };
        let run: RunRecord = serde_json::from_reader(BufReader::new(open(path)?))
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
            // Neither the pipeline nor the key says anything about the result.
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

    fn read_csv(path: &Path) -> Result<Self, ResultsFileError> {
        let no_table = |problem: String| ResultsFileError::NoTable { path: path.to_owned(), problem };
        let mut reader = csv::Reader::from_reader(open(path)?);
        let fields = |record: &csv::StringRecord| record.iter().map(str::to_owned).collect::<Vec<_>>();
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

    /// How many columns tell rows apart: those up to the seed.
    fn split(&self) -> usize {
        self.header.iter().position(|name| name == SEED).map_or(0, |at| at + 1)
    }

    /// The columns that tell rows apart.
    pub fn identity(&self) -> Vec<String> {
        self.header[..self.split()].iter().filter(|name| !IGNORED.contains(&name.as_str())).cloned().collect()
    }

    /// The columns that hold results.
    pub fn metrics(&self) -> impl Iterator<Item = &String> {
        self.header[self.split()..].iter().filter(|name| !IGNORED.contains(&name.as_str()))
    }

    /// Whether a column has several values.
    pub fn varies(&self, column: &str) -> bool {
        self.rows.iter().map(|row| self.field(row, column)).collect::<BTreeSet<_>>().len() > 1
    }

    /// What a row has in a column; empty if there is no such column.
    pub fn field<'r>(&self, row: &'r [String], column: &str) -> &'r str {
        let at = self.header.iter().position(|name| name == column);
        at.and_then(|at| row.get(at)).map_or("", String::as_str)
    }

    /// What rows are called by these columns, in their order.
    pub fn names(&self, by: &[String]) -> Vec<Vec<String>> {
        let name = |row: &Vec<String>| by.iter().map(|column| self.field(row, column).to_owned()).collect();
        self.rows.iter().map(name).collect()
    }

    /// The rows by what they are called by these columns, which must tell them apart.
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
    File::open(path).map_err(|source| ResultsFileError::Io { path: path.to_owned(), source })
}

/// The tasks of a run that make a row, in the order of the CSV; where no stage is named, all that have metrics.
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

/// The seed of a task: the manifest's, or where `seed` is an axis, the task's value on it.
fn seed(run: &RunRecord, task: &TaskRecord) -> String {
    if run.tasks.iter().any(|task| task.label().axis(SEED).is_some()) {
        task.label().axis(SEED).unwrap_or_default().to_owned()
    } else {
        run.seed.to_string()
    }
}
