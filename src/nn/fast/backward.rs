//! The backward pass over a batch, layer by layer from the end.
//!
//! For each convolution, the gradient of its output is summed first (with batch norm's own gradient). It is multiplied
//! with the input for the weight's gradient, and with the weight for the input's gradient. The latter is gated by ReLU
//! and summed for the previous batch norm while each image is in the cache.

use std::collections::HashMap;

use rayon::prelude::*;

use super::super::Mode;
use super::forward::{Saved, Setting, image_of};
use super::norm;
use super::plan::{Make, Step};
use crate::kernels::conv::{Addend, Convolution, Finish};
use crate::kernels::image::Bordered;
use crate::kernels::padded;
use crate::kernels::pointwise::{self, GradientParts};
use crate::kernels::pool::Pooled;

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

    /// Sums the gradient of a stored activation over its readers.
    fn settle(&mut self, buffer: usize) -> Pooled {
        let parts = match self.take_parts(buffer) {
            // Nothing but one reader's gradient: that is the sum.
            Parts { plain: Some(plain), norm: None, attention: None } => return plain,
            parts => parts,
        };
        let of = &self.setting.plan.buffers[buffer];
        let mut settled = self.setting.pool.take(self.saved.batch * of.len());
        let this = &*self;
        settled.par_chunks_exact_mut(of.len()).enumerate().for_each(|(i, to)| {
            let at = i * of.len()..(i + 1) * of.len();
            let map = |(range, relu): &(std::ops::Range<usize>, bool)| {
                (&this.result[range.clone()][i * of.pixels()..(i + 1) * of.pixels()], *relu)
            };
            let parts = GradientParts {
                plain: parts.plain.as_ref().map(|plain| &plain[at.clone()]),
                norm: parts
                    .norm
                    .as_ref()
                    .map(|(view, abc)| (&view[at.clone()], abc.each_ref().map(Vec::as_slice))),
                attention: parts.attention.as_ref().map(map),
            };
            pointwise::settle(this.setting.level, parts, this.image(buffer, i), of.pitch, to);
        });
        settled
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
        let gradient = self.settle(step.output);
        let (out_len, source) = (setting.plan.buffers[step.output].len(), setting.plan.views[input].buffer);
        let load = |i: usize, to: &mut Bordered| {
            pointwise::load_image(&gradient[i * out_len..(i + 1) * out_len], to);
        };
        if self.wanted.theta {
            let (saved, images, len) = (self.saved, self.images, setting.plan.buffers[source].len());
            let load_input = |i: usize, to: &mut Bordered| {
                let image = image_of(&saved.activations, images, source, len, i);
                setting.load(input, image, &saved.coefficients, to);
            };
            let of_weight = &mut self.gradients.theta[setting.graph.theta[weight].range()];
            conv.weight_gradient(setting.level, setting.pool, batch, &load_input, &load, of_weight);
        }
        let target = Target::new(self, index, input, weight, conv);
        if target.wanted {
            let (mut to, mut sums) = target.buffers(self);
            let this = &*self;
            let gate = |i: usize, to: &mut [f32], sums: &mut [f32]| {
                if target.completes {
                    this.gate(input, this.image(source, i), to, sums);
                }
            };
            let addend = if target.adds { Addend::Output } else { Addend::Nothing };
            let finish = Finish { results: &mut sums, work: &gate };
            conv.backward(setting.level, &load, &target.packed, addend, &mut to, finish);
            self.store_target(index, input, to, Some(sums));
        }
        if let Some(buffer) = addend {
            self.add_plain(buffer, gradient);
        }
    }

    /// Differentiates a sum of two views.
    fn add(&mut self, index: usize, step: &Step, a: usize, b: usize) {
        let first = self.settle(step.output);
        let mut second = self.setting.pool.take(first.len());
        second.copy_from_slice(&first);
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
        self.store_target(reader, view, gradient, sums);
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
    fn store_target(&mut self, reader: usize, view: usize, gradient: Pooled, sums: Option<Pooled>) {
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
struct Target {
    view: usize,
    packed: Pooled,
    wanted: bool,
    /// Whether to add to an earlier contribution.
    adds: bool,
    /// Whether this is the last contribution to a view that is not plain.
    completes: bool,
}

impl Target {
    fn new(pass: &Backward<'_>, index: usize, view: usize, weight: usize, conv: &dyn Convolution) -> Self {
        let Setting { plan, graph, pool, level } = pass.setting;
        let of = plan.views[view];
        let wanted = of.buffer != 0 || pass.wanted.images;
        let adds =
            if of.is_plain() { pass.plain.contains_key(&of.buffer) } else { pass.views.contains_key(&view) };
        let mut packed = pool.take(if wanted { conv.packed_backward_len() } else { 0 });
        if wanted {
            conv.pack_backward(level, &pass.theta[graph.theta[weight].range()], &mut packed);
        }
        let completes = !of.is_plain() && plan.first_reader[view] == index;
        Self { view, packed, wanted, adds, completes }
    }

    /// The batch's gradient so far, and space for sums.
    fn buffers(&self, pass: &mut Backward<'_>) -> (Pooled, Pooled) {
        let of = pass.setting.plan.views[self.view];
        let buffer = &pass.setting.plan.buffers[of.buffer];
        let (batch, pool) = (pass.saved.batch, pass.setting.pool);
        let before =
            if of.is_plain() { pass.plain.remove(&of.buffer) } else { pass.views.remove(&self.view) };
        let values = before.unwrap_or_else(|| pool.take(batch * buffer.pixels() * padded(buffer.pitch)));
        (values, pool.take(if self.completes { batch * 2 * buffer.pitch } else { 0 }))
    }
}

fn add_onto(to: &mut [f32], from: &[f32]) {
    to.iter_mut().zip(from).for_each(|(to, from)| *to += from);
}
