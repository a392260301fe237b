//! Computes a recorded task again from its record, and compares the outputs.

use std::sync::atomic::AtomicBool;

use serde_json::{Map, Value};

use super::components::{Components, SOURCE};
use crate::nn::Backend;
use crate::pipeline::error::TaskError;
use crate::pipeline::job::{JobSpec, Made, Resources, Site, perform};
use crate::pipeline::plan::{Label, Policy, TaskId};
use crate::stages::{Observer, Stage, StageError};
use crate::store::{DraftOutput, Record, Store, Work};

/// The means to compute a task again.
pub struct Again<'a> {
    /// Every stage kind.
    pub kinds: &'a [Box<dyn Stage>],
    /// The backend that computes networks.
    pub backend: &'a Backend,
    /// Threads that the task may use.
    pub threads: usize,
    /// The observer receives progress.
    pub observer: &'a dyn Observer,
    /// If set, the computation stops.
    pub stop: &'a AtomicBool,
}

impl Again<'_> {
    /// Computes a recorded task again, and returns the differences, one line each. The record stays; it is marked as
    /// non-deterministic if anything differs.
    pub fn compute(&self, record: &Record, store: &Store) -> Result<Vec<String>, TaskError> {
        let job = job(record, self.threads)?;
        let bound = job.bind(self.kinds, self.backend.numerics())?;
        check_inputs(&job, store)?;
        let Some(lock) = store.try_lock(&record.key)? else {
            return Err(failed("another process is computing it; try again later"));
        };
        // With checkpoints of earlier attempts, the comparison would prove nothing.
        let (work, partial) = (store.work(&lock)?, store.work(&lock)?);
        let &Self { backend, stop, .. } = self;
        let site = Site { store, work: work.path(), partial: partial.folder(), backend, stop };
        let made = perform(&job, &bound, site, self.observer)?;
        let differences = differences(record, &made, &work)?;
        if !differences.is_empty() {
            store.mark_nondeterministic(&lock, work, record)?;
        }
        Ok(differences)
    }
}

/// The job of a record.
///
/// # Errors
/// If the record does not have everything that the job needs.
fn job(record: &Record, threads: usize) -> Result<JobSpec, TaskError> {
    let Components { kind, version, params, inputs, numerics, seed, .. } = Components::of(record)
        .map_err(|error| failed(format!("the record has other key components: {error}")))?;
    if inputs.keys().any(|name| name.starts_with(SOURCE)) {
        return Err(failed("it reads files outside the cache, and a record does not have their paths"));
    }
    Ok(JobSpec {
        pipeline: record.exec.pipeline.clone(),
        label: Label { id: TaskId(0), stage: record.exec.task.clone(), axes: vec![] }.into(),
        kind,
        version,
        params,
        seed,
        inputs,
        sources: vec![],
        numerics,
        key: Some(record.key),
        policy: Policy::Always,
        patient: false,
        threads,
        resources: Resources::default(),
    })
}

/// Hashes every input.
fn check_inputs(job: &JobSpec, store: &Store) -> Result<(), TaskError> {
    for (port, digest) in &job.inputs {
        if !store.is_intact(digest)? {
            return Err(failed(format!("its input `{port}` ({}) is no longer in the cache", digest.short())));
        }
    }
    Ok(())
}

/// The differences from a record: its outputs, which can be a part of the kind's, and the metrics of both.
fn differences(record: &Record, made: &Made, work: &Work) -> Result<Vec<String>, TaskError> {
    let mut differences = vec![];
    for output in &record.outputs {
        let is_passed_on =
            |made: &&DraftOutput| matches!(made, DraftOutput::PassedOn { port, .. } if *port == output.port);
        let found = match made.outputs.iter().find(is_passed_on) {
            Some(DraftOutput::PassedOn { digest, .. }) => *digest,
            _ => work.digest(&output.port)?,
        };
        if found != output.digest {
            let (before, now) = (output.digest.short(), found.short());
            differences.push(format!("{}: {before} before, {now} now", output.port));
        }
    }
    differences.extend(changed_metrics(&record.metrics, &made.metrics));
    Ok(differences)
}

fn changed_metrics(before: &Map<String, Value>, now: &Map<String, Value>) -> Vec<String> {
    let names = before.keys().chain(now.keys().filter(|name| !before.contains_key(*name)));
    let values = names.map(|name| (name, [before, now].map(|of| of.get(name).unwrap_or(&Value::Null))));
    let changed = values.filter(|(_, [before, now])| before != now);
    changed.map(|(name, [before, now])| format!("{name}: {before} before, {now} now")).collect()
}

fn failed(why: impl Into<String>) -> TaskError {
    StageError::Failed(why.into()).into()
}
