//! Options that several commands share.

use std::path::PathBuf;

use clap::{Args, ValueEnum, ValueHint};

use super::error::CliError;
use crate::manifest::Override;
use crate::nn::Backend;
use crate::pipeline::Target;

/// The default folder of the cache.
pub(super) const DEFAULT_CACHE: &str = "cache";

/// Options of every command.
#[derive(Debug, Args)]
#[command(next_help_heading = "Global options")]
pub(super) struct Global {
    /// Run in this folder. Relative paths start here, in the manifest, too.
    #[arg(short = 'C', long = "directory", value_name = "DIR", global = true, value_hint = ValueHint::DirPath)]
    pub directory: Option<PathBuf>,

    /// Folder of the cache.
    ///
    /// Manifests and processes can share one cache. It is safe to delete: everything in it can be computed again.
    #[arg(long, value_name = "DIR", env = "ARGD_PIPE_CACHE_DIR", default_value = DEFAULT_CACHE, global = true)]
    pub cache_dir: PathBuf,

    /// Print more details: with `-v` notes of stages and cached tasks, with `-vv` also the log of the program.
    #[arg(short, long, action = clap::ArgAction::Count, global = true)]
    pub verbose: u8,

    /// When to use color.
    #[arg(long, value_name = "WHEN", value_enum, default_value_t = Color::Auto, global = true)]
    pub color: Color,

    /// The backend that computes networks. Each backend has its own results.
    #[arg(long, value_name = "BACKEND", value_enum, default_value_t = BackendName::Kernels, global = true, hide = true)]
    pub backend: BackendName,
}

impl Global {
    /// Fails if the default folder of the cache is a link: the user has not named it, and a clone can carry it.
    pub(super) fn check_cache(&self) -> Result<(), CliError> {
        let unnamed = self.cache_dir.as_os_str() == DEFAULT_CACHE;
        if unnamed && self.cache_dir.is_symlink() {
            return Err(CliError::LinkedCache(self.cache_dir.clone()));
        }
        Ok(())
    }
}

/// When to use color.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Color {
    /// On a terminal, unless NO_COLOR is set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// The backend that computes networks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum BackendName {
    /// The project's own CPU kernels.
    Kernels,
    /// candle's operations on the CPU. They check the kernels, and are slow.
    Candle,
}

impl BackendName {
    /// The backend itself.
    pub(super) fn backend(self) -> Backend {
        match self {
            Self::Kernels => Backend::default(),
            Self::Candle => Backend::candle(),
        }
    }
}

/// The manifest, and changes to it.
#[derive(Debug, Args)]
pub(super) struct ManifestArgs {
    /// The manifest: a YAML file.
    #[arg(value_name = "MANIFEST", value_hint = ValueHint::FilePath)]
    pub manifest: PathBuf,

    /// Change a value of the manifest. Can be repeated.
    ///
    /// PATH leads to the value: `seed`, `vars.source`, `matrix.clean_ratio`, `stages.backdoored.with.epochs`. VALUE is
    /// YAML: `3` is a number, `[0.01, 0.05]` is a list.
    #[arg(long, value_name = "PATH=VALUE")]
    pub set: Vec<Override>,

    /// Sweep over an axis. Can be repeated.
    ///
    /// It replaces the axis of the manifest that has the same name. VALUES are separated by commas
    /// (`clean_ratio=0.01,0.05`), a range of integers that includes both ends (`seed=1..5`), or a YAML list. A stage must
    /// use a new axis: `--set 'stages.trained.with.epochs=${matrix.epochs}' --matrix epochs=1,2`. Every stage that draws
    /// random numbers uses the axis `seed`.
    #[arg(long, value_name = "AXIS=VALUES", value_parser = Override::axis)]
    pub matrix: Vec<Override>,
}

impl ManifestArgs {
    /// All changes, those to the matrix last.
    pub(super) fn overrides(&self) -> Vec<Override> {
        self.set.iter().chain(&self.matrix).cloned().collect()
    }
}

/// The tasks that a command works on.
#[derive(Debug, Args)]
pub(super) struct TargetArgs {
    /// Only these tasks: `STAGE`, or `STAGE@AXIS=VALUE,AXIS=VALUE`. `*` matches any text, `?` any character.
    #[arg(value_name = "TARGET")]
    pub targets: Vec<Target>,
}
