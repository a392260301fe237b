//! Tables of results as they are in files: a CSV, or the `run.json` of a run.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::{Map, Value};

use super::compare::CompareError;
use super::provenance::RUN_FORMAT_VERSION;
use super::results::{Columns, SEED};

/// Columns that say nothing about the result.
const IGNORED: [&str; 2] = ["pipeline", "key"];

/// A table of results, as text.
pub(super) struct Sheet {
    path: PathBuf,
    header: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Sheet {
    /// Reads a results CSV, or from a file whose name ends in `.json` the results that a run recorded.
    pub fn read(path: &Path) -> Result<Self, CompareError> {
        if path.extension().is_some_and(|extension| extension == "json") {
            Self::read_run(path)
        } else {
            Self::read_csv(path)
        }
    }

    /// Reads what the results CSV would have after that run.
    fn read_run(path: &Path) -> Result<Self, CompareError> {
        let no_table = |problem: String| CompareError::NoTable { path: path.to_owned(), problem };
        let run: RunFile = serde_json::from_reader(BufReader::new(open(path)?))
            .map_err(|error| no_table(format!("it is not the file of a run: {error}")))?;
        if run.format_version > RUN_FORMAT_VERSION {
            return Err(no_table("it was written by a newer argd-pipe".to_owned()));
        }
        let tasks = run.with_results();
        if tasks.is_empty() {
            return Err(no_table("it has no results: the run did not come to them".to_owned()));
        }
        let axes = run.tasks.iter().flat_map(|task| task.axes.keys().map(String::as_str));
        let axes: BTreeSet<&str> = axes.collect();
        let columns = Columns::new(axes.into_iter(), tasks.iter().map(|task| &task.metrics));
        let row = |task: &&RunTask| {
            // Neither the pipeline nor the key says anything about the result.
            let mut fields = vec![String::new(), task.stage.clone()];
            fields.extend(columns.axes.iter().map(|&axis| task.axes.get(axis).cloned().unwrap_or_default()));
            fields.push(run.seed(task));
            fields.extend(columns.metrics(&task.metrics));
            fields.push(String::new());
            fields
        };
        let rows = tasks.iter().map(row).collect();
        Ok(Self { path: path.to_owned(), header: columns.header(), rows })
    }

    fn read_csv(path: &Path) -> Result<Self, CompareError> {
        let no_table = |problem: String| CompareError::NoTable { path: path.to_owned(), problem };
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
    pub fn by(&self, by: &[String]) -> Result<BTreeMap<Vec<String>, &[String]>, CompareError> {
        let mut rows = BTreeMap::new();
        for (name, row) in self.names(by).into_iter().zip(&self.rows) {
            if rows.insert(name.clone(), row.as_slice()).is_some() {
                let (row, columns) = (name.join(" "), by.join(", "));
                return Err(CompareError::Ambiguous { path: self.path.clone(), row, columns });
            }
        }
        Ok(rows)
    }
}

fn open(path: &Path) -> Result<File, CompareError> {
    File::open(path).map_err(|source| CompareError::Io { path: path.to_owned(), source })
}

/// What is read of a `run.json`.
#[derive(Deserialize)]
struct RunFile {
    format_version: u32,
    seed: u64,
    /// Files from before this was written down, and manifests without results, have none.
    #[serde(default)]
    results: Option<Vec<String>>,
    tasks: Vec<RunTask>,
}

/// What is read of a task in it.
#[derive(Deserialize)]
struct RunTask {
    stage: String,
    axes: BTreeMap<String, String>,
    /// None if the task has no record.
    #[serde(default)]
    metrics: Map<String, Value>,
}

impl RunFile {
    /// The tasks that make a row, in the order of the CSV; where no stage is named, all that have metrics.
    fn with_results(&self) -> Vec<&RunTask> {
        let measured = || self.tasks.iter().filter(|task| !task.metrics.is_empty());
        match &self.results {
            Some(stages) => {
                stages.iter().flat_map(|stage| measured().filter(move |task| task.stage == *stage)).collect()
            }
            None => measured().collect(),
        }
    }

    /// The seed of a task: the manifest's, or where `seed` is an axis, the task's value on it.
    fn seed(&self, task: &RunTask) -> String {
        if self.tasks.iter().any(|task| task.axes.contains_key(SEED)) {
            task.axes.get(SEED).cloned().unwrap_or_default()
        } else {
            self.seed.to_string()
        }
    }
}
