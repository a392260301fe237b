//! The file of a run, `run.json`: enough to repeat the run, and to find out why results differ.
//!
//! Tasks that ran are described in full. Of the others, the manifest in the file says what they are, and the record in the
//! cache what they made. The file of a large run is compressed, as `run.json.gz`.

use std::collections::BTreeMap;
use std::io::{self, BufReader, Read, Seek, Write};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::git::Git;
use crate::files::{Durability, Folder, open_regular};
use crate::pipeline::plan::{Label, Plan, Task, TaskRef};
use crate::pipeline::run::{Ending, Run, Settings};
use crate::store::{Digest, Key, Record};

/// The format version of [`RunRecord`]. It is raised if a reader of the old format would misread the new one.
pub const RUN_FORMAT_VERSION: u32 = 1;

/// The name of the file of a small run, which people read.
const PLAIN: &str = "run.json";
/// The name of the file of a large run.
const COMPRESSED: &str = "run.json.gz";
/// The most tasks of a small run.
const FEW: usize = 1000;
/// The most bytes that are unpacked: files of runs may come from others.
const MOST_BYTES: u64 = 512 << 20;

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
    /// The tasks of the plan, or of the part that the targets picked. Empty until the run ends.
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
    /// What it is, if it ran.
    #[serde(flatten)]
    description: Option<Description>,
    /// How it ended.
    #[serde(flatten)]
    result: Option<TaskResult>,
}

/// What a task is.
#[derive(Debug, Serialize, Deserialize)]
struct Description {
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

/// The outputs of a task. Outputs and time are those of a task that ran.
#[derive(Debug, Serialize, Deserialize)]
struct Made {
    key: Key,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    outputs: BTreeMap<String, Digest>,
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    metrics: Map<String, Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    seconds: Option<f64>,
}

impl Description {
    fn of(plan: &Plan, task: &Task) -> Self {
        let needs = task.inputs.iter();
        let needs = needs.map(|need| (need.port.to_owned(), plan.task(need.producer).label.to_string()));
        Self {
            kind: task.kind.to_owned(),
            version: task.version,
            seed: task.seed,
            params: task.bound.params(),
            needs: needs.collect(),
        }
    }
}

impl TaskRecord {
    fn new(plan: &Plan, task: &Task, ending: &Ending) -> Self {
        let ran = matches!(ending, Ending::Finished(_) | Ending::Failed(_));
        let description = ran.then(|| Description::of(plan, task));
        Self { task: task.label.clone(), description, result: Some(ending.into()) }
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
        let made = match ending {
            Ending::Finished(record) => Some(Made::now(record)),
            other => other.record().map(Made::before),
        };
        Self { state, made, error }
    }
}

impl Made {
    /// By this run.
    fn now(record: &Record) -> Self {
        let outputs = record.outputs.iter().map(|output| (output.port.clone(), output.digest)).collect();
        Self { outputs, seconds: Some(record.exec.seconds), ..Self::before(record) }
    }

    /// By an earlier run.
    fn before(record: &Record) -> Self {
        let metrics = record.metrics.clone();
        Self { key: record.key, outputs: BTreeMap::new(), metrics, seconds: None }
    }
}

/// Reads the keys of all results of a run from its file.
///
/// # Errors
/// If the file cannot be read or has no results. A run writes its results when it ends.
pub fn keys(path: &Path) -> io::Result<Vec<Key>> {
    let run = RunRecord::read(path)?;
    let keys: Vec<Key> = run.tasks.iter().filter_map(|task| Some(task.made()?.key)).collect();
    match keys.is_empty() {
        true => Err(io::Error::other("it has no results: the run stopped before producing results")),
        false => Ok(keys),
    }
}

impl RunRecord {
    /// The names of the file of a run: the first that exists is the last that was written.
    pub const FILES: [&str; 2] = [COMPRESSED, PLAIN];

    /// The file of a run in its folder.
    pub fn file_in(folder: &Path) -> PathBuf {
        let compressed = folder.join(COMPRESSED);
        if compressed.exists() { compressed } else { folder.join(PLAIN) }
    }

    /// Whether a path has the name of the file of a run.
    pub fn is_named(path: &Path) -> bool {
        path.file_name().is_some_and(|name| name == PLAIN || name == COMPRESSED)
    }

    /// Reads the file of a run, compressed or not.
    ///
    /// # Errors
    /// If the file cannot be read, or is not one of a run.
    pub fn read(path: &Path) -> io::Result<Self> {
        let mut file = open_regular(path)?;
        let mut magic = [0; 2];
        let compressed = file.read(&mut magic)? == 2 && magic == [0x1f, 0x8b];
        file.rewind()?;
        Ok(if compressed {
            serde_json::from_reader(BufReader::new(GzDecoder::new(BufReader::new(file)).take(MOST_BYTES)))?
        } else {
            serde_json::from_reader(BufReader::new(file).take(MOST_BYTES))?
        })
    }

    /// Writes the record into the folder of its run. The file is replaced atomically.
    pub fn write(&self, folder: &Folder) -> io::Result<()> {
        let plain = folder.path().join(PLAIN);
        if self.tasks.len() <= FEW {
            let text = serde_json::to_string_pretty(self)? + "\n";
            return folder.write_whole(&plain, Durability::Content, text.as_bytes());
        }
        let compressed = folder.path().join(COMPRESSED);
        folder.write_whole_with(&compressed, Durability::Content, |file| {
            let mut packed = GzEncoder::new(io::BufWriter::new(file), Compression::default());
            serde_json::to_writer(&mut packed, self)?;
            packed.finish()?.flush()
        })?;
        // It was written when the run began.
        match folder.remove(&plain) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Adds the end of the run.
    pub fn finish(&mut self, plan: &Plan, run: &Run, finished: String) {
        let ended = plan.tasks().zip(run.endings());
        self.tasks = ended.map(|(task, ending)| TaskRecord::new(plan, task, ending)).collect();
        let any = |of: fn(&Ending) -> bool| run.endings().any(of);
        self.outcome = Some(match () {
            () if any(|ending| matches!(ending, Ending::Failed(_) | Ending::Withheld)) => RunOutcome::Failed,
            () if any(|ending| matches!(ending, Ending::Unfinished)) => RunOutcome::Stopped,
            () => RunOutcome::Done,
        });
        self.finished = Some(finished);
    }
}
