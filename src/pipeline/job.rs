//! A job: one task to compute, as data. It can be written to a file and sent to another process or machine.
//! [`perform`] is the only function that computes it.
//!
//! A job knows digests, not files: its inputs are read from the store. The callers of [`perform`] handle keys, locks
//! and commits.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::error::TaskError;
use super::plan::{Plan, Policy, Task, TaskRef};
use crate::files::Folder;
use crate::nn::Backend;
use crate::stages::{Bound, Context, Observer, Outcome, Output, Stage, StageError};
use crate::store::{Digest, DraftOutput, Key, Store, StoreError};

/// One task to compute.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JobSpec {
    /// The manifest's name.
    pub pipeline: String,
    /// The label of the task.
    pub label: TaskRef,
    /// The stage kind.
    pub kind: String,
    /// The version of the kind's implementation.
    pub version: u32,
    /// The parameters as the manifest gives them, with paths.
    pub params: Value,
    /// The seed, if the outputs depend on it.
    pub seed: Option<u64>,
    /// The digests of the input artifacts, by `port` or `port.part`.
    pub inputs: BTreeMap<String, Digest>,
    /// Files and folders outside the store that the task reads.
    pub sources: Vec<PathBuf>,
    /// The class of numerics of the result.
    pub numerics: String,
    /// The key, if the store was already searched and has no record of it.
    pub key: Option<Key>,
    /// When to compute it.
    pub policy: Policy,
    /// Whether to wait while another process computes the same key.
    pub patient: bool,
    /// Threads that it may use.
    pub threads: usize,
    /// The resources that it needs besides threads.
    pub resources: Resources,
}

/// The estimated resources that a job needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Resources {
    /// Bytes of memory.
    pub memory: Option<u64>,
}

impl JobSpec {
    /// The job of a task with these inputs, on one thread.
    pub fn new(plan: &Plan, task: &Task, inputs: BTreeMap<String, Digest>) -> Self {
        Self {
            pipeline: plan.name().to_owned(),
            label: task.label.clone(),
            kind: task.kind.to_owned(),
            version: task.version,
            params: (*task.with).clone(),
            seed: task.seed,
            inputs,
            sources: task.bound.sources(),
            numerics: plan.numerics().to_owned(),
            key: None,
            policy: task.policy,
            patient: false,
            threads: 1,
            resources: Resources::default(),
        }
    }

    /// Finds the stage kind of the job and types its parameters.
    ///
    /// # Errors
    /// If this program cannot compute the result: the kind is unknown, its version differs, or the numerics differ.
    pub fn bind(&self, kinds: &[Box<dyn Stage>], numerics: &str) -> Result<BoundJob, TaskError> {
        let Self { kind, version, .. } = self;
        let stage = kinds.iter().find(|stage| stage.kind() == kind);
        let stage = stage.ok_or_else(|| failed(format!("this program has no stage kind `{kind}`")))?;
        if *version != stage.version() || self.numerics != numerics {
            return Err(failed(format!(
                "it needs version {version} of `{kind}` with numerics {}; this program has version {} with {numerics}",
                self.numerics,
                stage.version()
            )));
        }
        let bound = stage.bind(&self.params).map_err(|wrong| {
            let why = wrong.iter().map(|error| error.message.as_str()).collect::<Vec<_>>().join("; ");
            failed(format!("its parameters cannot be read back: {why}"))
        })?;
        let outputs = stage.outputs().iter().filter(|output| bound.makes(output)).collect();
        Ok(BoundJob { bound, outputs })
    }
}

/// A job whose stage kind this program has.
pub struct BoundJob {
    /// The kind with the job's parameters.
    pub bound: Box<dyn Bound>,
    /// The outputs that it makes with them.
    pub outputs: Vec<&'static Output>,
}

/// The folders and the backend that a job is performed with.
#[derive(Clone, Copy)]
pub struct Site<'a> {
    /// The store, which has the inputs.
    pub store: &'a Store,
    /// An empty folder for the outputs.
    pub work: &'a Path,
    /// The folder of the checkpoints of earlier attempts.
    pub partial: &'a Folder,
    /// The backend that computes networks.
    pub backend: &'a Backend,
    /// If set, the stage writes a checkpoint and stops.
    pub stop: &'a AtomicBool,
}

/// The result of a job: files in the work folder, inputs that it passed on, and metrics.
#[derive(Debug)]
pub struct Made {
    /// The outputs.
    pub outputs: Vec<DraftOutput>,
    /// The metrics by name.
    pub metrics: Map<String, Value>,
}

/// Computes a job.
///
/// # Errors
/// If the stage fails, or is stopped ([`StageError::Stopped`]).
pub fn perform(
    spec: &JobSpec,
    job: &BoundJob,
    site: Site<'_>,
    observer: &dyn Observer,
) -> Result<Made, TaskError> {
    let Site { store, work, partial, backend, stop } = site;
    let inputs = spec.inputs.iter().map(|(name, digest)| Ok((name.clone(), store.artifact(digest)?)));
    let inputs = inputs.collect::<Result<_, StoreError>>()?;
    let seed = spec.seed.unwrap_or_default();
    let mut context = Context { seed, inputs, work, partial, backend, observer, stop };
    let pool = rayon::ThreadPoolBuilder::new().num_threads(spec.threads).build();
    let pool = pool.map_err(|error| TaskError::Threads(error.to_string()))?;
    let outcome = pool.install(|| job.bound.run(&mut context)).map_err(|error| match error {
        StageError::InputMissing { path, hint } => {
            TaskError::missing(path, hint, job.bound.advice(&spec.label.stage))
        }
        other => other.into(),
    })?;
    Ok(Made { outputs: outputs(spec, job, &outcome)?, metrics: outcome.metrics })
}

/// The source of each output: the work folder, unless the stage passed on one of its inputs.
fn outputs(spec: &JobSpec, job: &BoundJob, outcome: &Outcome) -> Result<Vec<DraftOutput>, TaskError> {
    let bug = |what| TaskError::Bug { kind: spec.kind.clone(), what };
    for (name, _) in &outcome.passed_on {
        if !job.outputs.iter().any(|output| output.name == *name) {
            return Err(bug(format!("it passed on the undeclared output `{name}`")));
        }
    }
    let outputs = job.outputs.iter().map(|output| {
        let port = output.name.to_owned();
        match outcome.passed_on.iter().find(|(name, _)| *name == output.name) {
            None => Ok(DraftOutput::Written(port)),
            Some((_, input)) => {
                let digest = spec.inputs.get(*input).copied();
                let digest =
                    digest.ok_or_else(|| bug(format!("it passed on `{input}`, which is not an input")))?;
                Ok(DraftOutput::PassedOn { port, digest })
            }
        }
    });
    outputs.collect()
}

fn failed(why: String) -> TaskError {
    StageError::Failed(why).into()
}
