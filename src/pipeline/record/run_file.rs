//! The file of a run, `run.json`: enough to repeat the run, and to find out why results differ.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::git::Git;
use crate::files::{Durability, Folder};
use crate::pipeline::plan::{Label, Plan, Task, TaskRef};
use crate::pipeline::run::{Ending, Run, Settings};
use crate::store::{Digest, Key, Record};

/// The format version of [`RunRecord`]. It is raised if a reader of the old format would misread the new one.
pub const RUN_FORMAT_VERSION: u32 = 1;

/// The description of a run. Nothing in it enters a key.
#[derive(Debug, Serialize, Deserialize)]
pub struct RunRecord {
    /// [`RUN_FORMAT_VERSION`].
    pub format_version: u32,
    /// The manifest's name.
    pub pipeline: String,
    /// The manifest.
    pub manifest: ManifestText,
    /// The changes by `--set` and `--matrix`, in order.
    pub overrides: Vec<String>,
    /// The seed, unless it is an axis.
    pub seed: u64,
    /// The class of numerics.
    pub numerics: String,
    /// The stages whose tasks are the rows of the results, if the manifest has `results`.
    #[serde(default)]
    pub results: Option<Vec<String>>,
    /// The limits of the run.
    pub settings: RunSettings,
    /// The program.
    pub program: Program,
    /// The state of the manifest's repository, if it is in one.
    pub git: Option<Git>,
    /// The machine.
    pub machine: Machine,
    /// When it started, in UTC.
    pub started: String,
    /// When it ended. Absent while it runs, or if it was killed.
    pub finished: Option<String>,
    /// How it ended. Absent while it runs, or if it was killed.
    pub outcome: Option<RunOutcome>,
    /// The tasks of the plan, or of the part that the targets picked.
    pub tasks: Vec<TaskRecord>,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RunOutcome {
    /// Every task has a result.
    Done,
    /// A task failed or was withheld.
    Failed,
    /// The run was stopped.
    Stopped,
}

/// The manifest at the time of the run.
#[derive(Debug, Serialize, Deserialize)]
pub struct ManifestText {
    /// The file.
    pub path: PathBuf,
    /// Its text.
    pub text: String,
}

/// [`Settings`] as the file keeps them.
#[derive(Debug, Serialize, Deserialize)]
pub struct RunSettings {
    /// The number of tasks that may run at once.
    pub jobs: usize,
    /// The total number of threads.
    pub threads: usize,
    /// The memory budget in bytes, if it was set.
    pub memory: Option<u64>,
}

impl From<&Settings> for RunSettings {
    fn from(settings: &Settings) -> Self {
        Self { jobs: settings.jobs, threads: settings.threads, memory: settings.memory }
    }
}

/// A program.
#[derive(Debug, Serialize, Deserialize)]
pub struct Program {
    /// Its version.
    pub version: String,
    /// Its arguments.
    pub arguments: Vec<String>,
}

/// A machine.
#[derive(Debug, Serialize, Deserialize)]
pub struct Machine {
    /// Its name.
    pub host: String,
    /// The operating system and its release.
    pub system: String,
    /// The kind of processor.
    pub architecture: String,
    /// Processors that the program may use.
    pub processors: usize,
}

/// A task in a run.
#[derive(Debug, Serialize, Deserialize)]
pub struct TaskRecord {
    /// Its label.
    #[serde(flatten)]
    task: TaskRef,
    /// The stage kind.
    kind: String,
    /// The version of the kind's implementation.
    version: u32,
    /// Its effective seed, if it depends on one.
    seed: Option<u64>,
    /// Its parameters after defaults.
    params: Value,
    /// The tasks that it needs, by port.
    needs: BTreeMap<String, String>,
    /// How it ended. Absent until the run ends.
    #[serde(flatten)]
    result: Option<TaskResult>,
}

/// How a task ended.
#[derive(Debug, Serialize, Deserialize)]
struct TaskResult {
    state: TaskState,
    #[serde(flatten)]
    made: Option<Made>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// How a task ended, without the record or the error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum TaskState {
    Cached,
    Finished,
    Failed,
    Withheld,
    Skipped,
    Unfinished,
}

/// The outputs of a task.
#[derive(Debug, Serialize, Deserialize)]
struct Made {
    key: Key,
    outputs: BTreeMap<String, Digest>,
    metrics: Map<String, Value>,
    seconds: f64,
}

impl TaskRecord {
    fn new(plan: &Plan, task: &Task) -> Self {
        let needs = task.inputs.iter();
        let needs = needs.map(|need| (need.port.to_owned(), plan.task(need.producer).label.to_string()));
        Self {
            task: task.label.clone(),
            kind: task.kind.to_owned(),
            version: task.version,
            seed: task.seed,
            params: task.bound.params(),
            needs: needs.collect(),
            result: None,
        }
    }
}

impl TaskRecord {
    /// Its label.
    pub fn label(&self) -> &Label {
        &self.task
    }

    /// The metrics, if it has any.
    pub fn metrics(&self) -> Option<&Map<String, Value>> {
        self.made().map(|made| &made.metrics).filter(|metrics| !metrics.is_empty())
    }

    fn made(&self) -> Option<&Made> {
        self.result.as_ref()?.made.as_ref()
    }
}

impl From<&Ending> for TaskResult {
    fn from(ending: &Ending) -> Self {
        let (state, error) = match ending {
            Ending::Cached(_) => (TaskState::Cached, None),
            Ending::Finished(_) => (TaskState::Finished, None),
            Ending::Failed(error) => (TaskState::Failed, Some(error.with_hint())),
            Ending::Withheld => (TaskState::Withheld, None),
            Ending::Skipped { .. } => (TaskState::Skipped, None),
            Ending::Unfinished => (TaskState::Unfinished, None),
        };
        Self { state, made: ending.record().map(Made::from), error }
    }
}

impl From<&Record> for Made {
    fn from(record: &Record) -> Self {
        Self {
            key: record.key,
            outputs: record.outputs.iter().map(|output| (output.port.clone(), output.digest)).collect(),
            metrics: record.metrics.clone(),
            seconds: record.exec.seconds,
        }
    }
}

/// The tasks of a plan before it runs.
pub fn task_records(plan: &Plan) -> Vec<TaskRecord> {
    plan.tasks().map(|task| TaskRecord::new(plan, task)).collect()
}

/// Reads the keys of all results of a run from its file.
///
/// # Errors
/// If the file cannot be read or has no results. A run writes its results when it ends.
pub fn keys(path: &Path) -> io::Result<Vec<Key>> {
    let run: RunRecord = serde_json::from_slice(&fs::read(path)?)?;
    let keys: Vec<Key> = run.tasks.iter().filter_map(|task| Some(task.made()?.key)).collect();
    match keys.is_empty() {
        true => Err(io::Error::other("it has no results: the run stopped before its end")),
        false => Ok(keys),
    }
}

impl RunRecord {
    /// Writes the record as JSON to a file in `folder`. The file is replaced atomically.
    pub fn write(&self, folder: &Folder, path: &Path) -> io::Result<()> {
        let text = serde_json::to_string_pretty(self)? + "\n";
        folder.write_whole(path, Durability::Content, text.as_bytes())
    }

    /// Adds the end of the run.
    pub fn finish(&mut self, run: &Run, finished: String) {
        for (task, ending) in self.tasks.iter_mut().zip(run.endings()) {
            task.result = Some(ending.into());
        }
        let any = |of: fn(&Ending) -> bool| run.endings().any(of);
        self.outcome = Some(match () {
            () if any(|ending| matches!(ending, Ending::Failed(_) | Ending::Withheld)) => RunOutcome::Failed,
            () if any(|ending| matches!(ending, Ending::Unfinished)) => RunOutcome::Stopped,
            () => RunOutcome::Done,
        });
        self.finished = Some(finished);
    }
}
