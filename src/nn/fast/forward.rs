//! The forward pass over a batch, layer by layer: with everything kept for the backward pass, or nothing.

use std::sync::Arc;

use rayon::prelude::*;

use super::super::Mode;
use super::super::graph::Graph;
use super::norm::{self, Coefficients};
use super::plan::{Make, Plan, Step};
use crate::kernels::conv::{Addend, Finish, share};
use crate::kernels::image::Bordered;
use crate::kernels::pool::{Pool, Pooled};
use crate::kernels::{Level, pointwise};

/// The inputs of every pass.
#[derive(Clone, Copy)]
pub(super) struct Setting<'a> {
    pub graph: &'a Graph,
    pub plan: &'a Plan,
    pub pool: &'a Arc<Pool>,
    pub level: Level,
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
            conv.pack_forward(setting.level, &theta[setting.graph.theta[*weight].range()], &mut packed);
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
            let norm = buffer.norm.filter(|_| mode == Mode::Train);
            let mut sums = self.pool.take(norm.map_or(0, |_| batch * 2 * buffer.pitch));
            let statistics = |_: usize, image: &mut [f32], sums: &mut [f32]| {
                if norm.is_some() {
                    pointwise::statistics(self.level, image, buffer.pitch, sums);
                }
            };
            let finish = Finish { results: &mut sums, work: &statistics };
            let all = |of: usize| if of == 0 { images } else { &activations[of][..] };
            self.make(step, &packed, &coefficients, &all, &mut output, finish);
            if let Some(norm) = norm {
                coefficients[norm] = self.normalise(norm, &sums, &output, theta, &mut state);
            }
            activations.push(output);
        }
        let all = |of: usize| if of == 0 { images } else { &activations[of][..] };
        let (result, pooled) = self.finish(theta, &all, &coefficients, batch);
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

    /// Makes a batch's stored activation. `all`: the batch's activation of a buffer.
    fn make<'b>(
        &self,
        step: &Step,
        packed: &[f32],
        coefficients: &[Coefficients],
        all: &(dyn Fn(usize) -> &'b [f32] + Sync),
        output: &mut [f32],
        finish: Finish<'_>,
    ) {
        match &step.make {
            Make::Conv { input, conv, addend, .. } => {
                let source = self.plan.views[*input].buffer;
                let len = self.plan.buffers[source].len();
                let source = all(source);
                let load = |i: usize, to: &mut Bordered| {
                    self.load(*input, &source[i * len..(i + 1) * len], coefficients, to);
                };
                let addend = addend.map_or(Addend::Nothing, |addend| Addend::Batch(all(addend)));
                conv.forward(self.level, &load, packed, addend, output, finish);
            }
            Make::Add { a, b } => {
                let [a, b] =
                    [*a, *b].map(|view| (all(self.plan.views[view].buffer), self.view(view, coefficients)));
                let buffer = &self.plan.buffers[step.output];
                let sum = |i: usize, output: &mut [f32], _: Addend<'_>| {
                    let at = i * buffer.len()..(i + 1) * buffer.len();
                    pointwise::add_views(
                        self.level,
                        &a.0[at.clone()],
                        a.1,
                        &b.0[at],
                        b.1,
                        buffer.pitch,
                        output,
                    );
                };
                share(output, buffer.len(), 1, Addend::Nothing, finish, sum);
            }
        }
    }

    /// Loads one image of a view into a bordered one.
    pub fn load(&self, view: usize, image: &[f32], coefficients: &[Coefficients], to: &mut Bordered) {
        let buffer = &self.plan.buffers[self.plan.views[view].buffer];
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
    fn finish<'b>(
        &self,
        theta: &[f32],
        all: &(dyn Fn(usize) -> &'b [f32] + Sync),
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
        let image = |of: usize, i: usize| &all(of)[i * buffers[of].len()..(i + 1) * buffers[of].len()];
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

    /// Runs images through all layers and keeps no activation longer than it is read.
    ///
    /// Groups of images run side by side: as few images as the convolutions need to be fast, so that their activations
    /// stay in the cache.
    ///
    /// Batch norm uses the running statistics. Returns logits of all images, then each tap's maps.
    pub fn infer(&self, theta: &[f32], state: &[f32], images: &[f32]) -> Vec<f32> {
        let coefficients = self.coefficients(theta, state);
        let packed: Vec<Pooled> = self.plan.steps.iter().map(|step| pack(self, step, theta)).collect();
        let groups: Vec<Vec<f32>> = images
            .par_chunks(self.plan.images_at_a_time() * self.plan.buffers[0].len())
            .map(|images| self.infer_group(theta, &coefficients, &packed, images))
            .collect();
        self.gather(&groups, images.len() / self.plan.buffers[0].len())
    }

    fn infer_group(
        &self,
        theta: &[f32],
        coefficients: &[Coefficients],
        packed: &[Pooled],
        images: &[f32],
    ) -> Vec<f32> {
        let buffers = &self.plan.buffers;
        let batch = images.len() / buffers[0].len();
        let mut activations: Vec<Option<Pooled>> = vec![None];
        for (index, (step, packed)) in self.plan.steps.iter().zip(packed).enumerate() {
            let mut output = self.pool.take(batch * buffers[step.output].len());
            let all =
                |of: usize| if of == 0 { images } else { activations[of].as_deref().unwrap_or_default() };
            self.make(step, packed, coefficients, &all, &mut output, Finish::nothing());
            activations.push(Some(output));
            for (buffer, activation) in activations.iter_mut().enumerate() {
                if self.plan.last_reader[buffer] == index {
                    *activation = None;
                }
            }
        }
        let all = |of: usize| if of == 0 { images } else { activations[of].as_deref().unwrap_or_default() };
        self.finish(theta, &all, coefficients, batch).0
    }

    /// Joins the results of groups: logits of all images, then each tap's maps.
    fn gather(&self, groups: &[Vec<f32>], batch: usize) -> Vec<f32> {
        let parts = std::iter::once(self.graph.classes());
        let parts = parts.chain(self.plan.taps.iter().map(|&tap| self.plan.buffers[tap].pixels()));
        let per_image = self.plan.result_len(self.graph);
        let mut gathered = Vec::with_capacity(batch * per_image);
        let mut before = 0;
        for len in parts {
            for group in groups {
                let images = group.len() / per_image;
                gathered.extend_from_slice(&group[before * images..(before + len) * images]);
            }
            before += len;
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
