//! The one training loop: batches, steps of the optimizer, checkpoints.
//!
//! It knows no network: it minimizes a [`Loss`] of a flat vector.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use super::checkpoint::Snapshot;
use super::{Loss, Objective, Point, Progress, Schedule, Session, Sgd, Slope, Supervised, TrainError};
use crate::data::{Augment, Batch, Batches, Order, Samples};
use crate::models::Weights;
use crate::nn::Network;

/// The settings of a training.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The number of passes over the images.
    pub epochs: usize,
    /// The number of images in one step; the last step of an epoch may have fewer.
    pub batch: usize,
    /// Learning rates.
    pub schedule: Schedule,
    /// The optimizer.
    pub sgd: Sgd,
    /// The augmentation of images.
    pub augment: Augment,
    /// Whether each epoch has a different order.
    pub shuffle: bool,
}

/// The values that a training starts and ends with.
#[derive(Clone, Debug, PartialEq)]
pub struct Values {
    /// The trainable values.
    pub trainable: Vec<f32>,
    /// The running statistics.
    pub state: Vec<f32>,
}

/// The result of the training of a network.
#[derive(Clone, Debug, PartialEq)]
pub struct Trained {
    /// The network's weights after the last epoch.
    pub weights: Weights,
    /// The objective's own parameters.
    pub parameters: Vec<f32>,
}

/// Trains `network` from `start` on `samples`, or resumes from the newest checkpoint; see [`descend`].
///
/// # Errors
///
/// Those of [`descend`], and weights that do not match the network.
pub fn fit<S: Samples + 'static>(
    network: &Network,
    start: Weights,
    samples: Arc<S>,
    objective: &mut dyn Objective,
    settings: &Settings,
    session: Session<'_>,
) -> Result<Trained, TrainError> {
    let graph = network.graph();
    if (start.theta.len(), start.state.len()) != (graph.theta_len(), graph.state_len()) {
        let problem = "the model's weights do not match its architecture";
        return Err(TrainError::Mismatch(problem.to_owned()));
    }
    let trainable = [start.theta, objective.parameters()].concat();
    let start = Values { trainable, state: start.state };
    let end = descend(&mut Supervised { network, objective }, start, samples, settings, session)?;
    let Values { trainable: mut theta, state } = end;
    let parameters = theta.split_off(graph.theta_len());
    Ok(Trained { weights: Weights { theta, state }, parameters })
}

/// Minimizes `loss` from `start` with the batches of `samples`, or resumes from the newest checkpoint.
///
/// The result depends only on the arguments and the seed. It does not depend on the number of threads, or on stops and
/// kills of the training.
///
/// # Errors
///
/// [`TrainError::Stopped`] after a request to stop, [`TrainError::Diverged`] if the loss or a value is not finite, a
/// checkpoint that cannot be written, and arguments that do not match.
pub fn descend<S: Samples + 'static>(
    loss: &mut dyn Loss,
    start: Values,
    samples: Arc<S>,
    settings: &Settings,
    session: Session<'_>,
) -> Result<Values, TrainError> {
    if samples.is_empty() || settings.batch == 0 || settings.epochs == 0 {
        let problem = "training needs at least 1 image, 1 epoch and a batch size of 1";
        return Err(TrainError::Mismatch(problem.to_owned()));
    }
    let steps = samples.len().div_ceil(settings.batch);
    let mut descent = Descent {
        loss,
        settings,
        session,
        steps,
        run: begin(start, (settings.epochs, steps), session),
        names: vec![],
    };
    while descent.run.epoch < settings.epochs {
        descent.test()?;
        descent.epoch(&samples)?;
    }
    descent.test()?;
    let Snapshot { trainable, state, .. } = descent.run;
    Ok(Values { trainable, state })
}

/// The newest checkpoint that is not beyond the `last` epoch and step, or the state before the first step.
fn begin(start: Values, last: (usize, usize), session: Session<'_>) -> Snapshot {
    let Values { trainable, state } = start;
    let velocity = vec![0.0; trainable.len()];
    let fresh = Snapshot { trainable, velocity, state, ..Snapshot::default() };
    let passed_over = |path: &Path| {
        session.observer.note(&format!("checkpoint {} is damaged; trying the previous one", path.display()));
    };
    let Some(found) = Snapshot::newest(session.checkpoints, &fresh, last, passed_over) else {
        return fresh;
    };
    session.observer.note(&format!("resuming after epoch {}, step {}", found.epoch, found.step));
    found
}

struct Descent<'a> {
    loss: &'a mut dyn Loss,
    settings: &'a Settings,
    session: Session<'a>,
    /// The number of steps of an epoch.
    steps: usize,
    run: Snapshot,
    /// The names of the loss terms, after the first step.
    names: Vec<&'static str>,
}

impl Descent<'_> {
    /// Lets the observer test the network between two epochs, if the values are a network's.
    fn test(&self) -> Result<(), TrainError> {
        let Snapshot { trainable, state, epoch, step: 0, .. } = &self.run else { return Ok(()) };
        let Some((network, weights)) = self.loss.network(trainable, state) else { return Ok(()) };
        let tests = self.session.observer.test(network, &weights)?;
        if !tests.is_empty() {
            let found = tests.iter().map(|(name, percent)| format!(", {name} {percent:.2}"));
            let found = found.collect::<String>();
            self.session
                .observer
                .note(&format!("test after epoch {epoch} of {}{found}", self.settings.epochs));
            let tests = tests.into_iter().map(|(name, percent)| (name.into(), percent)).collect();
            self.session.observer.progress(&Progress { tests, ..self.progress() });
        }
        Ok(())
    }

    /// Trains to the end of the current epoch, and writes a checkpoint.
    fn epoch<S: Samples + 'static>(&mut self, samples: &Arc<S>) -> Result<(), TrainError> {
        let Settings { batch, augment, shuffle, .. } = *self.settings;
        let (seed, epoch) = (self.session.seed, self.run.epoch as u64);
        let order = Order::Epoch { seed, epoch, shuffle, augment };
        let batches = Batches::new(Arc::clone(samples), batch, order).prefetched();
        let mut speed = Speed::new();
        for batch in batches.skip(self.run.step) {
            if self.session.observer.stopped() {
                self.run.save(self.session.checkpoints)?;
                return Err(TrainError::Stopped);
            }
            let images = batch.labels.len();
            self.step(batch)?;
            let images_per_second = speed.after(images);
            let terms = self.means().into_iter().map(|(name, mean)| (name.into(), mean)).collect();
            self.session.observer.progress(&Progress { images_per_second, terms, ..self.progress() });
        }
        if self.run.trainable.iter().chain(&self.run.state).any(|value| !value.is_finite()) {
            return Err(self.diverged("a parameter".to_owned()));
        }
        self.run.epoch += 1;
        self.run.step = 0;
        self.session.observer.note(&self.summary());
        self.run.save(self.session.checkpoints)
    }

    /// One step of the optimizer.
    fn step(&mut self, batch: Batch) -> Result<(), TrainError> {
        let images = batch.tensor(self.loss.device())?;
        let Snapshot { trainable, state, epoch, step, .. } = &self.run;
        let at = Point { trainable, state, epoch: *epoch, step: *step };
        let Slope { terms, gradient, state } = self.loss.slope(&at, &images, &batch.labels)?;
        self.count(&terms, batch.labels.len());
        if !terms.iter().map(|(_, value)| value).sum::<f64>().is_finite() {
            let values = terms.iter().map(|(name, value)| format!("{name} {value}"));
            return Err(self.diverged(format!("the loss ({})", values.collect::<Vec<_>>().join(", "))));
        }
        let run = &mut self.run;
        let lr = self.settings.schedule.lr(run.epoch);
        self.settings.sgd.step(lr, &mut run.trainable, &gradient, &mut run.velocity);
        self.loss.project(&mut run.trainable);
        if let Some(state) = state {
            run.state = state;
        }
        run.step += 1;
        Ok(())
    }

    /// Adds the terms of a batch of `images` to the epoch's sums.
    fn count(&mut self, terms: &[(&'static str, f64)], images: usize) {
        let run = &mut self.run;
        if run.step == 0 {
            (run.seen, run.sums) = (0, vec![0.0; terms.len()]);
        }
        self.names = terms.iter().map(|(name, _)| *name).collect();
        for (total, (_, value)) in run.sums.iter_mut().zip(terms) {
            *total += value * images as f64;
        }
        run.seen += images;
    }

    fn progress(&self) -> Progress {
        let Snapshot { epoch, step, .. } = self.run;
        let (epochs, steps) = (self.settings.epochs, self.steps);
        Progress { epoch, epochs, step, steps, ..Progress::default() }
    }

    fn means(&self) -> Vec<(&'static str, f64)> {
        let mean = |sum: &f64| sum / self.run.seen.max(1) as f64;
        self.names.iter().copied().zip(self.run.sums.iter().map(mean)).collect()
    }

    /// The line of the log at the end of an epoch.
    fn summary(&self) -> String {
        let terms = self.means().iter().map(|(name, mean)| format!(", {name} {mean:.5}")).collect::<String>();
        format!("epoch {} of {}{terms}", self.run.epoch, self.settings.epochs)
    }

    fn diverged(&self, what: String) -> TrainError {
        let (epoch, step) = (self.run.epoch, self.run.step);
        TrainError::Diverged { what, epoch: epoch + 1, batch: step + 1, lr: self.settings.schedule.lr(epoch) }
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
