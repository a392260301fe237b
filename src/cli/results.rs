//! `argd-pipe results`: writes the results again, from the cache.

use clap::{Args, ValueEnum};
use serde_json::{Map, Value, json};

use super::error::CliError;
use super::options::{Global, ManifestArgs};
use super::prepare::prepare;
use super::ui::table::{self, Executed};
use super::ui::{Ui, format};
use crate::pipeline::results::{self, Summary, Table};
use crate::pipeline::{self, Event, Plan, TaskId};

/// The version of the JSON: raised when a field changes its meaning or is removed.
const FORMAT_VERSION: u32 = 1;

const EXAMPLES: &str = "\
Examples:
  argd-pipe results pipelines/badnets.yaml
  argd-pipe results pipelines/badnets.yaml --set results.csv=results/again.csv
  argd-pipe results pipelines/badnets.yaml --filter stage=after --filter defense=argd --sort -asr
  argd-pipe results pipelines/badnets.yaml --format md > table.md
  argd-pipe results pipelines/badnets.yaml --partial";

/// Write the results CSV again from the cache.
///
/// This computes nothing. The file is the same, byte for byte, as the run wrote it. The command fails if a result has
/// not been computed, unless `--partial` is given. With `--format`, `--filter` or `--sort` it prints the results and
/// does not write the file.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Results {
    #[command(flatten)]
    manifest: ManifestArgs,

    /// Write the available rows, and report the missing ones on standard error.
    #[arg(long)]
    partial: bool,

    /// Print the results in this format.
    #[arg(long, value_name = "FORMAT", value_enum)]
    format: Option<Format>,

    /// Keep the rows with this value in a column of the CSV. `*` matches any text, `?` any character. Can be repeated.
    #[arg(long, value_name = "COLUMN=VALUE", value_parser = column_and_value)]
    filter: Vec<(String, String)>,

    /// Replace a CSV that holds results of another pipeline or of other axes, or something else.
    #[arg(long)]
    overwrite: bool,

    /// Sort by a column of the CSV; with `-COLUMN` the largest value comes first.
    #[arg(long, value_name = "COLUMN", allow_hyphen_values = true)]
    sort: Option<String>,
}

/// How results are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A table for people: the metrics and the time.
    Table,
    /// The same as the file.
    Csv,
    /// A Markdown table with all columns.
    Md,
    /// One object per row.
    Json,
}

fn column_and_value(text: &str) -> Result<(String, String), String> {
    let parts = text.split_once('=').filter(|(column, _)| !column.is_empty());
    let (column, value) = parts.ok_or("write a column and a value, such as `defense=argd`")?;
    Ok((column.to_owned(), value.to_owned()))
}

impl Results {
    pub(super) fn perform(&self, global: &Global, ui: &Ui) -> Result<(), CliError> {
        let prepared = prepare(&self.manifest, global, ui)?;
        let (plan, store) = (&prepared.plan, &prepared.store);
        let whole = self.format.is_none() && self.filter.is_empty() && self.sort.is_none();
        if whole {
            check(plan, self.overwrite)?;
        }
        let survey =
            pipeline::survey(plan, store, &mut |task, damage| ui.show(&Event::damaged(task, damage)))?;
        let mut table = results::table(plan, |id| survey.record(id)).ok_or(CliError::NoResults)?;
        for (column, value) in &self.filter {
            table.filter(column, value)?;
        }
        match table.complete(&self.manifest.command(global, "run", &[])) {
            Err(missing) if self.partial && !table.rows.is_empty() => ui.warn(&missing),
            complete => complete?,
        }
        self.sort.as_ref().map_or(Ok(()), |column| table.sort(column))?;
        // The file comes first: it is complete even if standard output cannot be written.
        let written = if whole { write(plan, &table)? } else { vec![] };
        let executed = |id: TaskId| survey.record(id).map(Executed::cached);
        let shown = match self.format.unwrap_or(Format::Table) {
            Format::Table => show(plan, &table, executed, ui),
            Format::Csv => ui.data(&String::from_utf8_lossy(&table.to_csv()?)),
            Format::Md => {
                let rows = table.rows.iter().map(|row| row.fields.as_slice());
                ui.print(&table::markdown(&table.header, rows))
            }
            Format::Json => ui.json(&document(plan, &table)),
        };
        written.iter().for_each(|line| ui.say(line));
        shown
    }
}

/// Rows as objects, without the fields that are empty in the CSV.
fn document(plan: &Plan, table: &Table) -> Value {
    let value = |field: &String| match field.parse::<serde_json::Number>() {
        Ok(number) => Value::Number(number),
        Err(_) => field.clone().into(),
    };
    let row = |row: &results::Row| -> Value {
        let fields = table.header.iter().zip(&row.fields).filter(|(_, field)| !field.is_empty());
        Value::Object(fields.map(|(name, field)| (name.clone(), value(field))).collect::<Map<_, _>>())
    };
    let rows: Vec<Value> = table.rows.iter().map(row).collect();
    json!({"format_version": FORMAT_VERSION, "pipeline": plan.name(), "columns": table.header, "rows": rows})
}

/// Shows the results: each row, then the means over the seeds.
pub(super) fn show(
    plan: &Plan,
    table: &Table,
    executed: impl Fn(TaskId) -> Option<Executed>,
    ui: &Ui,
) -> Result<(), CliError> {
    ui.print(&table::of_results(plan, table, executed))?;
    Summary::of(plan, table).map_or(Ok(()), |summary| ui.print(&table::of_summary(&summary)))
}

/// Checks, before anything runs, that the CSV and the one over the seeds can be written, and that they do not replace
/// results of another pipeline or of other axes.
pub(super) fn check(plan: &Plan, overwrite: bool) -> Result<(), CliError> {
    results::check_files(plan)?;
    match (plan.results(), results::other_results(plan)) {
        (Some(spec), Some(holds)) if !overwrite => {
            Err(CliError::OtherResults { path: spec.csv.clone(), holds })
        }
        _ => Ok(()),
    }
}

/// Writes the CSV and the one over the seeds. Returns lines that report them.
pub(super) fn write(plan: &Plan, table: &Table) -> Result<Vec<String>, CliError> {
    let Some(spec) = plan.results() else { return Ok(vec![]) };
    let (summary, path) = (Summary::of(plan, table), Summary::path(&spec.csv));
    let mut lines = vec![];
    results::check_place(&spec.csv)?;
    // This comes before the CSV is replaced, so that it never lies beside the means of other results.
    if summary.is_none() && Summary::discard(&path)? {
        lines.push(format!("removed {}: it belonged to a run over several seeds", path.display()));
    }
    table.write(&spec.csv)?;
    let rows = format::count(table.rows.len(), "row");
    lines.push(format!("wrote {rows} to {}", spec.csv.display()));
    if let Some(summary) = summary {
        summary.write(plan.name(), &path)?;
        lines.push(format!("wrote the means over the seeds to {}", path.display()));
    }
    Ok(lines)
}
