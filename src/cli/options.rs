//! Options that several commands share.

use std::path::PathBuf;

use clap::{Args, ValueEnum, ValueHint};

use crate::manifest::Override;
use crate::nn::Backend;
use crate::pipeline::Target;

/// Where results are kept, if nothing else is said.
pub(super) const DEFAULT_CACHE: &str = "cache";

/// Options of every command.
#[derive(Debug, Args)]
#[command(next_help_heading = "Global options")]
pub(super) struct Global {
    /// Work in this folder: relative paths, in the manifest too, start here.
    #[arg(short = 'C', long = "directory", value_name = "DIR", global = true, value_hint = ValueHint::DirPath)]
    pub directory: Option<PathBuf>,

    /// Where results are kept.
    ///
    /// Any number of manifests and processes may share one cache. It is safe to delete: all of it can be computed
    /// again.
    #[arg(long, value_name = "DIR", env = "ARGD_PIPE_CACHE_DIR", default_value = DEFAULT_CACHE, global = true)]
    pub cache_dir: PathBuf,

    /// Tell more: `-v` what stages note and what is cached, `-vv` what the program does.
    #[arg(short, long, action = clap::ArgAction::Count, global = true)]
    pub verbose: u8,

    /// When to use colour. `auto`: on a terminal, unless NO_COLOR is set.
    #[arg(long, value_name = "WHEN", value_enum, default_value_t = Color::Auto, global = true)]
    pub color: Color,

    /// What computes networks. Each backend has results of its own.
    #[arg(long, value_name = "BACKEND", value_enum, default_value_t = BackendName::Kernels, global = true, hide = true)]
    pub backend: BackendName,
}

/// When to use colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Color {
    /// On a terminal, unless NO_COLOR is set.
    Auto,
    /// In any case.
    Always,
    /// In no case.
    Never,
}

/// What computes networks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum BackendName {
    /// The project's own CPU kernels.
    Kernels,
    /// candle's operations on the CPU, which the kernels are checked against: slow.
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

/// The manifest and what is changed in it.
#[derive(Debug, Args)]
pub(super) struct ManifestArgs {
    /// The manifest: a YAML file.
    #[arg(value_name = "MANIFEST", value_hint = ValueHint::FilePath)]
    pub manifest: PathBuf,

    /// Change a value of the manifest; can be given again.
    ///
    /// PATH leads to the value (`seed`, `vars.source`, `matrix.clean_ratio`, `stages.backdoored.with.epochs`), VALUE is
    /// YAML: `3` is a number, `[0.01, 0.05]` a list.
    #[arg(long, value_name = "PATH=VALUE")]
    pub set: Vec<Override>,

    /// Sweep over an axis, in place of the manifest's if it has one; can be given again.
    ///
    /// VALUES are separated by commas (`clean_ratio=0.01,0.05`), a range of integers with both ends (`seed=1..5`), or a
    /// YAML list. An axis that the manifest does not have must be used: `--set 'stages.trained.with.epochs=${matrix.epochs}'
    /// --matrix epochs=1,2`; the seed is used by every stage that draws.
    #[arg(long, value_name = "AXIS=VALUES", value_parser = Override::axis)]
    pub matrix: Vec<Override>,
}

impl ManifestArgs {
    /// All changes, those to the matrix last.
    pub(super) fn overrides(&self) -> Vec<Override> {
        self.set.iter().chain(&self.matrix).cloned().collect()
    }
}

/// Which tasks a command is about.
#[derive(Debug, Args)]
pub(super) struct TargetArgs {
    /// Only these tasks: `STAGE`, or `STAGE@AXIS=VALUE,AXIS=VALUE`; `*` and `?` stand for any text and any character.
    #[arg(value_name = "TARGET")]
    pub targets: Vec<Target>,
}
