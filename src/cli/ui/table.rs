//! Tables: the plan, and the results.

use std::collections::{BTreeMap, BTreeSet};

use comfy_table::presets::UTF8_HORIZONTAL_ONLY;
use comfy_table::{CellAlignment, ColumnConstraint, ContentArrangement, LineStyle, Table, Width};
use rustix::termios::tcgetwinsize;

use super::format::{self, duration};
use crate::pipeline::results::{self, BASELINE, Change, Comparison, Group, Pair, Spread, Summary};
use crate::pipeline::{Plan, Standing, State, Survey, TaskId, TaskRef, TaskStatus};
use crate::plain::visible;
use crate::stages::metrics::{ACC, ASR, DIGITS, Metric, VALID};
use crate::stages::why_not_valid;
use crate::store::Record;

/// How a task got its result.
pub(in crate::cli) struct Executed {
    /// How long it took when it ran.
    seconds: f64,
    cached: bool,
}

impl Executed {
    /// It was in the cache.
    pub(in crate::cli) fn cached(record: &Record) -> Self {
        Self { seconds: record.exec.seconds, cached: true }
    }

    /// It has just been computed.
    pub(in crate::cli) fn now(record: &Record) -> Self {
        Self { seconds: record.exec.seconds, cached: false }
    }
}

/// A table of the results: stage, axes, metrics, time, cached or not. Empty without results.
///
/// The time is that of the whole cell: of the task and of the tasks that it needs with the same axes. So the row of a
/// defense shows the time of the defense, and not only of its evaluation.
pub(in crate::cli) fn of_results(
    plan: &Plan,
    results: &results::Table,
    executed: impl Fn(TaskId) -> Option<Executed>,
) -> String {
    let shown: Vec<(usize, &str, &str)> = Metric::titled()
        .filter_map(|(metric, title)| Some((column(results, metric.name)?, metric.name, title)))
        .collect();
    let header = head(plan).chain(shown.iter().map(|(.., title)| (*title).to_owned()));
    let rows = results.rows.iter().map(|row| {
        let valid = column(results, VALID);
        let metrics = shown.iter().map(|(column, name, _)| match row.fields.get(*column) {
            Some(_) if Some(*column) == valid => validity(plan, row),
            field => field.map_or_else(String::new, |field| format::metric(name, field)),
        });
        let own: Vec<Executed> = of_cell(plan, row.task.id).into_iter().filter_map(&executed).collect();
        let time = duration(own.iter().map(|executed| executed.seconds).sum());
        let cached = if own.iter().all(|executed| executed.cached) { "cached" } else { "" };
        name(plan, &row.task).chain(metrics).chain([time, cached.to_owned()]).collect()
    });
    let first_number = 1 + plan.axes().len();
    draw(header.chain(["time".to_owned(), String::new()]).collect(), rows.collect(), first_number..)
}

/// Whether a result is valid, and why not.
fn validity(plan: &Plan, row: &results::Row) -> String {
    let why = why_not_valid(&plan.task(row.task.id).bound.params(), &row.metrics);
    match (why, row.metrics.get(VALID)) {
        (Some(why), _) => format!("no ({why})"),
        (None, Some(_)) => "yes".to_owned(),
        (None, None) => String::new(),
    }
}

/// A table of the results over seeds: stage, axes, number of seeds, mean and standard deviation of each metric, and the
/// differences in ACC and ASR from plain fine-tuning.
pub(in crate::cli) fn of_summary(summary: &Summary) -> String {
    let has = |get: fn(&Group) -> &BTreeMap<String, Spread>, name: &str| {
        summary.groups.iter().any(|group| get(group).contains_key(name))
    };
    let titled = || Metric::titled().map(|(metric, title)| (metric.name, title));
    let metrics: Vec<_> = titled().filter(|(name, _)| has(|group| &group.metrics, name)).collect();
    let compared = titled().filter(|(name, _)| [ACC, ASR].contains(name));
    let differences: Vec<_> = compared.filter(|(name, _)| has(|group| &group.differences, name)).collect();
    let has_invalid = summary.groups.iter().any(|group| group.n_invalid.is_some());

    let mut header = vec!["stage".to_owned()];
    header.extend(summary.axes.iter().cloned());
    header.push("n".to_owned());
    header.extend(has_invalid.then(|| "invalid".to_owned()));
    header.extend(metrics.iter().map(|(_, shown)| (*shown).to_owned()));
    header.extend(differences.iter().map(|(_, shown)| format!("{shown} vs {BASELINE}")));
    let rows = summary.groups.iter().map(|group| {
        let mut row = vec![group.stage.clone()];
        row.extend(group.axes.iter().cloned());
        row.push(group.n.to_string());
        row.extend(has_invalid.then(|| group.n_invalid.map_or_else(String::new, |n| n.to_string())));
        row.extend(metrics.iter().map(|(name, _)| spread(group.metrics.get(*name), false)));
        row.extend(differences.iter().map(|(name, _)| spread(group.differences.get(*name), true)));
        row
    });
    draw(header, rows.collect(), 1 + summary.axes.len()..)
}

/// Writes a mean with its standard deviation, if it has one.
fn spread(spread: Option<&Spread>, signed: bool) -> String {
    let Some(Spread { mean, deviation }) = spread else { return String::new() };
    let mean = if signed { format!("{mean:+.DIGITS$}") } else { format!("{mean:.DIGITS$}") };
    deviation.map_or(mean.clone(), |deviation| format!("{mean} ± {deviation:.DIGITS$}"))
}

/// A table of all tasks and their states.
pub(in crate::cli) fn of_plan(plan: &Plan, survey: &Survey) -> String {
    let header = head(plan).chain(["kind", "state", "key"].map(str::to_owned));
    let rows = plan.tasks().map(|task| {
        let (state, key) = match survey.state(task.id()) {
            State::Cached(record) => ("cached", record.key.short()),
            State::ToRun(keyed) => ("to run", keyed.key.short()),
            State::Pending => ("pending", String::new()),
            State::Failed(_) => ("cannot run", String::new()),
        };
        name(plan, &task.label).chain([task.kind.to_owned(), state.to_owned(), key]).collect()
    });
    draw(header.collect(), rows.collect(), ..0)
}

/// A Markdown table.
pub(in crate::cli) fn markdown<'r>(header: &[String], rows: impl Iterator<Item = &'r [String]>) -> String {
    let line = |fields: &[String]| {
        let fields: Vec<String> = fields.iter().map(|field| visible(field).replace('|', "\\|")).collect();
        format!("| {} |\n", fields.join(" | "))
    };
    let rule = format!("|{}\n", "---|".repeat(header.len()));
    [line(header), rule].into_iter().chain(rows.map(line)).collect()
}

/// A table of the differences: a row per pair that differs, and a column per metric that differs in any pair.
pub(in crate::cli) fn of_comparison(comparison: &Comparison) -> String {
    let changed = || comparison.pairs.iter().filter(|pair| !pair.changes.is_empty());
    let mut metrics: Vec<&str> = vec![];
    for change in changed().flat_map(|pair| &pair.changes) {
        if !metrics.contains(&change.metric.as_str()) {
            metrics.push(&change.metric);
        }
    }
    let header = comparison.by.iter().cloned().chain(metrics.iter().map(|&metric| shown(metric)));
    let pair = |pair: &Pair| {
        let cell = |metric: &&str| {
            pair.changes.iter().find(|change| change.metric == *metric).map(difference).unwrap_or_default()
        };
        pair.row.iter().cloned().chain(metrics.iter().map(cell)).collect::<Vec<_>>()
    };
    let alone = |rows: &[Vec<String>], what: &str| -> Vec<Vec<String>> {
        let blank = metrics.len().saturating_sub(1);
        let fields = |row: &Vec<String>| {
            let cells = std::iter::once(what.to_owned()).chain(vec![String::new(); blank]);
            row.iter().cloned().chain(cells).collect()
        };
        rows.iter().map(fields).collect()
    };
    let mut rows: Vec<Vec<String>> = changed().map(pair).collect();
    rows.extend(alone(&comparison.removed, "only in the first"));
    rows.extend(alone(&comparison.added, "only in the second"));
    draw(header.collect(), rows, ..0)
}

/// `84.12 -> 83.90 (-0.22)`.
fn difference(change: &Change) -> String {
    let Change { metric, old, new, difference } = change;
    let written =
        |value: &str| if value.is_empty() { "(none)".to_owned() } else { format::metric(metric, value) };
    let by = difference.map_or_else(String::new, |by| format!(" ({by:+.2})"));
    format!("{} -> {}{by}", written(old), written(new))
}

/// The name of a metric for people.
fn shown(metric: &str) -> String {
    Metric::named(metric).and_then(|metric| metric.title).unwrap_or(metric).to_owned()
}

/// A table of tasks and their states, with the reasons if `why`.
pub(in crate::cli) fn of_status(plan: &Plan, tasks: &[&TaskStatus], why: bool) -> String {
    let header = head(plan).chain(["state", "key"].map(str::to_owned)).chain(why.then(|| "why".to_owned()));
    let rows = tasks.iter().map(|status| {
        let key = status.key.map(|key| key.short()).unwrap_or_default();
        let own = name(plan, &status.task).chain([status.standing.name().to_owned(), key]);
        let own = own.map(|field| visible(&field).into_owned());
        let reasons = reasons(status).iter().map(|reason| visible(reason).into_owned()).collect::<Vec<_>>();
        own.chain(why.then(|| reasons.join("\n"))).collect()
    });
    lay_out(header.collect(), rows.collect(), ..0)
}

/// Why a task is not cached, one line per reason.
pub(in crate::cli) fn reasons(status: &TaskStatus) -> Vec<String> {
    let note = status.note.iter().map(|note| match status.standing {
        Standing::Running => format!("{note} is computing it"),
        Standing::Failed => format!("it failed last time: {note}"),
        _ => note.clone(),
    });
    let note = note.flat_map(|note| note.lines().map(str::to_owned).collect::<Vec<_>>());
    // The changes since its last success do not explain why a task failed.
    let keys = status.reasons.iter().filter(|_| status.standing != Standing::Failed);
    note.chain(keys.map(ToString::to_string)).collect()
}

/// A task, and the tasks with the same axes that it needs, directly or not.
fn of_cell(plan: &Plan, id: TaskId) -> BTreeSet<TaskId> {
    let (mut found, mut open) = (BTreeSet::from([id]), vec![id]);
    while let Some(next) = open.pop() {
        let same_axes = |need: &TaskId| plan.task(*need).label.axes == plan.task(id).label.axes;
        open.extend(plan.needs(next).filter(same_axes).filter(|need| found.insert(*need)));
    }
    found
}

/// The columns that name the task of a row.
fn head(plan: &Plan) -> impl Iterator<Item = String> {
    std::iter::once("stage".to_owned()).chain(plan.axes().iter().cloned())
}

/// A task's fields in the columns of [`head`].
fn name(plan: &Plan, task: &TaskRef) -> impl Iterator<Item = String> {
    let axes = plan.axes().iter().map(|axis| task.axis(axis).unwrap_or_default().to_owned());
    std::iter::once(task.stage.clone()).chain(axes)
}

/// The column of a metric that at least one row has.
fn column(results: &results::Table, name: &str) -> Option<usize> {
    let column = results.header.iter().position(|header| header == name)?;
    results
        .rows
        .iter()
        .any(|row| row.fields.get(column).is_some_and(|field| !field.is_empty()))
        .then_some(column)
}

/// A table of anything; the columns in `numbers` are aligned to the right.
pub(in crate::cli) fn of_rows(
    header: &[&str],
    rows: Vec<Vec<String>>,
    numbers: impl std::ops::RangeBounds<usize>,
) -> String {
    draw(header.iter().map(|&name| name.to_owned()).collect(), rows, numbers)
}

fn draw(header: Vec<String>, rows: Vec<Vec<String>>, numbers: impl std::ops::RangeBounds<usize>) -> String {
    let line = |row: Vec<String>| row.iter().map(|field| visible(field).into_owned()).collect();
    lay_out(line(header), rows.into_iter().map(line).collect(), numbers)
}

/// The width of a table where standard output is not a terminal.
const USUAL_WIDTH: u16 = 100;

/// The length of a word that may be broken where a table is too wide.
const LONGEST_WHOLE_WORD: u16 = 32;

/// The spaces on both sides of a field.
const PADDING: u16 = 2;

/// The width of the terminal.
fn columns() -> u16 {
    let size = tcgetwinsize(std::io::stdout()).ok().map(|size| size.ws_col);
    size.filter(|columns| *columns > 0).unwrap_or(USUAL_WIDTH)
}

/// The length of the longest word in each column.
fn longest_words(header: &[String], rows: &[Vec<String>]) -> Vec<u16> {
    let longest = |field: &str| field.split_whitespace().map(|word| word.chars().count()).max().unwrap_or(0);
    let in_column = |index: usize| {
        let fields = rows.iter().filter_map(|row| row.get(index)).chain(header.get(index));
        fields.map(|field| longest(field)).max().unwrap_or(0)
    };
    (0..header.len()).map(|index| u16::try_from(in_column(index)).unwrap_or(u16::MAX)).collect()
}

/// Draws fields that have no control characters. They may have several lines.
fn lay_out(
    header: Vec<String>,
    rows: Vec<Vec<String>>,
    numbers: impl std::ops::RangeBounds<usize>,
) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let mut table = Table::new();
    table
        .load_style(UTF8_HORIZONTAL_ONLY.row_separator(LineStyle::none()))
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_width(columns());
    let longest = longest_words(&header, &rows);
    table.set_header(header).add_rows(rows);
    for (index, column) in table.column_iter_mut().enumerate() {
        let least = longest[index].min(LONGEST_WHOLE_WORD) + PADDING;
        column.set_constraint(ColumnConstraint::LowerBoundary(Width::Fixed(least)));
        if numbers.contains(&index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.trim_fmt() + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(columns: usize, field: &str) -> String {
        let header = (0..columns).map(|at| format!("ASR vs {at}")).collect();
        draw(header, vec![vec![field.to_owned(); columns]; 2], 1..)
    }

    #[test]
    fn a_wide_table_is_folded_between_words() {
        let seeds = table(9, "+84.12 ± 10.31");
        assert!(seeds.lines().all(|line| line.chars().count() <= USUAL_WIDTH.into()), "{seeds}");
        assert_eq!(seeds.matches("+84.12").count(), 18, "{seeds}");
        let differences = table(6, "84.12 -> 83.90 (-0.22)");
        assert!(differences.lines().all(|line| line.chars().count() <= USUAL_WIDTH.into()), "{differences}");
        assert_eq!(differences.matches("(-0.22)").count(), 12, "{differences}");
        assert_eq!(table(3, "84.12 ± 0.31").lines().count(), 6, "a narrow table is not folded");
    }

    #[test]
    fn a_field_does_not_begin_a_row() {
        let drawn = table(2, "a\n finished b");
        assert!(drawn.contains(r"a\n finished b"), "{drawn}");
    }
}
