//! Results over seeds: rows that differ only in their seed become one row of means and standard deviations.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::path::{Path, PathBuf};

use super::csv;
use super::table::{Row, SEED, Table, axis_columns, is_of_field};
use crate::files::{Durability, write_whole};
use crate::pipeline::error::RunError;
use crate::pipeline::plan::Plan;
use crate::stages::metrics::{COUNT, Metric, VALID, decimals};

/// The axis value of plain fine-tuning. Every defense is compared with it.
pub const BASELINE: &str = "finetune";

/// Results over seeds.
///
/// Columns: `pipeline`, `stage`, one per axis except `seed`, `n`, `n_invalid` if the manifest has requirements, and
/// `<metric>_mean` and `<metric>_sd` of every metric except counts. If a row has a partner with the value `finetune` on
/// one axis, also `<metric>_vs_finetune_mean` and `<metric>_vs_finetune_sd`: the mean and the deviation of its
/// differences from that partner, seed by seed. Rows that are not valid are counted, but do not enter the means.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// The names of the axes except `seed`.
    pub axes: Vec<String>,
    /// One per stage and cell without its seed.
    pub groups: Vec<Group>,
}

/// The rows of one stage that differ only in their seed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Group {
    /// The stage.
    pub stage: String,
    /// Its values on the axes except `seed`. Empty on an axis that it does not use.
    pub axes: Vec<String>,
    /// The number of valid rows.
    pub n: usize,
    /// The number of rows that are not valid. `None` without requirements.
    pub n_invalid: Option<usize>,
    /// By metric, over the valid rows.
    pub metrics: BTreeMap<String, Spread>,
    /// By metric, the differences from [`BASELINE`] over the valid rows with a partner.
    pub differences: BTreeMap<String, Spread>,
}

/// A mean and a standard deviation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// The mean.
    pub mean: f64,
    /// The standard deviation of the sample, with n - 1. `None` for a single value.
    pub deviation: Option<f64>,
}

impl Spread {
    fn of(values: &[f64]) -> Option<Self> {
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let squares = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>();
        let deviation = (values.len() > 1).then(|| (squares / (n - 1.0)).sqrt());
        (!values.is_empty()).then_some(Self { mean, deviation })
    }
}

impl Summary {
    /// Joins the rows of a table over their seeds. `None` if `seed` is not an axis of the plan.
    pub fn of(plan: &Plan, table: &Table) -> Option<Self> {
        plan.axes().iter().any(|axis| axis == SEED).then_some(())?;
        let axes: Vec<String> = plan.axes().iter().filter(|axis| *axis != SEED).cloned().collect();
        let places: HashMap<Place, &Row> =
            table.rows.iter().map(|row| (Place::of(&axes, row), row)).collect();
        let mut order = vec![];
        let mut groups: HashMap<Place, Vec<&Row>> = HashMap::new();
        for row in &table.rows {
            let place = Place { seed: String::new(), ..Place::of(&axes, row) };
            let rows = groups.entry(place.clone()).or_default();
            order.extend(rows.is_empty().then_some(place));
            rows.push(row);
        }
        let group = |place: Place| {
            let partner =
                |row: &Row| Place::of(&axes, row).partners().find_map(|place| places.get(&place).copied());
            Group::of(&groups[&place], place, partner)
        };
        let groups = order.into_iter().map(group).collect();
        Some(Self { axes, groups })
    }

    /// The summary as CSV.
    pub fn to_csv(&self, pipeline: &str) -> io::Result<Vec<u8>> {
        let metrics = names(self.groups.iter().map(|group| &group.metrics));
        let differences = names(self.groups.iter().map(|group| &group.differences));
        let has_invalid = self.groups.iter().any(|group| group.n_invalid.is_some());
        let mut numbers = vec!["n".to_owned()];
        numbers.extend(has_invalid.then(|| "n_invalid".to_owned()));
        numbers.extend(metrics.iter().flat_map(|name| [format!("{name}_mean"), format!("{name}_sd")]));
        let versus = |name: &&str| ["mean", "sd"].map(|part| format!("{name}_vs_{BASELINE}_{part}"));
        numbers.extend(differences.iter().flat_map(versus));
        let which = ["pipeline", "stage"].map(str::to_owned).to_vec();
        let is_taken = |axis: &str| which.iter().chain(&numbers).any(|name| name == axis);
        let axes = axis_columns(self.axes.iter().map(String::as_str), is_taken);
        let header = [which, axes, numbers].concat();
        let rows = self.groups.iter().map(|group| {
            let mut row = vec![pipeline.to_owned(), group.stage.clone()];
            row.extend(group.axes.iter().cloned());
            row.push(group.n.to_string());
            row.extend(has_invalid.then(|| group.n_invalid.map_or_else(String::new, |n| n.to_string())));
            row.extend(metrics.iter().flat_map(|name| fields(group.metrics.get(*name))));
            row.extend(differences.iter().flat_map(|name| fields(group.differences.get(*name))));
            row
        });
        let rows: Vec<Vec<String>> = rows.collect();
        csv::encode(&header, rows.iter().map(Vec::as_slice))
    }

    /// Writes the summary to a CSV file, as [`Table::write`] does.
    pub fn write(&self, pipeline: &str, path: &Path) -> Result<(), RunError> {
        let written = self.to_csv(pipeline).and_then(|bytes| write_whole(path, Durability::Content, &bytes));
        written.map_err(|source| RunError::Results { path: path.to_owned(), source })
    }

    /// Removes a summary of earlier results. Returns whether it existed.
    pub fn discard(path: &Path) -> Result<bool, RunError> {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            removed => {
                let removed = removed.map(|()| true);
                removed.map_err(|source| RunError::Results { path: path.to_owned(), source })
            }
        }
    }

    /// The summary's file beside a table's CSV: `results/a.seeds.csv` for `results/a.csv`.
    pub fn path(csv: &Path) -> PathBuf {
        csv.with_extension("seeds.csv")
    }
}

impl Group {
    fn of<'r>(rows: &[&'r Row], place: Place, partner: impl Fn(&Row) -> Option<&'r Row>) -> Self {
        let (valid, invalid): (Vec<&Row>, Vec<&Row>) = rows.iter().partition(|row| row.is_valid());
        let is_judged = rows.iter().any(|row| row.metrics.contains_key(VALID));
        let metrics: BTreeSet<&str> =
            valid.iter().flat_map(|row| row.metrics.keys().map(String::as_str)).collect();
        let metrics = metrics.into_iter().filter(|name| !name.starts_with(COUNT)).filter_map(|name| {
            let values: Vec<f64> = valid.iter().filter_map(|row| row.number(name)).collect();
            Some((name.to_owned(), Spread::of(&values)?))
        });
        let pairs: Vec<(&Row, &Row)> = valid.iter().filter_map(|row| Some((*row, partner(row)?))).collect();
        let differences = Metric::of_field().filter_map(|metric| {
            let name = metric.name;
            let counts = pairs.iter().filter(|(_, partner)| partner.is_valid());
            let values: Vec<f64> =
                counts.filter_map(|(row, partner)| Some(row.number(name)? - partner.number(name)?)).collect();
            Some((name.to_owned(), Spread::of(&values)?))
        });
        Self {
            metrics: metrics.collect(),
            differences: differences.collect(),
            stage: place.stage,
            axes: place.axes,
            n: valid.len(),
            n_invalid: is_judged.then_some(invalid.len()),
        }
    }
}

/// The stage, axes and seed of a row.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Place {
    stage: String,
    /// Values on the axes except `seed`.
    axes: Vec<String>,
    seed: String,
}

impl Place {
    fn of(axes: &[String], row: &Row) -> Self {
        let value = |axis: &str| row.task.axis(axis).unwrap_or_default().to_owned();
        let axes = axes.iter().map(|axis| value(axis)).collect();
        Self { stage: row.task.stage.clone(), axes, seed: value(SEED) }
    }

    /// The places that differ on one axis, with [`BASELINE`] there.
    fn partners(&self) -> impl Iterator<Item = Self> + '_ {
        let differs = |axis: &usize| !self.axes[*axis].is_empty() && self.axes[*axis] != BASELINE;
        (0..self.axes.len()).filter(differs).map(|axis| {
            let mut partner = self.clone();
            BASELINE.clone_into(&mut partner.axes[axis]);
            partner
        })
    }
}

/// The metrics of all groups: the standard ones first, then the others by name.
fn names<'a>(groups: impl Iterator<Item = &'a BTreeMap<String, Spread>>) -> Vec<&'a str> {
    let found: BTreeSet<&str> = groups.flat_map(|metrics| metrics.keys().map(String::as_str)).collect();
    let own = Metric::of_field().map(|metric| metric.name).filter(|name| found.contains(name));
    let others = found.iter().copied().filter(|name| !is_of_field(name));
    own.chain(others).collect()
}

fn fields(spread: Option<&Spread>) -> [String; 2] {
    let text = |value: Option<f64>| value.map_or_else(String::new, decimals);
    [text(spread.map(|spread| spread.mean)), text(spread.and_then(|spread| spread.deviation))]
}
