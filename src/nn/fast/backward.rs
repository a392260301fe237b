//! The backward pass over a batch, layer by layer from the end.
//!
//! Each convolution needs one pass over the images. The pass sums the gradient of the output (with batch norm's own
//! gradient) in a bordered scratch image. It multiplies this with the input for the weight's gradient, and with the
//! weight for the input's gradient. It gates the latter by ReLU and sums it for the previous batch norm. Gradients of
//! whole activations are stored once.

use std::collections::HashMap;

use rayon::prelude::*;

use super::super::Mode;
use super::forward::{Saved, Scratch, Setting, image_of, with_scratch};
use super::norm;
use super::plan::{Make, Step};
use super::pool::Pooled;
use crate::kernels::conv::Convolution;
use crate::kernels::image::Bordered;
use crate::kernels::padded;
use crate::kernels::pointwise::{self, GradientParts};

/// The number of images whose weight gradients are summed first. It is fixed, so that sums do not depend on the number
/// of threads.
const GROUP: usize = 8;

/// The requested gradients.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    pub theta: bool,
    pub images: bool,
}

/// The results of a backward pass.
pub(super) struct Gradients {
    /// Gradient of the parameters; arbitrary if not requested.
    pub theta: Vec<f32>,
    /// Gradient of the images, (batch, height, width, channels), if requested.
    pub images: Option<Vec<f32>>,
}

/// An unfinished backward pass.
struct Backward<'a> {
    setting: Setting<'a>,
    saved: &'a Saved,
    images: &'a [f32],
    theta: &'a [f32],
    /// Gradient of the flat result: logits, then maps.
    result: &'a [f32],
    gradients: Gradients,
    wanted: Wanted,
    /// Gradients of stored activations, from their plain readers.
    plain: HashMap<usize, Pooled>,
    /// Gradients of views; gated and summed once the first reader is done.
    views: HashMap<usize, Pooled>,
    /// By view: `a`, `b`, `c` of its share in the gradient of the stored activation.
    shares: HashMap<usize, [Vec<f32>; 3]>,
}

impl Setting<'_> {
    /// Differentiates a saved forward pass. `result` is the gradient of its flat result.
    pub fn backward(
        &self,
        saved: &Saved,
        theta: &[f32],
        images: &[f32],
        result: &[f32],
        wanted: Wanted,
    ) -> Gradients {
        let gradients = Gradients { theta: vec![0.0; theta.len()], images: None };
        let mut pass = Backward {
            setting: *self,
            saved,
            images,
            theta,
            result,
            gradients,
            wanted,
            plain: HashMap::new(),
            views: HashMap::new(),
            shares: HashMap::new(),
        };
        pass.head();
        for (index, step) in self.plan.steps.iter().enumerate().rev() {
            match &step.make {
                Make::Conv { input, weight, conv, addend } => {
                    pass.conv(index, step, *input, *weight, &**conv, *addend);
                }
                Make::Add { a, b } => pass.add(index, step, *a, *b),
            }
        }
        pass.gradients
    }
}

impl<'a> Backward<'a> {
    fn image(&self, of: usize, i: usize) -> &[f32] {
        image_of(&self.saved.activations, self.images, of, self.setting.plan.buffers[of].len(), i)
    }

    /// Gradients of the linear layer; adds the average's gradient to every pixel.
    fn head(&mut self) {
        let (plan, graph) = (self.setting.plan, self.setting.graph);
        let (head, classes) = (plan.head, graph.classes());
        let [weight, bias] = [head.weight, head.bias].map(|slot| graph.theta[slot].range());
        let buffer = &plan.buffers[plan.views[head.input].buffer];
        let logits = self.result[..self.saved.batch * classes].chunks_exact(classes);
        for (gradient, mean) in logits.clone().zip(self.saved.pooled.chunks_exact(buffer.pitch)) {
            let weights = self.gradients.theta[weight.clone()].chunks_exact_mut(classes);
            for (weights, &feature) in weights.zip(mean) {
                weights.iter_mut().zip(gradient).for_each(|(w, &g)| *w = feature.mul_add(g, *w));
            }
            self.gradients.theta[bias.clone()].iter_mut().zip(gradient).for_each(|(b, &g)| *b += g);
        }
        let (share, weights) = (1.0 / buffer.pixels() as f32, &self.theta[weight]);
        let mut spread = self.setting.pool.take(self.saved.batch * buffer.len());
        spread.par_chunks_exact_mut(buffer.len()).zip(logits.collect::<Vec<_>>()).for_each(
            |(image, gradient)| {
                let mut of_mean = vec![0.0; buffer.pitch];
                for (to, weights) in of_mean.iter_mut().zip(weights.chunks_exact(classes)) {
                    *to = share * weights.iter().zip(gradient).fold(0f32, |sum, (&w, &g)| w.mul_add(g, sum));
                }
                image.chunks_exact_mut(buffer.pitch).for_each(|pixel| pixel.copy_from_slice(&of_mean));
            },
        );
        self.deliver(head.input, plan.steps.len(), spread);
    }

    /// The pieces of the gradient of a stored activation.
    fn take_parts(&mut self, buffer: usize) -> Parts {
        let view = self.setting.plan.buffers[buffer].view;
        Parts {
            plain: self.plain.remove(&buffer),
            norm: view.and_then(|view| Some((self.views.remove(&view)?, self.shares.remove(&view)?))),
            attention: self.attention(buffer),
        }
    }

    /// The place in `result` of the gradient of a buffer's attention maps; `None` if it is all zero.
    fn attention(&self, buffer: usize) -> Option<(std::ops::Range<usize>, bool)> {
        let plan = self.setting.plan;
        let (position, relu) = plan.buffers[buffer].tap?;
        let pixels = |tap: &usize| self.saved.batch * plan.buffers[*tap].pixels();
        let start = self.saved.batch * self.setting.graph.classes()
            + plan.taps[..position].iter().map(pixels).sum::<usize>();
        let range = start..start + pixels(&buffer);
        self.result[range.clone()].iter().any(|&g| g != 0.0).then_some((range, relu))
    }

    /// Sums one image's gradient of a stored activation.
    fn settle(&self, parts: &Parts, buffer: usize, i: usize, to: &mut Bordered) {
        let of = &self.setting.plan.buffers[buffer];
        let at = i * of.len()..(i + 1) * of.len();
        let map = |(range, relu): &(std::ops::Range<usize>, bool)| {
            (&self.result[range.clone()][i * of.pixels()..(i + 1) * of.pixels()], *relu)
        };
        let parts = GradientParts {
            plain: parts.plain.as_ref().map(|plain| &plain[at.clone()]),
            norm: parts
                .norm
                .as_ref()
                .map(|(view, abc)| (&view[at.clone()], abc.each_ref().map(Vec::as_slice))),
            attention: parts.attention.as_ref().map(map),
        };
        to.reshape(of.shape.height, of.shape.width, of.pitch);
        pointwise::settle(self.setting.level, parts, self.image(buffer, i), of.pitch, to);
    }

    /// Differentiates a convolution.
    fn conv(
        &mut self,
        index: usize,
        step: &Step,
        input: usize,
        weight: usize,
        conv: &dyn Convolution,
        addend: Option<usize>,
    ) {
        let (setting, batch) = (self.setting, self.saved.batch);
        let parts = self.take_parts(step.output);
        let (out_len, source) = (setting.plan.buffers[step.output].len(), setting.plan.views[input].buffer);
        let mut kept = addend.map(|_| setting.pool.take(batch * out_len));
        let groups = batch.div_ceil(GROUP);
        let packed_len = conv.packed_len();
        let mut shares = self.wanted.theta.then(|| setting.pool.zeros(groups * packed_len));
        let target = Target::new(self, index, input, weight, conv);
        let (target_len, mut target_values, mut sums) = target.buffers(self);

        let shared = split_optional(shares.as_deref_mut(), packed_len, groups);
        let keeps = split_optional(kept.as_deref_mut(), GROUP * out_len, groups);
        let targets = split_optional(target_values.as_deref_mut(), GROUP * target_len, groups);
        let sum_len = 2 * setting.plan.buffers[source].pitch;
        let summed = split_optional(sums.as_deref_mut(), GROUP * sum_len, groups);
        let groups = shared.zip(keeps).zip(targets).zip(summed);
        let this = &*self;
        groups.enumerate().for_each(|(group, (((mut share, mut keep), mut to), mut sums))| {
            for (k, i) in (group * GROUP..batch.min((group + 1) * GROUP)).enumerate() {
                with_scratch(|scratch| {
                    this.settle(&parts, step.output, i, &mut scratch.gradient);
                    if let Some(keep) = keep.as_deref_mut() {
                        copy_inside(&scratch.gradient, &mut keep[k * out_len..(k + 1) * out_len]);
                    }
                    let x = this.image(source, i);
                    if let Some(share) = share.as_deref_mut() {
                        let Scratch { input: reads, gradient, room } = scratch;
                        setting.load(input, x, &this.saved.coefficients, reads);
                        conv.weight_gradient(setting.level, room, reads, gradient, share);
                    }
                    if let Some(to) = to.as_deref_mut() {
                        let to = &mut to[k * target_len..(k + 1) * target_len];
                        let sums = sums.as_deref_mut().map(|sums| &mut sums[k * sum_len..(k + 1) * sum_len]);
                        target.image(this, scratch, x, to, sums);
                    }
                });
            }
        });
        if let Some(shares) = shares {
            let theta = &mut self.gradients.theta[setting.graph.theta[weight].range()];
            conv.unpack_gradient(&sum_groups_of(&shares, packed_len), theta);
        }
        if let (Some(buffer), Some(kept)) = (addend, kept) {
            self.add_plain(buffer, kept);
        }
        self.store_target(index, input, target_values, sums);
    }

    /// Differentiates a sum of two views.
    fn add(&mut self, index: usize, step: &Step, a: usize, b: usize) {
        let (setting, batch) = (self.setting, self.saved.batch);
        let parts = self.take_parts(step.output);
        let len = setting.plan.buffers[step.output].len();
        let mut gradients = [a, b].map(|_| setting.pool.take(batch * len));
        let [first, second] = &mut gradients;
        let this = &*self;
        first.par_chunks_exact_mut(len).zip(second.par_chunks_exact_mut(len)).enumerate().for_each(
            |(i, (first, second))| {
                with_scratch(|scratch| {
                    this.settle(&parts, step.output, i, &mut scratch.gradient);
                    copy_inside(&scratch.gradient, first);
                    second.copy_from_slice(first);
                });
            },
        );
        let [first, second] = gradients;
        self.deliver(a, index, first);
        self.deliver(b, index, second);
    }

    /// Receives a whole batch's gradient of a view from the step `reader`.
    fn deliver(&mut self, view: usize, reader: usize, mut gradient: Pooled) {
        let of = self.setting.plan.views[view];
        if of.is_plain() {
            return self.add_plain(of.buffer, gradient);
        }
        if let Some(before) = self.views.remove(&view) {
            add_onto(&mut gradient, &before);
        }
        let sums = (reader == self.setting.plan.first_reader[view]).then(|| {
            let buffer = &self.setting.plan.buffers[of.buffer];
            let mut sums = self.setting.pool.take(self.saved.batch * 2 * buffer.pitch);
            let this = &*self;
            gradient
                .par_chunks_exact_mut(buffer.len())
                .zip(sums.par_chunks_exact_mut(2 * buffer.pitch))
                .enumerate()
                .for_each(|(i, (gradient, sums))| this.gate(view, this.image(of.buffer, i), gradient, sums));
            sums
        });
        self.store_target(reader, view, Some(gradient), sums);
    }

    /// Gates one image's gradient of a view by its ReLU and sums it for its batch norm.
    fn gate(&self, view: usize, x: &[f32], gradient: &mut [f32], sums: &mut [f32]) {
        let of = self.setting.plan.views[view];
        let pitch = self.setting.plan.buffers[of.buffer].pitch;
        let coefficients = &self.saved.coefficients;
        // Without a batch norm, the second sum is not used, so the mean is arbitrary.
        let mean = of.norm.map_or(&x[..pitch], |norm| &coefficients[norm].mean[..]);
        let reads = self.setting.view(view, coefficients);
        pointwise::gate_and_sum(self.setting.level, gradient, x, pitch, reads, mean, sums);
    }

    /// Keeps a view's gradient. With its sums, differentiates its batch norm.
    fn store_target(&mut self, reader: usize, view: usize, gradient: Option<Pooled>, sums: Option<Pooled>) {
        let Some(gradient) = gradient else { return };
        let of = self.setting.plan.views[view];
        if of.buffer == 0 {
            return self.keep_images(&gradient);
        }
        if of.is_plain() {
            self.plain.insert(of.buffer, gradient);
            return;
        }
        self.views.insert(view, gradient);
        if reader == self.setting.plan.first_reader[view] {
            let share = self.differentiate(of.norm, of.buffer, sums.as_deref().unwrap_or_default());
            self.shares.insert(view, share);
        }
    }

    /// Adds gamma's and beta's gradients; returns `a`, `b`, `c` of the normalized activation's.
    fn differentiate(&mut self, norm: Option<usize>, buffer: usize, sums: &[f32]) -> [Vec<f32>; 3] {
        let (plan, graph) = (self.setting.plan, self.setting.graph);
        let buffer = &plan.buffers[buffer];
        let Some(norm) = norm else {
            return [vec![1.0; buffer.pitch], vec![0.0; buffer.pitch], vec![0.0; buffer.pitch]];
        };
        let count = (self.saved.mode == Mode::Train).then_some(self.saved.batch * buffer.pixels());
        let made = norm::differentiate(&self.saved.coefficients[norm], sums, buffer.shape.channels, count);
        self.gradients.theta[graph.theta[plan.norms[norm].weight].range()].copy_from_slice(&made.gamma);
        self.gradients.theta[graph.theta[plan.norms[norm].bias].range()].copy_from_slice(&made.beta);
        made.input
    }

    fn add_plain(&mut self, buffer: usize, mut gradient: Pooled) {
        if let Some(before) = self.plain.remove(&buffer) {
            add_onto(&mut gradient, &before);
        }
        self.plain.insert(buffer, gradient);
    }

    /// Copies the images' gradient out of its padded channels.
    fn keep_images(&mut self, gradient: &[f32]) {
        let channels = self.setting.plan.buffers[0].shape.channels;
        let pixels = gradient.chunks_exact(padded(channels)).flat_map(|pixel| &pixel[..channels]);
        self.gradients.images = Some(pixels.copied().collect());
    }
}

/// The owned pieces of a stored activation's gradient.
struct Parts {
    plain: Option<Pooled>,
    norm: Option<(Pooled, [Vec<f32>; 3])>,
    attention: Option<(std::ops::Range<usize>, bool)>,
}

/// The destination of a convolution's input gradient.
struct Target<'c> {
    view: usize,
    conv: &'c dyn Convolution,
    packed: Pooled,
    wanted: bool,
    /// Whether to add to an earlier contribution.
    adds: bool,
    /// Whether this is the last contribution to a view that is not plain.
    completes: bool,
}

impl<'c> Target<'c> {
    fn new(pass: &Backward<'_>, index: usize, view: usize, weight: usize, conv: &'c dyn Convolution) -> Self {
        let (plan, graph) = (pass.setting.plan, pass.setting.graph);
        let of = plan.views[view];
        let wanted = of.buffer != 0 || pass.wanted.images;
        let adds =
            if of.is_plain() { pass.plain.contains_key(&of.buffer) } else { pass.views.contains_key(&view) };
        let mut packed = pass.setting.pool.take(if wanted { conv.packed_backward_len() } else { 0 });
        if wanted {
            conv.pack_backward(&pass.theta[graph.theta[weight].range()], &mut packed);
        }
        Self {
            view,
            conv,
            packed,
            wanted,
            adds,
            completes: !of.is_plain() && plan.first_reader[view] == index,
        }
    }

    /// The length of an image's gradient, the batch's gradient so far, and space for sums.
    fn buffers(&self, pass: &mut Backward<'_>) -> (usize, Option<Pooled>, Option<Pooled>) {
        let of = pass.setting.plan.views[self.view];
        let buffer = &pass.setting.plan.buffers[of.buffer];
        let (batch, pool) = (pass.saved.batch, pass.setting.pool);
        let len = buffer.pixels() * padded(buffer.pitch);
        let before =
            if of.is_plain() { pass.plain.remove(&of.buffer) } else { pass.views.remove(&self.view) };
        let values = self.wanted.then(|| before.unwrap_or_else(|| pool.take(batch * len)));
        (len, values, self.completes.then(|| pool.take(batch * 2 * buffer.pitch)))
    }

    /// Computes one image's gradient; gates and sums it if it is complete.
    fn image(
        &self,
        pass: &Backward<'_>,
        scratch: &mut Scratch,
        x: &[f32],
        to: &mut [f32],
        sums: Option<&mut [f32]>,
    ) {
        let Scratch { gradient, room, .. } = scratch;
        self.conv.backward(pass.setting.level, room, gradient, &self.packed, self.adds, to);
        if let Some(sums) = sums {
            pass.gate(self.view, x, to, sums);
        }
    }
}

/// Splits a batch into groups of `len` values for parallel work, or returns as many `None`s.
fn split_optional(
    values: Option<&mut [f32]>,
    len: usize,
    groups: usize,
) -> impl IndexedParallelIterator<Item = Option<&mut [f32]>> {
    let mut parts: Vec<Option<&mut [f32]>> = match values {
        Some(values) => values.chunks_mut(len.max(1)).map(Some).collect(),
        None => vec![],
    };
    parts.resize_with(groups, || None);
    parts.into_par_iter()
}

/// Sums the groups' weight gradients in the order of the groups.
fn sum_groups_of(shares: &[f32], len: usize) -> Vec<f32> {
    let mut sum = vec![0.0; len];
    shares.chunks_exact(len).for_each(|share| add_onto(&mut sum, share));
    sum
}

fn add_onto(to: &mut [f32], from: &[f32]) {
    to.iter_mut().zip(from).for_each(|(to, from)| *to += from);
}

/// Copies a bordered image without its border.
fn copy_inside(from: &Bordered, to: &mut [f32]) {
    let row = to.len() / from.height();
    for (y, to) in to.chunks_exact_mut(row).enumerate() {
        to.copy_from_slice(from.row(y));
    }
}
