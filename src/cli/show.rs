//! `argd-pipe show`: shows everything about one task.

use std::time::{Duration, UNIX_EPOCH};

use clap::Args;
use serde_json::{Value, json};

use super::error::CliError;
use super::options::{Global, ManifestArgs};
use super::prepare::{Prepared, prepare};
use super::ui::Ui;
use super::ui::card::Card;
use super::ui::format::{bytes, count, duration};
use super::ui::table;
use crate::pipeline::record::Utc;
use crate::pipeline::{self, Event, Status, Target, Task};
use crate::stages::metrics::VALID;
use crate::stages::why_not_valid;
use crate::store::{Digest, Execution, Record};

/// The version of the JSON: raised when a field changes its meaning or is removed.
const FORMAT_VERSION: u32 = 1;

const EXAMPLES: &str = "\
Examples:
  argd-pipe show pipelines/badnets.yaml backdoored
  argd-pipe show pipelines/badnets.yaml 'after@clean_ratio=0.05,defense=argd' --json";

/// Show the key, inputs, outputs and metrics of a task.
///
/// This also shows the components of the key, and where, when and how the task was executed.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Show {
    #[command(flatten)]
    manifest: ManifestArgs,

    /// The task: `STAGE`, or `STAGE@AXIS=VALUE,AXIS=VALUE`.
    #[arg(value_name = "TASK")]
    task: Target,

    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl Show {
    pub(super) fn perform(&self, global: &Global, ui: &Ui) -> Result<(), CliError> {
        let (prepared, task) = one_task(&self.manifest, &self.task, global, ui)?;
        let status = pipeline::status(&prepared.plan, &prepared.store, &mut |task, damage| {
            ui.show(&Event::damaged(task, damage))
        })?;
        let look = Look { prepared: &prepared, status: &status, task: prepared.plan.task(task) };
        if self.json { ui.json(&look.document()) } else { ui.print(&look.card()) }
    }
}

/// Narrows a plan to one task and what it needs.
pub(super) fn one_task(
    manifest: &ManifestArgs,
    target: &Target,
    global: &Global,
    ui: &Ui,
) -> Result<(Prepared, pipeline::TaskId), CliError> {
    let prepared = prepare(manifest, global, ui)?;
    prepared.plan.picked_one(target)?;
    let (prepared, picked) = prepared.narrow(std::slice::from_ref(target), false)?;
    let task = picked.first().copied();
    // The plan still has the task that the target matched.
    Ok((prepared, task.unwrap_or(pipeline::TaskId(0))))
}

struct Look<'a> {
    prepared: &'a Prepared,
    status: &'a Status,
    task: &'a Task,
}

/// An input or an output.
struct Artifact {
    port: String,
    /// Of an input: the task that it comes from.
    from: Option<String>,
    digest: Digest,
    /// In bytes; `None` if it is not in the cache.
    size: Option<u64>,
}

impl Look<'_> {
    fn record(&self) -> Option<&Record> {
        self.status.record(self.task.id())
    }

    /// The inputs that have been computed.
    fn inputs(&self) -> Vec<Artifact> {
        let connections = self
            .task
            .inputs
            .iter()
            .filter_map(|connection| Some((connection, self.status.record(connection.producer)?)));
        connections
            .flat_map(|(connection, record)| {
                let from = self.prepared.plan.task(connection.producer).label.to_string();
                connection.artifacts.iter().filter_map(move |(port, output)| {
                    let found = record.outputs.iter().find(|found| found.port == *output)?;
                    Some(self.artifact(port, Some(from.clone()), found.digest))
                })
            })
            .collect()
    }

    fn outputs(&self) -> Vec<Artifact> {
        let outputs = self.record().map_or(&[][..], |record| &record.outputs);
        outputs.iter().map(|output| self.artifact(&output.port, None, output.digest)).collect()
    }

    fn artifact(&self, port: &str, from: Option<String>, digest: Digest) -> Artifact {
        let size = self.prepared.store.artifact_size(&digest);
        Artifact { port: port.to_owned(), from, digest, size }
    }

    fn card(&self) -> String {
        let (task, status) = (self.task, self.status.of(self.task.id()));
        let mut card = Card::new(&task.label.to_string());
        card.line("state", status.standing.name());
        table::reasons(status).iter().for_each(|reason| card.line("why", reason));
        card.line("kind", &format!("{}, version {}", task.kind, task.version));
        status.key.iter().for_each(|key| card.line("key", &key.to_string()));
        status.last.iter().for_each(|key| card.line("last key", &key.to_string()));
        card.line("numerics", self.prepared.plan.numerics());
        task.seed.iter().for_each(|seed| card.line("seed", &seed.to_string()));
        for (name, value) in task.bound.params().as_object().into_iter().flatten() {
            card.line("params", &format!("{name}: {value}"));
        }
        for (name, artifacts) in [("inputs", self.inputs()), ("outputs", self.outputs())] {
            artifacts.iter().for_each(|artifact| card.line(name, &artifact.to_string()));
        }
        if let Some(record) = self.record() {
            metrics(task, record).iter().for_each(|line| card.line("metrics", line));
            execution(&record.exec).iter().for_each(|fact| card.line("executed", fact));
            record.exec.warnings.iter().for_each(|warning| card.line("warning", warning));
            if record.nondeterministic {
                card.line("warning", "non-deterministic: computing this key twice gave different outputs");
            }
        }
        let store = &self.prepared.store;
        let logged = status.key.or(status.last).filter(|key| matches!(store.open_log(key), Ok(Some(_))));
        logged.iter().for_each(|key| card.line("log", &store.log(key).display().to_string()));
        card.text()
    }

    fn document(&self) -> Value {
        let artifacts = |artifacts: Vec<Artifact>| -> Value {
            let object = |artifact: &Artifact| {
                let Artifact { port, from, digest, size } = artifact;
                let path = self.prepared.store.object(digest);
                json!({"port": port, "from": from, "digest": digest, "size": size, "path": path})
            };
            artifacts.iter().map(object).collect()
        };
        json!({
            "format_version": FORMAT_VERSION,
            "status": self.status.of(self.task.id()),
            "kind": self.task.kind,
            "version": self.task.version,
            "seed": self.task.seed,
            "params": self.task.bound.params(),
            "inputs": artifacts(self.inputs()),
            "outputs": artifacts(self.outputs()),
            "record": self.record(),
        })
    }
}

/// Writes `model from backdoored, 702.1 KB, 12ab34cd56ef`.
impl std::fmt::Display for Artifact {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.port)?;
        self.from.iter().try_for_each(|task| write!(f, " from {task}"))?;
        let size = self.size.map_or_else(|| "not in the cache".to_owned(), bytes);
        write!(f, ", {size}, {}", self.digest.short())
    }
}

/// The metrics, one per line. A result that is not valid says why.
fn metrics(task: &Task, record: &Record) -> Vec<String> {
    let why = why_not_valid(&task.bound.params(), &record.metrics);
    let line = |(name, value): (&String, &Value)| match &why {
        Some(why) if name == VALID => format!("{name}: no ({why})"),
        _ => format!("{name}: {value}"),
    };
    record.metrics.iter().map(line).collect()
}

fn execution(exec: &Execution) -> Vec<String> {
    let Execution { host, started, seconds, threads, argd_version, peak_bytes, pipeline, task, warnings: _ } =
        exec;
    let started = Utc::from(UNIX_EPOCH + Duration::from_secs(*started));
    let mut facts = vec![
        format!("as {pipeline}/{task}"),
        format!("on {host}, by argd-pipe {argd_version}"),
        format!("from {started}, in {}, on {}", duration(*seconds), count(*threads, "thread")),
    ];
    facts.extend(peak_bytes.map(|peak| format!("peak memory of the whole process: {}", bytes(peak))));
    facts
}
