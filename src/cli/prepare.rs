//! What every command does first: the manifest becomes a plan, and the cache is opened.

use std::path::Path;
use std::sync::Arc;

use super::error::CliError;
use super::options::{Global, ManifestArgs};
use crate::manifest::{Manifest, Override, Source};
use crate::pipeline::{self, Plan};
use crate::stages;
use crate::store::Store;

/// The class of arithmetic that all keys hold: results of the same class are interchangeable. Our kernels give the
/// same bits on every CPU, so the instruction set is no part of it.
pub(super) const NUMERICS: &str = "cpu/f32/kernels-1";

/// A plan and the store that it runs in.
pub(super) struct Prepared {
    pub plan: Plan,
    pub store: Store,
    /// The text of the manifest.
    pub source: Arc<Source>,
}

/// Reads and checks a manifest.
pub(super) fn plan(manifest: &Path, overrides: &[Override]) -> Result<Plan, CliError> {
    plan_of(&Manifest::load(manifest, overrides)?)
}

fn plan_of(manifest: &Manifest) -> Result<Plan, CliError> {
    Ok(pipeline::plan(manifest, &stages::all(), NUMERICS)?)
}

/// Reads and checks the manifest, then opens the cache: what is wrong in the manifest leaves no trace.
pub(super) fn prepare(args: &ManifestArgs, global: &Global) -> Result<Prepared, CliError> {
    let manifest = Manifest::load(&args.manifest, &args.set)?;
    let plan = plan_of(&manifest)?;
    let store = Store::open(&global.cache_dir)?;
    Ok(Prepared { plan, store, source: manifest.source })
}
