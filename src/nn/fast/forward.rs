//! The forward pass: over a batch, layer by layer, with everything kept for the backward pass; or image by image.

use std::cell::RefCell;
use std::sync::Arc;

use rayon::prelude::*;

use super::super::Mode;
use super::super::graph::Graph;
use super::norm::{self, Coefficients};
use super::plan::{Make, Plan, Step};
use super::pool::{Pool, Pooled};
use crate::kernels::image::Bordered;
use crate::kernels::{Level, pointwise};

/// The inputs of every pass.
#[derive(Clone, Copy)]
pub(super) struct Setting<'a> {
    pub graph: &'a Graph,
    pub plan: &'a Plan,
    pub pool: &'a Arc<Pool>,
    pub level: Level,
}

/// A thread's bordered images: the input of a convolution and, in the backward pass, the gradient of its output.
#[derive(Default)]
pub(super) struct Scratch {
    pub input: Bordered,
    pub gradient: Bordered,
    /// For the convolution's own use.
    pub room: Vec<f32>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// Lends the thread's scratch images.
pub(super) fn with_scratch<R>(work: impl FnOnce(&mut Scratch) -> R) -> R {
    SCRATCH.with_borrow_mut(work)
}

/// The results of a forward pass over a batch that the backward pass needs.
pub(super) struct Saved {
    pub batch: usize,
    pub mode: Mode,
    /// Stored activations of the whole batch; the first is empty, since the images are the caller's.
    pub activations: Vec<Pooled>,
    pub coefficients: Vec<Coefficients>,
    /// Averages before the linear layer, (batch, pitch).
    pub pooled: Pooled,
    /// Running statistics after the batch.
    pub state: Vec<f32>,
    /// Logits of all images, then each tap's maps.
    pub result: Vec<f32>,
}

/// A step's weight in the layout of the kernels; empty for sums.
pub(super) fn pack(setting: &Setting<'_>, step: &Step, theta: &[f32]) -> Pooled {
    match &step.make {
        Make::Conv { weight, conv, .. } => {
            let mut packed = setting.pool.take(conv.packed_len());
            conv.pack_forward(&theta[setting.graph.theta[*weight].range()], &mut packed);
            packed
        }
        Make::Add { .. } => setting.pool.take(0),
    }
}

impl Setting<'_> {
    /// Runs a batch and keeps its activations.
    pub fn forward(&self, theta: &[f32], state: &[f32], images: &[f32], mode: Mode) -> Saved {
        let buffers = &self.plan.buffers;
        let batch = images.len() / buffers[0].len();
        let mut state = state.to_vec();
        let mut activations = vec![self.pool.take(0)];
        let mut coefficients = self.coefficients(theta, &state);
        for step in &self.plan.steps {
            let buffer = &buffers[step.output];
            let packed = pack(self, step, theta);
            let mut output = self.pool.take(batch * buffer.len());
            let make = |i: usize, output: &mut [f32]| {
                let image = |of: usize| image_of(&activations, images, of, buffers[of].len(), i);
                self.make(step, &packed, &coefficients, &image, output);
            };
            match buffer.norm.filter(|_| mode == Mode::Train) {
                None => {
                    output.par_chunks_exact_mut(buffer.len()).enumerate().for_each(|(i, out)| make(i, out));
                }
                Some(norm) => {
                    let mut sums = self.pool.take(batch * 2 * buffer.pitch);
                    let outputs = output.par_chunks_exact_mut(buffer.len());
                    outputs.zip(sums.par_chunks_exact_mut(2 * buffer.pitch)).enumerate().for_each(
                        |(i, (out, sums))| {
                            make(i, out);
                            pointwise::statistics(self.level, out, buffer.pitch, sums);
                        },
                    );
                    coefficients[norm] = self.normalise(norm, &sums, &output, theta, &mut state);
                }
            }
            activations.push(output);
        }
        let (result, pooled) = self.finish(theta, images, &activations, &coefficients, batch);
        Saved { batch, mode, activations, coefficients, pooled, state, result }
    }

    /// The coefficients from the running statistics.
    fn coefficients(&self, theta: &[f32], state: &[f32]) -> Vec<Coefficients> {
        let Graph { theta: slots, state: running, .. } = self.graph;
        let of = |norm: &super::plan::Norm| {
            Coefficients::new(
                &state[running[norm.mean].range()],
                &state[running[norm.variance].range()],
                &theta[slots[norm.weight].range()],
                &theta[slots[norm.bias].range()],
                self.plan.buffers[norm.buffer].pitch,
            )
        };
        self.plan.norms.iter().map(of).collect()
    }

    /// The coefficients from a batch; updates the running statistics.
    fn normalise(
        &self,
        norm: usize,
        sums: &[f32],
        x: &[f32],
        theta: &[f32],
        state: &mut [f32],
    ) -> Coefficients {
        let norm = &self.plan.norms[norm];
        let buffer = &self.plan.buffers[norm.buffer];
        let moments = norm::moments(sums, x, buffer.pixels(), buffer.pitch, buffer.shape.channels);
        let Graph { theta: slots, state: running, .. } = self.graph;
        let count = x.len() / buffer.pitch;
        norm::update_running(&mut state[running[norm.mean].range()], &moments[0], 1.0);
        let unbiased = count as f32 / (count.max(2) - 1) as f32;
        norm::update_running(&mut state[running[norm.variance].range()], &moments[1], unbiased);
        let [gamma, beta] = [norm.weight, norm.bias].map(|slot| &theta[slots[slot].range()]);
        Coefficients::new(&moments[0], &moments[1], gamma, beta, buffer.pitch)
    }

    /// Makes one image's stored activation.
    fn make<'b>(
        &self,
        step: &Step,
        packed: &[f32],
        coefficients: &[Coefficients],
        image: &dyn Fn(usize) -> &'b [f32],
        output: &mut [f32],
    ) {
        match &step.make {
            Make::Conv { input, conv, addend, .. } => with_scratch(|scratch| {
                let source = self.plan.views[*input].buffer;
                self.load(*input, image(source), coefficients, &mut scratch.input);
                let addend = addend.map(image);
                conv.forward(self.level, &mut scratch.room, &scratch.input, packed, addend, output);
            }),
            Make::Add { a, b } => {
                let [a, b] = [*a, *b].map(|view| (self.plan.views[view], self.view(view, coefficients)));
                let pitch = self.plan.buffers[step.output].pitch;
                pointwise::add_views(
                    self.level,
                    image(a.0.buffer),
                    a.1,
                    image(b.0.buffer),
                    b.1,
                    pitch,
                    output,
                );
            }
        }
    }

    /// Loads one image of a view with a border.
    pub fn load(&self, view: usize, image: &[f32], coefficients: &[Coefficients], to: &mut Bordered) {
        let buffer = &self.plan.buffers[self.plan.views[view].buffer];
        to.reshape(buffer.shape.height, buffer.shape.width, buffer.pitch);
        if self.plan.views[view].is_plain() {
            pointwise::load_image(image, to);
        } else {
            pointwise::load(self.level, image, buffer.pitch, self.view(view, coefficients), to);
        }
    }

    /// A view with a batch's coefficients.
    pub fn view<'b>(&self, view: usize, coefficients: &'b [Coefficients]) -> pointwise::View<'b> {
        let view = self.plan.views[view];
        match view.norm {
            Some(norm) => coefficients[norm].view(view.relu),
            None => pointwise::View { affine: None, relu: view.relu },
        }
    }

    /// Logits and attention maps of a batch, and the averages behind the logits.
    fn finish(
        &self,
        theta: &[f32],
        images: &[f32],
        activations: &[Pooled],
        coefficients: &[Coefficients],
        batch: usize,
    ) -> (Vec<f32>, Pooled) {
        let buffers = &self.plan.buffers;
        let classes = self.graph.classes();
        let mut result = vec![0.0; batch * self.plan.result_len(self.graph)];
        let mut pooled = self.pool.take(batch * buffers[self.plan.views[self.plan.head.input].buffer].pitch);
        let (logits, mut maps) = result.split_at_mut(batch * classes);
        let pitch = pooled.len() / batch.max(1);
        let source = self.plan.views[self.plan.head.input].buffer;
        let image = |of: usize, i: usize| image_of(activations, images, of, buffers[of].len(), i);
        logits
            .par_chunks_exact_mut(classes)
            .zip(pooled.par_chunks_exact_mut(pitch))
            .enumerate()
            .for_each(|(i, (logits, mean))| self.head(theta, image(source, i), coefficients, mean, logits));
        for &tap in &self.plan.taps {
            let (of_tap, rest) = maps.split_at_mut(batch * buffers[tap].pixels());
            let pixels = of_tap.par_chunks_exact_mut(buffers[tap].pixels()).enumerate();
            pixels.for_each(|(i, map)| self.attention(tap, image(tap, i), map));
            maps = rest;
        }
        (result, pooled)
    }

    /// One image's attention map.
    fn attention(&self, tap: usize, image: &[f32], map: &mut [f32]) {
        let buffer = &self.plan.buffers[tap];
        let relu = buffer.tap.is_some_and(|(_, relu)| relu);
        pointwise::attention(self.level, image, buffer.pitch, relu, map);
    }

    /// One image's logits, and the average behind them.
    fn head(
        &self,
        theta: &[f32],
        image: &[f32],
        coefficients: &[Coefficients],
        mean: &mut [f32],
        logits: &mut [f32],
    ) {
        let head = self.plan.head;
        pointwise::average(self.level, image, mean.len(), self.view(head.input, coefficients), mean);
        let [weight, bias] = [head.weight, head.bias].map(|slot| &theta[self.graph.theta[slot].range()]);
        logits.copy_from_slice(bias);
        for (&feature, weights) in mean.iter().zip(weight.chunks_exact(logits.len())) {
            logits
                .iter_mut()
                .zip(weights)
                .for_each(|(logit, &weight)| *logit = feature.mul_add(weight, *logit));
        }
    }

    /// Runs images one by one, each through all layers while its activations are in the cache. Keeps no activations.
    ///
    /// Batch norm uses the running statistics. Returns logits of all images, then each tap's maps.
    pub fn infer(&self, theta: &[f32], state: &[f32], images: &[f32]) -> Vec<f32> {
        let buffers = &self.plan.buffers;
        let batch = images.len() / buffers[0].len();
        let coefficients = self.coefficients(theta, state);
        let packed: Vec<Pooled> = self.plan.steps.iter().map(|step| pack(self, step, theta)).collect();
        let per_image = self.plan.result_len(self.graph);
        let mut by_image = self.pool.take(batch * per_image);
        let one = images.par_chunks_exact(buffers[0].len()).zip(by_image.par_chunks_exact_mut(per_image));
        one.for_each_init(
            || buffers.iter().map(|buffer| self.pool.take(buffer.len())).collect::<Vec<_>>(),
            |activations, (image, result)| {
                for (step, packed) in self.plan.steps.iter().zip(&packed) {
                    let (before, rest) = activations.split_at_mut(step.output);
                    let read = |of: usize| if of == 0 { image } else { &before[of][..] };
                    self.make(step, packed, &coefficients, &read, &mut rest[0]);
                }
                let (logits, mut maps) = result.split_at_mut(self.graph.classes());
                let source = self.plan.views[self.plan.head.input].buffer;
                let mut mean = self.pool.take(buffers[source].pitch);
                self.head(theta, &activations[source], &coefficients, &mut mean, logits);
                for &tap in &self.plan.taps {
                    let (map, rest) = maps.split_at_mut(buffers[tap].pixels());
                    self.attention(tap, &activations[tap], map);
                    maps = rest;
                }
            },
        );
        self.gather(&by_image, batch)
    }

    /// Reorders results by image to logits of all images, then each tap's maps.
    fn gather(&self, by_image: &[f32], batch: usize) -> Vec<f32> {
        let parts = std::iter::once(self.graph.classes());
        let parts = parts.chain(self.plan.taps.iter().map(|&tap| self.plan.buffers[tap].pixels()));
        let per_image = self.plan.result_len(self.graph);
        let mut gathered = Vec::with_capacity(batch * per_image);
        let mut at = 0;
        for len in parts {
            for image in by_image.chunks_exact(per_image) {
                gathered.extend_from_slice(&image[at..at + len]);
            }
            at += len;
        }
        gathered
    }
}

/// One image of a stored activation; buffer 0 is the images themselves.
pub(super) fn image_of<'b>(
    activations: &'b [Pooled],
    images: &'b [f32],
    of: usize,
    len: usize,
    i: usize,
) -> &'b [f32] {
    let all = if of == 0 { images } else { &activations[of] };
    &all[i * len..(i + 1) * len]
}
