//! The exit codes.

use std::process::ExitCode;

use crate::pipeline::Class;

/// The exit codes. Scripts depend on them, so their meaning never changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// The command is done.
    Done = 0,
    /// A bug in argd-pipe.
    Bug = 1,
    /// The command line is wrong.
    Usage = 2,
    /// The manifest has errors; nothing was run.
    ManifestInvalid = 3,
    /// A stage failed, or the results could not be written.
    StageFailed = 4,
    /// Results have not been computed, or do not match the lock file.
    Stale = 5,
    /// The cache is corrupt or cannot be used: unreadable, read-only, or written by a newer argd-pipe.
    CacheUnusable = 6,
    /// An input is missing or cannot be read (`EX_NOINPUT`).
    InputMissing = 66,
    /// Stopped on request, with checkpoints; the same command resumes (`EX_TEMPFAIL`).
    Stopped = 75,
    /// Ended at once by a second SIGINT.
    Interrupted = 130,
    /// Ended at once by a second SIGTERM.
    Terminated = 143,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

impl From<Class> for Exit {
    fn from(class: Class) -> Self {
        match class {
            Class::Stale => Self::Stale,
            Class::InputMissing => Self::InputMissing,
            Class::StageFailed => Self::StageFailed,
            Class::Cache => Self::CacheUnusable,
            Class::Stopped => Self::Stopped,
            Class::Bug => Self::Bug,
        }
    }
}

/// The exit codes in the help.
pub(super) const HELP: &str = "\
Exit codes:
  0    done
  1    a bug in argd-pipe
  2    wrong usage
  3    the manifest is invalid; nothing was run
  4    a stage failed
  5    results have not been computed, or do not match the lock file
  6    the cache is corrupt or cannot be used
  66   an input is missing
  75   stopped on request, with checkpoints; the same command resumes
  130  ended by a second Ctrl-C (143: by a second SIGTERM)";
