//! `argd-pipe cache ls`: lists all results.

use std::cmp::Reverse;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::Args;
use serde_json::{Value, json};

use crate::cli::error::CliError;
use crate::cli::ui::{Ui, format, table};
use crate::pipeline::Components;
use crate::store::{Entry, Kept, Record, Store};

const EXAMPLES: &str = "\
Examples:
  argd-pipe cache ls
  argd-pipe cache ls --json";

/// List all results, the last used first.
///
/// A result has the name of the task that computed it. Other tasks may use the same result.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Ls {
    /// Print JSON: a list of objects.
    #[arg(long)]
    json: bool,
}

impl Ls {
    pub(super) fn perform(&self, store: &Store, ui: &Ui) -> Result<(), CliError> {
        let mut entries = store.entries()?;
        entries.sort_by_key(|entry| (Reverse(entry.used), entry.key));
        if self.json {
            let entries: Value = entries.iter().map(to_json).collect();
            return ui.json(&entries);
        }
        let now = SystemTime::now();
        let header = ["key", "task", "kind", "size", "took", "used", ""];
        let rows = entries.iter().map(|entry| row(entry, now)).collect();
        ui.print(&table::of_rows(&header, rows, 3..5))?;
        ui.say(&format::count(entries.len(), "result"));
        Ok(())
    }
}

fn row(entry: &Entry, now: SystemTime) -> Vec<String> {
    let used = format::ago(entry.used, now);
    let key = entry.key.short();
    match &entry.kept {
        Kept::Record(record) => {
            let took = format::duration(record.exec.seconds);
            let remark = if record.nondeterministic { "non-deterministic" } else { "" };
            let size = format::bytes(bytes(record));
            vec![key, record.name(), kind(record).to_owned(), size, took, used, remark.to_owned()]
        }
        Kept::Damaged(_) => unreadable(key, used, "damaged"),
        Kept::Newer => unreadable(key, used, "written by a newer argd-pipe"),
    }
}

fn unreadable(key: String, used: String, remark: &str) -> Vec<String> {
    let nothing = String::new;
    vec![key, nothing(), nothing(), nothing(), nothing(), used, remark.to_owned()]
}

fn to_json(entry: &Entry) -> Value {
    let used = entry.used.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let Some(record) = entry.record() else {
        return json!({"key": entry.key, "used": used, "readable": false});
    };
    json!({
        "key": entry.key, "used": used, "readable": true,
        "pipeline": record.exec.pipeline, "task": record.exec.task, "kind": kind(record),
        "bytes": bytes(record), "seconds": record.exec.seconds, "host": record.exec.host,
        "nondeterministic": record.nondeterministic, "metrics": record.metrics,
    })
}

fn kind(record: &Record) -> String {
    Components::of(record).map(|components| components.kind).unwrap_or_default()
}

fn bytes(record: &Record) -> u64 {
    record.outputs.iter().fold(0, |sum, output| sum.saturating_add(output.size))
}
