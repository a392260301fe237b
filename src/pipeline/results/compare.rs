//! Compares two results tables: pairs rows by stage and axes, and finds the metrics that differ.

use std::path::Path;

use serde::Serialize;

use super::file::{ResultsFile, ResultsFileError};
use super::table::SEED;

/// The differences between two tables.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// The columns that pair rows: `stage` and axes.
    pub by: Vec<String>,
    /// Pairs of rows in the order of the first table.
    pub pairs: Vec<Pair>,
    /// Rows that only the first table has, by their fields in `by`.
    pub removed: Vec<Vec<String>>,
    /// Rows that only the second table has, by their fields in `by`.
    pub added: Vec<Vec<String>>,
}

/// Two rows of one stage and the same axes.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Pair {
    /// Their fields in the columns that pair rows.
    pub row: Vec<String>,
    /// The metrics that differ.
    pub changes: Vec<Change>,
}

/// A metric that differs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Change {
    /// Its name.
    pub metric: String,
    /// Its value in the first table, as written there. Empty if it is missing.
    pub old: String,
    /// Its value in the second table.
    pub new: String,
    /// The second value minus the first, if both are numbers.
    pub difference: Option<f64>,
}

/// Compares the results in two files, each a CSV or the `run.json` of a run.
pub fn compare(old: &Path, new: &Path) -> Result<Comparison, ResultsFileError> {
    let (old, new) = (ResultsFile::read(old)?, ResultsFile::read(new)?);
    let seeds = old.varies(SEED) || new.varies(SEED);
    let is_shared = |name: &&String| new.identity().contains(name) && (seeds || *name != SEED);
    let by: Vec<String> = old.identity().iter().filter(is_shared).cloned().collect();
    let only_new = new.metrics().filter(|name| !old.metrics().any(|other| other == *name));
    let metrics: Vec<&String> = old.metrics().chain(only_new).collect();
    let (old_rows, mut new_rows) = (old.by(&by)?, new.by(&by)?);
    let mut comparison = Comparison { by: by.clone(), pairs: vec![], removed: vec![], added: vec![] };
    for row in old.names(&by) {
        let Some(partner) = new_rows.remove(&row) else {
            comparison.removed.push(row);
            continue;
        };
        let own = old_rows[&row];
        let change =
            |metric: &&String| Change::between(metric, old.field(own, metric), new.field(partner, metric));
        comparison.pairs.push(Pair { changes: metrics.iter().filter_map(change).collect(), row });
    }
    comparison.added = new.names(&by).into_iter().filter(|row| new_rows.contains_key(row)).collect();
    Ok(comparison)
}

impl Change {
    fn between(metric: &str, old: &str, new: &str) -> Option<Self> {
        let difference = old.parse().ok().zip(new.parse().ok()).map(|(old, new): (f64, f64)| new - old);
        let (old, new) = (old.to_owned(), new.to_owned());
        (old != new).then(|| Self { metric: metric.to_owned(), old, new, difference })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compared(old: &str, new: &str) -> Result<Comparison, ResultsFileError> {
        let folder = tempfile::tempdir().unwrap();
        let [a, b] = [("a.csv", old), ("b.csv", new)].map(|(name, text)| {
            std::fs::write(folder.path().join(name), text).unwrap();
            folder.path().join(name)
        });
        compare(&a, &b)
    }

    const OLD: &str = "pipeline,stage,defense,seed,acc,asr,key\np,before,,1,90.00,100.00,k\np,after,nad,1,85.00,5.00,k\np,after,argd,1,86.00,3.00,k\n";

    #[test]
    fn rows_are_paired_by_stage_and_axes_in_any_order() {
        let new = "pipeline,stage,defense,seed,acc,asr,der,key\nq,after,argd,2,87.50,3.00,,k\nq,after,mcr,2,1,1,1,k\nq,before,,2,90.00,100.00,,k\n";
        let comparison = compared(OLD, new).unwrap();
        assert_eq!(comparison.by, ["stage", "defense"], "one seed each: it does not distinguish rows");
        assert_eq!(comparison.removed, [["after", "nad"]]);
        assert_eq!(comparison.added, [["after", "mcr"]]);
        let change =
            Change { metric: "acc".into(), old: "86.00".into(), new: "87.50".into(), difference: Some(1.5) };
        assert_eq!(comparison.pairs[0], Pair { row: vec!["before".into(), "".into()], changes: vec![] });
        assert_eq!(comparison.pairs[1].changes, [change]);
    }

    #[test]
    fn several_seeds_distinguish_rows() {
        let two = OLD.to_owned() + "p,after,nad,2,84.00,6.00,k\n";
        let comparison = compared(&two, &two).unwrap();
        assert_eq!(comparison.by, ["stage", "defense", "seed"]);
        assert!(comparison.pairs.iter().all(|pair| pair.changes.is_empty()));
    }

    #[test]
    fn ambiguous_rows_and_other_tables_are_refused() {
        let other = "pipeline,stage,seed,acc,key\np,after,1,85.00,k\n";
        let message = compared(OLD, other).unwrap_err().to_string();
        assert!(
            message.contains("a.csv: several rows are `after`") && message.contains("(stage)"),
            "{message}"
        );
        let message = compared(OLD, "a,b\n1,2\n").unwrap_err().to_string();
        assert!(message.contains("b.csv: it has no column `stage`"), "{message}");
        assert!(matches!(
            compare(Path::new("no/such.csv"), Path::new("x")),
            Err(ResultsFileError::Io { .. })
        ));
    }
}
