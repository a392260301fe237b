//! How the program ends.

use std::process::ExitCode;

use crate::pipeline::Class;

/// The exit codes. Scripts rely on them, so they never change their meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// What was asked for is done.
    Done = 0,
    /// The program is wrong; please report it.
    Bug = 1,
    /// The command line makes no sense.
    Usage = 2,
    /// The manifest is wrong; nothing was run.
    ManifestInvalid = 3,
    /// A stage failed, or the results could not be written.
    StageFailed = 4,
    /// Results were asked for that have not been computed, or are not as locked.
    Stale = 5,
    /// The cache is corrupt, or cannot be used: unreadable, read-only, or of a newer argd-pipe.
    CacheUnusable = 6,
    /// A file or folder that was named is missing or cannot be read (`EX_NOINPUT`).
    InputMissing = 66,
    /// Stopped on request, with checkpoints; the same command goes on (`EX_TEMPFAIL`).
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

/// The exit codes as the help tells them.
pub(super) const HELP: &str = "\
Exit codes:
  0    done
  1    a bug in argd-pipe
  2    wrong usage
  3    the manifest is invalid; nothing was run
  4    a stage failed
  5    results have not been computed, or are not as locked
  6    the cache is corrupt or cannot be used
  66   an input is missing
  75   stopped on request, with checkpoints; the same command goes on
  130  ended by a second Ctrl-C (143: by a second SIGTERM)";
