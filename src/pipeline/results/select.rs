//! A view of a results table: some of its rows, in another order. The table's file does not change.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use miette::Diagnostic;
use thiserror::Error;

use super::table::{Row, Table};
use crate::manifest::suggest::did_you_mean;
use crate::pipeline::plan::fits;

/// The error of an impossible view.
#[derive(Clone, Debug, PartialEq, Eq, Diagnostic, Error)]
pub enum NoView {
    /// An unknown column.
    #[error("the results have no column `{wanted}`")]
    Column {
        /// The name.
        wanted: String,
        /// The existing names.
        #[help]
        hint: String,
    },
    /// A pattern that no field of a column matches.
    #[error("no row has `{wanted}` in `{column}`")]
    Value {
        /// The column.
        column: String,
        /// The pattern.
        wanted: String,
        /// The existing names.
        #[help]
        hint: String,
    },
}

impl Table {
    /// Keeps the rows whose field in a column matches a pattern (`*` and `?` as in a shell). Tasks without a result are
    /// matched by their stage and axes.
    ///
    /// # Errors
    /// If the column does not exist, or nothing matches.
    pub fn filter(&mut self, column: &str, pattern: &str) -> Result<(), NoView> {
        let at = self.column(column)?;
        let nothing_fits = self.nothing_fits(column, at, pattern);
        self.rows.retain(|row| row.fields.get(at).is_some_and(|field| fits(pattern, field)));
        self.missing.retain(|task| match task.axis(column) {
            Some(value) => fits(pattern, value),
            None => column != "stage" || fits(pattern, &task.stage),
        });
        if self.rows.is_empty() && self.missing.is_empty() { Err(nothing_fits) } else { Ok(()) }
    }

    /// Reports that no field matches, with the values of the column.
    fn nothing_fits(&self, column: &str, at: usize, wanted: &str) -> NoView {
        let fields = self.rows.iter().filter_map(|row| row.fields.get(at)).map(String::as_str);
        let axes = self.missing.iter().filter_map(|task| task.axis(column));
        let values: BTreeSet<&str> = fields.chain(axes).filter(|value| !value.is_empty()).collect();
        let values: Vec<&str> = values.into_iter().collect();
        let hint = did_you_mean(wanted, &format!("values of `{column}`"), &values);
        NoView::Value { column: column.to_owned(), wanted: wanted.to_owned(), hint }
    }

    /// Sorts the rows by a column: numbers by value, then text, then empty fields. `-column` sorts in descending order.
    /// Rows with equal fields keep their order.
    ///
    /// # Errors
    /// If the column does not exist.
    pub fn sort(&mut self, column: &str) -> Result<(), NoView> {
        let (column, descending) = column.strip_prefix('-').map_or((column, false), |column| (column, true));
        let at = self.column(column)?;
        let field = |row: &Row| row.fields.get(at).cloned().unwrap_or_default();
        self.rows.sort_by(|a, b| compare(&field(a), &field(b), descending));
        Ok(())
    }

    fn column(&self, name: &str) -> Result<usize, NoView> {
        self.header.iter().position(|header| header == name).ok_or_else(|| {
            let names: Vec<&str> = self.header.iter().map(String::as_str).collect();
            NoView::Column { wanted: name.to_owned(), hint: did_you_mean(name, "columns", &names) }
        })
    }
}

fn compare(a: &str, b: &str, descending: bool) -> Ordering {
    let turn = |order: Ordering| if descending { order.reverse() } else { order };
    match (a.is_empty(), b.is_empty()) {
        (false, false) => {}
        (a, b) => return a.cmp(&b),
    }
    match (a.parse::<f64>(), b.parse::<f64>()) {
        (Ok(a), Ok(b)) => turn(a.total_cmp(&b)),
        (Ok(_), Err(_)) => Ordering::Less,
        (Err(_), Ok(_)) => Ordering::Greater,
        (Err(_), Err(_)) => turn(a.cmp(b)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Map;

    use super::*;
    use crate::pipeline::plan::{Label, TaskId};

    fn table(fields: &[&str]) -> Table {
        let row = |(id, field): (usize, &&str)| {
            let label = Label { id: TaskId(id), stage: "after".into(), axes: vec![] };
            Row { task: label.into(), fields: vec!["after".into(), (*field).to_owned()], metrics: Map::new() }
        };
        Table {
            header: vec!["stage".into(), "asr".into()],
            rows: fields.iter().enumerate().map(row).collect(),
            missing: vec![],
        }
    }

    fn fields(table: &Table) -> Vec<&str> {
        table.rows.iter().map(|row| row.fields[1].as_str()).collect()
    }

    #[test]
    fn rows_are_sorted_as_numbers_with_empty_fields_last() {
        let mut table = table(&["10.00", "", "9.50", "x", "100.00"]);
        table.sort("asr").unwrap();
        assert_eq!(fields(&table), ["9.50", "10.00", "100.00", "x", ""]);
        table.sort("-asr").unwrap();
        assert_eq!(fields(&table), ["100.00", "10.00", "9.50", "x", ""]);
    }

    #[test]
    fn rows_are_kept_by_pattern() {
        let mut table = table(&["10.00", "9.50", "1.00"]);
        table.filter("asr", "1*").unwrap();
        table.filter("stage", "after").unwrap();
        assert_eq!(fields(&table), ["10.00", "1.00"]);
        let error = table.filter("asr", "9.50").unwrap_err();
        assert_eq!(error.to_string(), "no row has `9.50` in `asr`");
        assert_eq!(error.help().unwrap().to_string(), "values of `asr`: `1.00`, `10.00`");
    }

    #[test]
    fn an_unknown_column_is_reported_with_the_nearest_name() {
        let error = table(&["1"]).sort("-asd").unwrap_err();
        assert_eq!(error.to_string(), "the results have no column `asd`");
        assert_eq!(error.help().unwrap().to_string(), "did you mean `asr`? columns: `stage`, `asr`");
    }
}
