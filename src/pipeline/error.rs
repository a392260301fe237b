//! The errors of tasks and runs, and the class of each, which determines the exit code.

use std::path::PathBuf;

use miette::Diagnostic;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::plan::TaskRef;
use crate::stages::StageError;
use crate::store::{Change, StoreError, disk_is_full};

/// The class of an error. Each has its own exit code. The order matters: of several failures, a run reports the last
/// class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// The requested results are not computed yet.
    Stale,
    /// A file or folder that the manifest names does not exist.
    InputMissing,
    /// A stage failed, or a result could not be written.
    StageFailed,
    /// The store cannot be read or written.
    Cache,
    /// The run was stopped and wrote checkpoints.
    Stopped,
    /// The program has a bug.
    Bug,
}

/// The error of a task.
#[derive(Debug, Diagnostic, Error)]
pub enum TaskError {
    /// The stage reported an error.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Stage(StageError),
    /// The store could not find, lock or keep the stage's outputs.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Store(#[from] StoreError),
    /// A file or folder outside the store has changed since its digest entered the key. The outputs may come from other
    /// content than the key says.
    #[error("`{}` changed while it was read{}", path.display(), match change {
        Change::Content => "",
        Change::Times => "; it has the same content now",
    })]
    #[diagnostic(help("nothing was kept; run the same command again when no other program changes it"))]
    SourceChanged {
        /// The file or folder.
        path: PathBuf,
        /// The difference.
        change: Change,
    },
    /// The stage broke its contract, or panicked.
    #[error("a bug in the stage kind `{kind}`: {what}")]
    #[diagnostic(help("report this bug, with the manifest"))]
    Bug {
        /// The stage kind.
        kind: String,
        /// What the kind did wrong.
        what: String,
    },
    /// The store does not have the outputs, and `--only` forbids computing them.
    #[error("it has no result yet, and `--only` forbids computing it")]
    #[diagnostic(help("remove `--only`"))]
    Withheld,
    /// The threads that the stage would use could not be started.
    #[error("cannot start a thread: {0}")]
    #[diagnostic(help(
        "raise the limit on processes (`ulimit -u`), or use fewer threads: `--threads 1 -j 1`"
    ))]
    Threads(String),
    /// It failed in another process, which reported the error.
    #[error("{message}")]
    Elsewhere {
        /// The class of the error.
        class: Class,
        /// The message of the other process.
        message: String,
        /// Its hint.
        #[help]
        hint: Option<String>,
    },
    /// Its process ended without a report.
    #[error("the task's process ended early: {0}")]
    #[diagnostic(help("run the same command again; the task resumes from its last checkpoint"))]
    Died(String),
}

impl From<StageError> for TaskError {
    fn from(error: StageError) -> Self {
        match error {
            // Stages write in the store's folders. The store's error reports the free space and what to do.
            StageError::Io { path, source } if disk_is_full(&source) => {
                Self::Store(StoreError::Io { action: "write", path, source })
            }
            other => Self::Stage(other),
        }
    }
}

impl TaskError {
    /// What to do, if the error says so.
    pub fn hint(&self) -> Option<String> {
        self.help().map(|hint| hint.to_string())
    }

    /// The message with the hint below it, for texts without a separate place for hints: logs, journals, `run.json`.
    pub fn with_hint(&self) -> String {
        self.hint().map_or_else(|| self.to_string(), |hint| format!("{self}\nhint: {hint}"))
    }

    /// A file or folder that a stage reads does not exist. `advice` explains how to get it.
    pub(super) fn missing(path: PathBuf, mut hint: String, advice: Option<String>) -> Self {
        if let Some(advice) = advice {
            hint = format!("{advice}\n{hint}");
        }
        StageError::InputMissing { path, hint }.into()
    }

    /// The class of the error.
    pub fn class(&self) -> Class {
        match self {
            Self::Stage(StageError::InputMissing { .. }) => Class::InputMissing,
            Self::Stage(StageError::Stopped) => Class::Stopped,
            Self::Stage(
                StageError::Io { .. }
                | StageError::Import(_)
                | StageError::Unfit { .. }
                | StageError::Failed(_),
            )
            | Self::SourceChanged { .. }
            | Self::Threads(_)
            | Self::Died(_) => Class::StageFailed,
            Self::Elsewhere { class, .. } => *class,
            Self::Store(error) => class_of_store_error(error),
            Self::Withheld => Class::Stale,
            Self::Bug { .. } => Class::Bug,
        }
    }
}

/// The error of a run or of a command that reads its results.
#[derive(Debug, Diagnostic, Error)]
pub enum RunError {
    /// The store cannot be read.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Store(#[from] StoreError),
    /// The run was stopped before every task was done.
    #[error("stopped; {unfinished} of {tasks} tasks are left")]
    #[diagnostic(help("run the same command again to resume"))]
    Stopped {
        /// Tasks without a result.
        unfinished: usize,
        /// Tasks of the plan.
        tasks: usize,
    },
    /// Tasks failed. Events reported the error of each.
    #[error("{}", failed_message(failed, *skipped, *unfinished))]
    #[diagnostic(help("fix the cause and run the same command again; finished results are kept"))]
    Failed {
        /// The tasks that failed.
        failed: Vec<TaskRef>,
        /// The number of tasks that depend on them.
        skipped: usize,
        /// The number of tasks that did not start, because the run fails fast.
        unfinished: usize,
        /// The gravest class among the failures.
        class: Class,
    },
    /// Tasks have no result, and `--only` forbids computing them.
    #[error("{}", withheld_message(tasks, *skipped))]
    #[diagnostic(help("remove `--only`"))]
    Withheld {
        /// The tasks.
        tasks: Vec<TaskRef>,
        /// The number of tasks that depend on them.
        skipped: usize,
    },
    /// The requested results are not computed yet.
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
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// The results would be written outside the workspace.
    #[error(
        "{}: the results cannot be written: its folder is {}, outside the workspace {}",
        path.display(), folder.display(), workspace.display()
    )]
    #[diagnostic(help("name a folder inside the workspace, without symbolic links that lead out of it"))]
    Outside {
        /// The file.
        path: PathBuf,
        /// The folder that symbolic links lead to.
        folder: PathBuf,
        /// The folder that the program runs in.
        workspace: PathBuf,
    },
}

impl RunError {
    /// The class of the error.
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
        StoreError::Stopped => Class::Stopped,
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
    format!("{n} {verb} ({names}){skipped}{unfinished}")
}

fn skipped_message(skipped: usize) -> String {
    match skipped {
        0 => String::new(),
        1 => ", 1 dependent task was skipped".to_owned(),
        n => format!(", {n} dependent tasks were skipped"),
    }
}

fn withheld_message(tasks: &[TaskRef], skipped: usize) -> String {
    let (names, skipped) = (listed(tasks), skipped_message(skipped));
    let what = match tasks.len() {
        1 => format!("1 task has no result ({names}), and `--only` forbids computing it"),
        n => format!("{n} tasks have no results ({names}), and `--only` forbids computing them"),
    };
    format!("{what}{skipped}")
}

fn missing_message(tasks: &[TaskRef]) -> String {
    let (n, names) = (tasks.len(), listed(tasks));
    let noun = if n == 1 { "task has" } else { "tasks have" };
    format!("{n} {noun} no results yet ({names})")
}

/// The first few names. A sweep can have thousands.
fn listed(tasks: &[TaskRef]) -> String {
    const SHOWN: usize = 5;
    let mut names: Vec<String> = tasks.iter().take(SHOWN).map(ToString::to_string).collect();
    if tasks.len() > SHOWN {
        names.push(format!("and {} more", tasks.len() - SHOWN));
    }
    names.join(", ")
}
