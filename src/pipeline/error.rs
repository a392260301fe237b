//! Why a task or a run failed, and which exit code that is.

use std::path::PathBuf;

use miette::Diagnostic;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::plan::TaskRef;
use crate::stages::StageError;
use crate::store::{StoreError, disk_is_full};

/// What kind of failure an error is; each has its own exit code. Ordered: of several, a run reports the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// Results were asked for that no run has computed yet.
    Stale,
    /// A file or folder that the manifest names is not there.
    InputMissing,
    /// A stage could not do its work, or a result could not be written.
    StageFailed,
    /// The store cannot be read or written.
    Cache,
    /// The run was asked to stop, and left checkpoints.
    Stopped,
    /// The program is wrong.
    Bug,
}

/// Why a task failed.
#[derive(Debug, Diagnostic, Error)]
pub enum TaskError {
    /// The stage says why.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Stage(StageError),
    /// The store could not find, lock or keep what the stage made.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Store(#[from] StoreError),
    /// The stage broke its contract, or panicked.
    #[error("a bug in the stage kind `{kind}`: {what}")]
    #[diagnostic(help("report this bug, with the manifest"))]
    Bug {
        /// The stage kind.
        kind: String,
        /// What it did.
        what: String,
    },
    /// The store does not have what it makes, and it was not to run.
    #[error("it has no result yet, and was not to be computed")]
    #[diagnostic(help("leave out --only"))]
    Withheld,
    /// The threads that the stage would use could not be started.
    #[error("cannot start the task's threads: {0}")]
    #[diagnostic(help("try fewer, or a smaller -j"))]
    Threads(String),
    /// It failed in another process, which has told why.
    #[error("{message}")]
    Elsewhere {
        /// What kind of failure it is.
        class: Class,
        /// The message of the other process.
        message: String,
        /// Its hint.
        #[help]
        hint: Option<String>,
    },
    /// The process that computed it ended without a word.
    #[error("the task's process ended early: {0}")]
    #[diagnostic(help("run the same command again; the task resumes from its last checkpoint"))]
    Died(String),
}

impl From<StageError> for TaskError {
    fn from(error: StageError) -> Self {
        match error {
            // A stage writes in the store's folders: the store knows how much room is left, and what to do.
            StageError::Io { path, source } if disk_is_full(&source) => {
                Self::Store(StoreError::Io { action: "write", path, source })
            }
            other => Self::Stage(other),
        }
    }
}

impl TaskError {
    /// What to do about it, if it says so.
    pub fn hint(&self) -> Option<String> {
        self.help().map(|hint| hint.to_string())
    }

    /// The message, and below it the hint, for a text that has no other place for it: a log, a journal, `run.json`.
    pub fn with_hint(&self) -> String {
        self.hint().map_or_else(|| self.to_string(), |hint| format!("{self}\nhint: {hint}"))
    }

    /// A file or folder that a stage reads is not there; `advice` is how to get it, if there is a way.
    pub(super) fn missing(path: PathBuf, mut hint: String, advice: Option<String>) -> Self {
        if let Some(advice) = advice {
            hint = format!("{advice}\n{hint}");
        }
        StageError::InputMissing { path, hint }.into()
    }

    /// What kind of failure it is.
    pub fn class(&self) -> Class {
        match self {
            Self::Stage(StageError::InputMissing { .. }) => Class::InputMissing,
            Self::Stage(StageError::Stopped) => Class::Stopped,
            Self::Stage(StageError::Io { .. } | StageError::Import(_) | StageError::Failed(_))
            | Self::Threads(_)
            | Self::Died(_) => Class::StageFailed,
            Self::Elsewhere { class, .. } => *class,
            Self::Store(error) => class_of_store_error(error),
            Self::Withheld => Class::Stale,
            Self::Bug { .. } => Class::Bug,
        }
    }
}

/// Why a run, or a look at its results, has no full answer.
#[derive(Debug, Diagnostic, Error)]
pub enum RunError {
    /// The store cannot be read.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Store(#[from] StoreError),
    /// The run was asked to stop before every task was done.
    #[error("stopped with {unfinished} of {tasks} tasks to do; the same command goes on from here")]
    Stopped {
        /// Tasks without a result.
        unfinished: usize,
        /// Tasks of the plan.
        tasks: usize,
    },
    /// Tasks failed; what each said was an event.
    #[error("{}", failed_message(failed, *skipped, *unfinished))]
    Failed {
        /// The tasks that failed.
        failed: Vec<TaskRef>,
        /// How many others need one of them.
        skipped: usize,
        /// How many were not started, because the run was to fail fast.
        unfinished: usize,
        /// The gravest kind of failure among them.
        class: Class,
    },
    /// Tasks have no result, and were not to run.
    #[error("{}", withheld_message(tasks, *skipped))]
    #[diagnostic(help("leave out --only"))]
    Withheld {
        /// Which.
        tasks: Vec<TaskRef>,
        /// How many others need one of them.
        skipped: usize,
    },
    /// Results were asked for that no run has computed yet.
    #[error("{}", missing_message(tasks))]
    #[diagnostic(help("`{command}` computes them"))]
    Missing {
        /// The tasks whose results are missing.
        tasks: Vec<TaskRef>,
        /// The command that computes them.
        command: String,
    },
    /// The results could not be written.
    #[error("{}: the results cannot be written: {source}", path.display())]
    Results {
        /// Where to.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The results would be written outside of the workspace.
    #[error(
        "{}: the results cannot be written: its folder is {}, outside of the workspace {}",
        path.display(), folder.display(), workspace.display()
    )]
    #[diagnostic(help("name a folder that is no symbolic link out of it"))]
    Outside {
        /// Where to.
        path: PathBuf,
        /// The folder that symbolic links lead to.
        folder: PathBuf,
        /// The folder that the program runs in.
        workspace: PathBuf,
    },
}

impl RunError {
    /// What kind of failure it is.
    pub fn class(&self) -> Class {
        match self {
            Self::Store(error) => class_of_store_error(error),
            Self::Stopped { .. } => Class::Stopped,
            Self::Failed { class, .. } => *class,
            Self::Withheld { .. } | Self::Missing { .. } => Class::Stale,
            Self::Results { .. } | Self::Outside { .. } => Class::StageFailed,
        }
    }
}

fn class_of_store_error(error: &StoreError) -> Class {
    match error {
        StoreError::SourceMissing(_) => Class::InputMissing,
        StoreError::SourceUnfit { .. } => Class::StageFailed,
        StoreError::OutputMissing { .. } => Class::Bug,
        error if error.disk_full() => Class::StageFailed,
        StoreError::Io { .. } | StoreError::NewerFormat { .. } | StoreError::CannotCollect { .. } => {
            Class::Cache
        }
    }
}

fn failed_message(failed: &[TaskRef], skipped: usize, unfinished: usize) -> String {
    let verb = if failed.len() == 1 { "task failed" } else { "tasks failed" };
    let unfinished = if unfinished > 0 { format!(", {unfinished} did not start") } else { String::new() };
    let (n, names, skipped) = (failed.len(), listed(failed), skipped_message(skipped));
    format!(
        "{n} {verb} ({names}){skipped}{unfinished}; all other results are kept, and the same command goes on from here"
    )
}

fn skipped_message(skipped: usize) -> String {
    match skipped {
        0 => String::new(),
        1 => ", 1 that needs it was skipped".to_owned(),
        n => format!(", {n} that need what they make were skipped"),
    }
}

fn withheld_message(tasks: &[TaskRef], skipped: usize) -> String {
    let (names, skipped) = (listed(tasks), skipped_message(skipped));
    let what = match tasks.len() {
        1 => format!("1 task has no result ({names}), and was not to be computed"),
        n => format!("{n} tasks have no results ({names}), and were not to be computed"),
    };
    format!("{what}{skipped}")
}

fn missing_message(tasks: &[TaskRef]) -> String {
    let (n, names) = (tasks.len(), listed(tasks));
    let noun = if n == 1 { "task has" } else { "tasks have" };
    format!("{n} {noun} no results yet ({names})")
}

/// The first few names; a sweep can have thousands.
fn listed(tasks: &[TaskRef]) -> String {
    const SHOWN: usize = 5;
    let mut names: Vec<String> = tasks.iter().take(SHOWN).map(ToString::to_string).collect();
    if tasks.len() > SHOWN {
        names.push(format!("and {} more", tasks.len() - SHOWN));
    }
    names.join(", ")
}
