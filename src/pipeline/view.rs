//! A view of a results table: some of its rows, in another order. The table itself, and so its file, stays as it is.

use std::cmp::Ordering;

use thiserror::Error;

use super::results::{Row, Table};
use super::target::fits;
use crate::manifest::suggest::did_you_mean;

/// A name that no column has.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("the results have no column `{wanted}`\nhint: {hint}")]
pub struct NoColumn {
    wanted: String,
    hint: String,
}

impl Table {
    /// Keeps the rows whose field in a column fits a pattern (`*` and `?` as in a shell). Tasks without a result are
    /// kept by what is known of them: their stage and axes.
    ///
    /// # Errors
    /// If there is no such column.
    pub fn filter(&mut self, column: &str, pattern: &str) -> Result<(), NoColumn> {
        let at = self.column(column)?;
        self.rows.retain(|row| row.fields.get(at).is_some_and(|field| fits(pattern, field)));
        self.missing.retain(|task| match task.axis(column) {
            Some(value) => fits(pattern, value),
            None => column != "stage" || fits(pattern, &task.stage),
        });
        Ok(())
    }

    /// Sorts the rows by a column, numbers by value and before text, empty fields last; `-column` the other way round.
    /// Rows that are equal in it keep their order.
    ///
    /// # Errors
    /// If there is no such column.
    pub fn sort(&mut self, column: &str) -> Result<(), NoColumn> {
        let (column, descending) = column.strip_prefix('-').map_or((column, false), |column| (column, true));
        let at = self.column(column)?;
        let field = |row: &Row| row.fields.get(at).cloned().unwrap_or_default();
        self.rows.sort_by(|a, b| compare(&field(a), &field(b), descending));
        Ok(())
    }

    fn column(&self, name: &str) -> Result<usize, NoColumn> {
        self.header.iter().position(|header| header == name).ok_or_else(|| {
            let names: Vec<&str> = self.header.iter().map(String::as_str).collect();
            NoColumn { wanted: name.to_owned(), hint: did_you_mean(name, "columns", &names) }
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
    use crate::pipeline::{Label, TaskId};

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
    fn rows_are_sorted_as_numbers_and_empty_ones_come_last() {
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
        table.filter("stage", "before").unwrap();
        assert_eq!(table.rows, []);
    }

    #[test]
    fn an_unknown_column_is_told_with_the_nearest() {
        let message = table(&["1"]).sort("-asd").unwrap_err().to_string();
        assert_eq!(
            message,
            "the results have no column `asd`\nhint: did you mean `asr`? columns: `stage`, `asr`"
        );
    }
}
