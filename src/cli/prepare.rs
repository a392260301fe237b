//! What every command does first: the manifest becomes a plan, and the cache is opened.

use std::collections::BTreeSet;

use super::error::CliError;
use super::options::{Global, ManifestArgs};
use crate::manifest::Draft;
use crate::pipeline::{self, Plan, Target, TaskId};
use crate::stages;
use crate::store::Store;

/// The class of arithmetic that all keys hold: results of the same class are interchangeable. Our kernels give the
/// same bits on every CPU, so the instruction set is no part of it.
const NUMERICS: &str = "cpu/f32/kernels-2";

/// A plan and the store that it runs in.
pub(super) struct Prepared {
    pub plan: Plan,
    pub store: Store,
}

/// Reads and checks the manifest, then opens the cache: what is wrong in the manifest leaves no trace.
pub(super) fn prepare(args: &ManifestArgs, global: &Global) -> Result<Prepared, CliError> {
    let draft = Draft::load(&args.manifest, &args.overrides())?;
    let plan = pipeline::plan(draft, &stages::all(), NUMERICS)?;
    let store = Store::open(&global.cache_dir)?;
    Ok(Prepared { plan, store })
}

impl Prepared {
    /// Narrows the plan to what the targets pick and what that needs; returns what they pick. No targets pick
    /// everything.
    pub(super) fn narrow(
        self,
        targets: &[Target],
        downstream: bool,
    ) -> Result<(Self, BTreeSet<TaskId>), CliError> {
        let Self { plan, store } = self;
        if targets.is_empty() {
            let all = (0..plan.len()).map(TaskId).collect();
            return Ok((Self { plan, store }, all));
        }
        let mut picked = plan.picked(targets)?;
        if downstream {
            picked = plan.with_downstream(&picked);
        }
        let kept = plan.with_upstream(&picked);
        let picked =
            kept.iter().enumerate().filter(|(_, id)| picked.contains(id)).map(|(at, _)| TaskId(at)).collect();
        Ok((Self { plan: plan.narrowed(&kept), store }, picked))
    }
}
