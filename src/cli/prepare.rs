//! The first steps of every command: the manifest becomes a plan, and the cache is opened.

use std::collections::BTreeSet;
use std::path::Path;

use super::error::CliError;
use super::options::{Global, ManifestArgs};
use super::ui::Ui;
use crate::manifest::{Draft, Override};
use crate::nn::Backend;
use crate::pipeline::{self, Plan, Target, TaskId};
use crate::stages;
use crate::store::Store;

/// A plan and the store that it runs in.
pub(super) struct Prepared {
    pub plan: Plan,
    pub store: Store,
}

/// Reads and checks a manifest; `backend` computes its networks.
pub(super) fn plan(manifest: &Path, overrides: &[Override], backend: &Backend) -> Result<Plan, CliError> {
    Ok(pipeline::plan(Draft::load(manifest, overrides)?, &stages::all(), backend)?)
}

/// Reads and checks the manifest, then opens the cache, so that an invalid manifest creates no cache.
pub(super) fn prepare(args: &ManifestArgs, global: &Global, ui: &Ui) -> Result<Prepared, CliError> {
    let plan = plan(&args.manifest, &args.overrides(), &global.backend.backend())?;
    global.check_cache()?;
    let mut store = Store::open(&global.cache_dir)?;
    store.watch(ui.hashing(None));
    Ok(Prepared { plan, store })
}

impl Prepared {
    /// Narrows the plan to the tasks that the targets match and those that they need; returns the matching ones. Without
    /// targets, all tasks match.
    pub(super) fn narrow(
        self,
        targets: &[Target],
        downstream: bool,
    ) -> Result<(Self, BTreeSet<TaskId>), CliError> {
        if targets.is_empty() {
            let all = (0..self.plan.len()).map(TaskId).collect();
            return Ok((self, all));
        }
        let mut picked = self.plan.picked(targets)?;
        if downstream {
            picked = self.plan.with_downstream(&picked);
        }
        let kept = self.plan.with_upstream(&picked);
        let picked =
            kept.iter().enumerate().filter(|(_, id)| picked.contains(id)).map(|(at, _)| TaskId(at)).collect();
        Ok((Self { plan: self.plan.narrowed(&kept), ..self }, picked))
    }
}
