//! Computing a recorded task again, from its record alone, to see whether the same comes out.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use serde::Deserialize;
use serde_json::Value;

use super::error::TaskError;
use crate::nn::Backend;
use crate::stages::{Bound, Context, Observer, Outcome, Stage, StageError};
use crate::store::{Digest, Record, Store};

/// What a task is computed with again.
pub struct Again<'a> {
    /// Every stage kind.
    pub kinds: &'a [Box<dyn Stage>],
    /// What computes networks.
    pub backend: &'a Backend,
    /// Threads that the task may use.
    pub threads: usize,
    /// Who is told how far it is.
    pub observer: &'a dyn Observer,
    /// Set to break off.
    pub stop: &'a AtomicBool,
}

/// The components of a key, as a record keeps them.
#[derive(Deserialize)]
struct Components {
    kind: String,
    version: u32,
    params: Value,
    inputs: BTreeMap<String, String>,
    numerics: String,
    #[serde(default)]
    seed: u64,
}

impl Again<'_> {
    /// Computes what a record is about once more, beside it, and returns what came out differently, one line each.
    /// If anything did, the record is marked as non-deterministic.
    pub fn compute(&self, record: &Record, store: &Store) -> Result<Vec<String>, TaskError> {
        let components = Components::deserialize(&record.components).map_err(|error| {
            failed(format!("the record has other components than this program's: {error}"))
        })?;
        let bound = self.bind(&components)?;
        let inputs = inputs(&components, store)?;
        let Some(lock) = store.try_lock(&record.key)? else {
            return Err(failed("another process is computing it; try again later"));
        };
        // Checkpoints of earlier attempts would be no proof.
        let (work, partial) = (store.work(&lock)?, store.work(&lock)?);
        let outcome = self.run(&*bound, components.seed, inputs, work.path(), partial.path())?;
        let differences = differences(record, &components, &outcome, work.path(), store)?;
        if !differences.is_empty() {
            store.mark_nondeterministic(&lock, work, record)?;
        }
        Ok(differences)
    }

    fn bind(&self, components: &Components) -> Result<Box<dyn Bound>, TaskError> {
        let Components { kind, version, params, numerics, .. } = components;
        let stage = self.kinds.iter().find(|stage| stage.kind() == kind);
        let stage = stage.ok_or_else(|| failed(format!("this program has no stage kind `{kind}`")))?;
        if *version != stage.version() || numerics != self.backend.numerics() {
            let (here, class) = (stage.version(), self.backend.numerics());
            return Err(failed(format!(
                "it was computed by version {version} of `{kind}` with numerics {numerics}; this program has \
                 version {here} and {class}"
            )));
        }
        stage.bind(params).map_err(|wrong| {
            let why = wrong.iter().map(|error| error.message.as_str()).collect::<Vec<_>>().join("; ");
            failed(format!("its parameters cannot be read back: {why}"))
        })
    }

    fn run(
        &self,
        bound: &dyn Bound,
        seed: u64,
        inputs: BTreeMap<String, PathBuf>,
        work: &Path,
        partial: &Path,
    ) -> Result<Outcome, TaskError> {
        let &Self { backend, observer, stop, .. } = self;
        let mut context = Context { seed, inputs, work, partial, backend, observer, stop };
        let pool = rayon::ThreadPoolBuilder::new().num_threads(self.threads).build();
        let pool = pool.map_err(|error| TaskError::Threads(error.to_string()))?;
        Ok(pool.install(|| bound.run(&mut context))?)
    }
}

/// The files of the inputs, each checked.
fn inputs(components: &Components, store: &Store) -> Result<BTreeMap<String, PathBuf>, TaskError> {
    let mut files = BTreeMap::new();
    for (port, digest) in &components.inputs {
        if port.starts_with("source:") {
            return Err(failed(
                "it reads files outside of the cache, and a record does not say where they are",
            ));
        }
        let digest = digest.parse::<Digest>().map_err(|error| failed(error.to_string()))?;
        let path = store.object(&digest);
        if !path.exists() || store.digest_source(&path)? != digest {
            return Err(failed(format!("its input `{port}` ({}) is no longer in the cache", digest.short())));
        }
        files.insert(port.clone(), path);
    }
    Ok(files)
}

/// What came out otherwise than the record says: its outputs, which need not be all that the kind can make, and
/// metrics of either.
fn differences(
    record: &Record,
    components: &Components,
    outcome: &Outcome,
    work: &Path,
    store: &Store,
) -> Result<Vec<String>, TaskError> {
    let mut differences = vec![];
    for output in &record.outputs {
        let passed_on = outcome.passed_on.iter().find(|(name, _)| *name == output.port);
        let found = match passed_on {
            Some((_, input)) => components.inputs.get(*input).cloned().unwrap_or_default(),
            None => store.digest_source(&work.join(&output.port))?.to_string(),
        };
        if found != output.digest.to_string() {
            let (before, now) = (output.digest.short(), found.get(..12).unwrap_or("nothing"));
            differences.push(format!("{}: {before} before, {now} now", output.port));
        }
    }
    let new = outcome.metrics.keys().filter(|name| !record.metrics.contains_key(*name));
    for name in record.metrics.keys().chain(new) {
        let [before, now] =
            [&record.metrics, &outcome.metrics].map(|metrics| metrics.get(name).unwrap_or(&Value::Null));
        if before != now {
            differences.push(format!("{name}: {before} before, {now} now"));
        }
    }
    Ok(differences)
}

fn failed(why: impl Into<String>) -> TaskError {
    StageError::Failed(why.into()).into()
}
