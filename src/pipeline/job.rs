//! A job: one task to compute, as data. It can be written down, sent to another process or machine, and performed
//! there; [`perform`] is the one way to do it.
//!
//! A job knows digests, not files: whoever performs it reads its inputs from the store. Keys, locks and commits are
//! for those who call [`perform`].

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::error::TaskError;
use super::plan::{Plan, Policy, Task, TaskRef};
use crate::nn::Backend;
use crate::stages::{Bound, Context, Observer, Outcome, Output, Stage, StageError};
use crate::store::{Digest, DraftOutput, Key, Store};

/// One task to compute.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JobSpec {
    /// The manifest's name.
    pub pipeline: String,
    /// How the task is called.
    pub label: TaskRef,
    /// The stage kind.
    pub kind: String,
    /// The version of the kind's implementation.
    pub version: u32,
    /// The parameters as the manifest gives them, with paths.
    pub params: Value,
    /// The seed, if the outputs depend on it.
    pub seed: Option<u64>,
    /// What the input artifacts hold, by `port` or `port.part`.
    pub inputs: BTreeMap<String, Digest>,
    /// Files and folders outside the store that the task reads.
    pub sources: Vec<PathBuf>,
    /// The class of numerics that the result is to be of.
    pub numerics: String,
    /// The key, if the store was found to have no record of it.
    pub key: Option<Key>,
    /// When to compute it.
    pub policy: Policy,
    /// Whether to wait while another process computes the same key.
    pub patient: bool,
    /// Threads that it may use.
    pub threads: usize,
    /// What it needs beside threads.
    pub resources: Resources,
}

/// What a job needs of a machine, by estimate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Resources {
    /// Bytes of memory.
    pub memory: Option<u64>,
}

impl JobSpec {
    /// The job of a task, whose inputs hold this, on one thread.
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
    /// If this program cannot give the result that the job asks for: it has no such kind, another version of it, or
    /// other numerics.
    pub fn bind(&self, kinds: &[Box<dyn Stage>], numerics: &str) -> Result<BoundJob, TaskError> {
        let Self { kind, version, .. } = self;
        let stage = kinds.iter().find(|stage| stage.kind() == kind);
        let stage = stage.ok_or_else(|| failed(format!("this program has no stage kind `{kind}`")))?;
        if *version != stage.version() || self.numerics != numerics {
            return Err(failed(format!(
                "it is of version {version} of `{kind}` with numerics {}; this program has version {} and {numerics}",
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
    /// What it makes with them.
    pub outputs: Vec<&'static Output>,
}

/// Where a job is performed.
#[derive(Clone, Copy)]
pub struct Site<'a> {
    /// Where the inputs are.
    pub store: &'a Store,
    /// An empty folder for the outputs.
    pub work: &'a Path,
    /// The folder of the checkpoints of earlier attempts.
    pub partial: &'a Path,
    /// What computes networks.
    pub backend: &'a Backend,
    /// Set when the stage is to write a checkpoint and stop.
    pub stop: &'a AtomicBool,
}

/// What a job made: files in the work folder, inputs that it passed on, and metrics.
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
    let inputs = spec.inputs.iter().map(|(name, digest)| (name.clone(), store.object(digest)));
    let seed = spec.seed.unwrap_or_default();
    let mut context = Context { seed, inputs: inputs.collect(), work, partial, backend, observer, stop };
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

/// Where each output of a kind comes from: the work folder, unless the stage says that it is one of its inputs.
fn outputs(spec: &JobSpec, job: &BoundJob, outcome: &Outcome) -> Result<Vec<DraftOutput>, TaskError> {
    let bug = |what| TaskError::Bug { kind: spec.kind.clone(), what };
    for (name, _) in &outcome.passed_on {
        if !job.outputs.iter().any(|output| output.name == *name) {
            return Err(bug(format!("it passed on an output `{name}` that it does not declare")));
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
