//! The one training loop.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use candle_core::backprop::GradStore;
use candle_core::{DType, Device, Tensor, Var};

use super::checkpoint::Snapshot;
use super::{Objective, Progress, Schedule, Sgd, Step, Term, TrainError, Watch, Weights};
use crate::data::{Augment, Batch, Batches, Order, Samples};
use crate::nn::{Mode, Network};

/// How to train.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Passes over the images.
    pub epochs: usize,
    /// Images of a step; the last step of an epoch may have fewer.
    pub batch: usize,
    /// Learning rates.
    pub schedule: Schedule,
    /// The optimiser.
    pub sgd: Sgd,
    /// How images are varied.
    pub augment: Augment,
    /// Whether each epoch has an order of its own.
    pub shuffle: bool,
}

/// Where a training runs.
#[derive(Clone, Copy)]
pub struct Session<'a> {
    /// Names the random streams.
    pub seed: u64,
    /// Who is told how far it is.
    pub watch: &'a dyn Watch,
    /// Folder of the checkpoints; made when needed. One folder belongs to one training.
    pub checkpoints: &'a Path,
}

/// What a training ends with.
#[derive(Clone, Debug, PartialEq)]
pub struct Trained {
    /// The network's numbers after the last epoch.
    pub weights: Weights,
    /// The objective's own.
    pub parameters: Vec<f32>,
}

/// Trains `network` from `start` on `samples`, or goes on from the newest checkpoint.
///
/// The result depends on the arguments and the seed alone: not on the number of threads, nor on how often the
/// training was stopped or killed on the way.
///
/// # Errors
///
/// [`TrainError::Stopped`] when asked to stop, [`TrainError::Diverged`] when the loss or a parameter is no longer
/// finite, a checkpoint that cannot be written, and arguments that do not fit each other.
pub fn fit<S: Samples + 'static>(
    network: &Network,
    start: Weights,
    samples: Arc<S>,
    objective: &mut dyn Objective,
    settings: &Settings,
    session: Session<'_>,
) -> Result<Trained, TrainError> {
    check(network, &start, samples.as_ref(), settings)?;
    let run = begin(start, objective, session);
    let mut fit = Fit { network, objective, settings, session, run, names: vec![] };
    while fit.run.epoch < settings.epochs {
        fit.epoch(&samples)?;
    }
    Ok(fit.finish())
}

fn check(
    network: &Network,
    start: &Weights,
    samples: &dyn Samples,
    settings: &Settings,
) -> Result<(), TrainError> {
    let graph = network.graph();
    let wrong = |problem: &str| Err(TrainError::Mismatch(problem.to_owned()));
    if (start.theta.len(), start.state.len()) != (graph.theta_len(), graph.state_len()) {
        return wrong("the model's weights are not those of its architecture");
    }
    if samples.is_empty() || settings.batch == 0 || settings.epochs == 0 {
        return wrong("a training needs at least one image, one epoch and a batch of one");
    }
    Ok(())
}

/// The newest checkpoint, or the state before the first step.
fn begin(start: Weights, objective: &dyn Objective, session: Session<'_>) -> Snapshot {
    let trainable = [start.theta, objective.parameters()].concat();
    let velocity = vec![0.0; trainable.len()];
    let fresh = Snapshot { trainable, velocity, state: start.state, ..Snapshot::default() };
    let passed_over = |path: &Path| {
        session
            .watch
            .note(&format!("checkpoint {} is damaged; going back to the one before", path.display()));
    };
    let Some(found) = Snapshot::newest(session.checkpoints, &fresh, passed_over) else {
        return fresh;
    };
    session.watch.note(&format!("going on after epoch {}, step {}", found.epoch, found.step));
    found
}

struct Fit<'a> {
    network: &'a Network,
    objective: &'a mut dyn Objective,
    settings: &'a Settings,
    session: Session<'a>,
    run: Snapshot,
    /// Names of the loss terms, once known.
    names: Vec<&'static str>,
}

impl Fit<'_> {
    /// Trains to the end of the current epoch and leaves a checkpoint there.
    fn epoch<S: Samples + 'static>(&mut self, samples: &Arc<S>) -> Result<(), TrainError> {
        let Settings { batch, augment, shuffle, .. } = *self.settings;
        let (seed, epoch) = (self.session.seed, self.run.epoch as u64);
        let order = Order::Epoch { seed, epoch, shuffle, augment };
        let batches = Batches::new(Arc::clone(samples), batch, order).prefetched();
        let steps = batches.len();
        let mut speed = Speed::new();
        for batch in batches.skip(self.run.step) {
            if self.session.watch.stopped() {
                self.run.save(self.session.checkpoints)?;
                return Err(TrainError::Stopped);
            }
            let images = batch.labels.len();
            self.step(batch)?;
            let images_per_second = speed.after(images);
            let (epochs, epoch, step) = (self.settings.epochs, self.run.epoch, self.run.step);
            let terms = self.means();
            self.session.watch.progress(&Progress { epoch, epochs, step, steps, images_per_second, terms });
        }
        if self.run.trainable.iter().chain(&self.run.state).any(|value| !value.is_finite()) {
            return Err(self.diverged("a parameter".to_owned()));
        }
        self.run.epoch += 1;
        self.run.step = 0;
        self.session.watch.note(&self.summary());
        self.run.save(self.session.checkpoints)
    }

    /// One step of the optimiser.
    fn step(&mut self, batch: Batch) -> Result<(), TrainError> {
        let run = &mut self.run;
        let (theta, own) = run.trainable.split_at(self.network.graph().theta_len());
        let theta = Var::from_slice(theta, theta.len(), &Device::Cpu)?;
        let own = Var::from_slice(own, own.len(), &Device::Cpu)?;
        let state = Tensor::from_slice(&run.state, run.state.len(), &Device::Cpu)?;
        let images = Tensor::from_vec(batch.images, batch.shape.as_slice(), &Device::Cpu)?;

        let forward = self.network.forward(&theta, &state, &images, Mode::Train)?;
        let step = Step { images: &images, labels: &batch.labels, forward: &forward, parameters: &own };
        let terms = self.objective.terms(&step)?;
        let loss = sum(&terms)?;
        self.count(&terms, batch.labels.len())?;
        if !scalar(&loss)?.is_finite() {
            let values = terms.iter().map(|(name, term)| Ok(format!("{name} {}", scalar(term)?)));
            let values = values.collect::<candle_core::Result<Vec<_>>>()?.join(", ");
            return Err(self.diverged(format!("the loss ({values})")));
        }

        let grads = loss.backward()?;
        let gradient = [gradient(&grads, &theta)?, gradient(&grads, &own)?].concat();
        let run = &mut self.run;
        let lr = self.settings.schedule.lr(run.epoch);
        self.settings.sgd.step(lr, &mut run.trainable, &gradient, &mut run.velocity);
        if let Some(state) = forward.state {
            run.state = state.to_vec1()?;
        }
        run.step += 1;
        Ok(())
    }

    /// Adds the terms of a batch of `images` to the epoch's sums.
    fn count(&mut self, terms: &[Term], images: usize) -> Result<(), TrainError> {
        let run = &mut self.run;
        if run.step == 0 {
            (run.seen, run.sums) = (0, vec![0.0; terms.len()]);
        }
        self.names = terms.iter().map(|(name, _)| *name).collect();
        for (total, (_, term)) in run.sums.iter_mut().zip(terms) {
            *total += scalar(term)? * images as f64;
        }
        run.seen += images;
        Ok(())
    }

    fn means(&self) -> Vec<(&'static str, f64)> {
        let mean = |sum: &f64| sum / self.run.seen.max(1) as f64;
        self.names.iter().copied().zip(self.run.sums.iter().map(mean)).collect()
    }

    /// The line that tells an epoch's end.
    fn summary(&self) -> String {
        let terms = self.means().iter().map(|(name, mean)| format!(", {name} {mean:.5}")).collect::<String>();
        format!("epoch {} of {}{terms}", self.run.epoch, self.settings.epochs)
    }

    fn diverged(&self, what: String) -> TrainError {
        let (epoch, step) = (self.run.epoch, self.run.step);
        TrainError::Diverged { what, epoch: epoch + 1, batch: step + 1, lr: self.settings.schedule.lr(epoch) }
    }

    fn finish(self) -> Trained {
        let mut theta = self.run.trainable;
        let parameters = theta.split_off(self.network.graph().theta_len());
        Trained { weights: Weights { theta, state: self.run.state }, parameters }
    }
}

fn sum(terms: &[Term]) -> candle_core::Result<Tensor> {
    let zero = Tensor::zeros((), DType::F32, &Device::Cpu)?;
    terms.iter().try_fold(zero, |sum, (_, term)| sum + term)
}

fn scalar(tensor: &Tensor) -> candle_core::Result<f64> {
    tensor.to_dtype(DType::F64)?.to_scalar()
}

/// The gradient of a flat variable; zeros if the loss does not depend on it.
fn gradient(grads: &GradStore, variable: &Var) -> candle_core::Result<Vec<f32>> {
    match grads.get(variable) {
        Some(gradient) => gradient.to_vec1(),
        None => Ok(vec![0.0; variable.elem_count()]),
    }
}

/// Images per second, over windows of about a second.
struct Speed {
    since: Instant,
    images: usize,
    last: Option<f64>,
}

impl Speed {
    fn new() -> Self {
        Self { since: Instant::now(), images: 0, last: None }
    }

    /// The speed after `images` more.
    fn after(&mut self, images: usize) -> f64 {
        self.images += images;
        let elapsed = self.since.elapsed().as_secs_f64();
        let now = self.images as f64 / elapsed.max(1e-9);
        if elapsed >= 1.0 {
            *self = Self { last: Some(now), ..Self::new() };
        }
        self.last.unwrap_or(now)
    }
}

#[cfg(test)]
mod tests;
