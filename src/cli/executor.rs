//! The executors that a run can choose from.

use std::ffi::OsString;
use std::io;
use std::sync::{LazyLock, atomic::AtomicBool};

use clap::ValueEnum;

use super::error::CliError;
use super::options::Global;
use crate::nn::Backend;
use crate::pipeline::{Executor, Local, Process};
use crate::stages::{self, Stage};
use crate::store::Store;

/// How the tasks of a run are executed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum Choice {
    /// Threads of this process.
    #[default]
    Local,
    /// One process per task.
    Process,
}

impl Choice {
    /// Creates the executor.
    pub(super) fn start<'a>(
        self,
        store: &'a Store,
        stop: &'a AtomicBool,
        backend: &'a Backend,
        global: &Global,
    ) -> Result<Box<dyn Executor + 'a>, CliError> {
        static KINDS: LazyLock<Vec<Box<dyn Stage>>> = LazyLock::new(stages::all);
        Ok(match self {
            Self::Local => Box::new(Local::new(&KINDS, backend, store, stop)),
            Self::Process => {
                let program =
                    std::env::current_exe().map_err(|error: io::Error| CliError::Setup(error.to_string()))?;
                Box::new(Process::new(program, perform(global), store, stop))
            }
        })
    }
}

/// The arguments of the process of a job, without the job.
fn perform(global: &Global) -> Vec<OsString> {
    let backend = global.backend.to_possible_value();
    let backend = backend.map_or_else(OsString::new, |value| value.get_name().into());
    let cache = global.cache_dir.clone().into();
    vec!["perform".into(), "--backend".into(), backend, "--cache-dir".into(), cache]
}
