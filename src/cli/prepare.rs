//! What every command does first: the manifest becomes a plan, and the cache is opened.

use super::error::CliError;
use super::options::{Global, ManifestArgs};
use crate::manifest::Manifest;
use crate::pipeline::{self, Plan};
use crate::stages;
use crate::store::Store;

/// The class of arithmetic that all keys hold: results of the same class are interchangeable. Our kernels give the
/// same bits on every CPU, so the instruction set is no part of it.
const NUMERICS: &str = "cpu/f32/kernels-1";

/// A plan and the store that it runs in.
pub(super) struct Prepared {
    pub plan: Plan,
    pub store: Store,
}

/// Reads and checks the manifest, then opens the cache: what is wrong in the manifest leaves no trace.
pub(super) fn prepare(args: &ManifestArgs, global: &Global) -> Result<Prepared, CliError> {
    let manifest = Manifest::load(&args.manifest, &args.set)?;
    let plan = pipeline::plan(&manifest, &stages::all(), NUMERICS)?;
    let store = Store::open(&global.cache_dir)?;
    Ok(Prepared { plan, store })
}
