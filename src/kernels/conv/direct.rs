//! Convolution by its definition, for any kernel and stride.
//!
//! Forward and input gradient are the same computation: for each pixel of the output, a sum over a few *runs* of
//! consecutive values of a bordered input. Three taps of a kernel row times the channels lie next to each other, so a
//! 3x3 convolution is three runs of `3 * channels` values. A [`Pass`] lists the runs and the pixels; strides only
//! change the lists. The input gradient of stride 2 splits into four passes, one for each parity of row and column, so
//! that there are no multiplications by inserted zeros.

use std::sync::Arc;

use super::algorithm::{Addend, Finish, Load};
use super::sharing::{share, sum_groups, with_scratch};
use super::{ConvShape, Convolution};
use crate::kernels::image::Bordered;
use crate::kernels::pool::Pool;
use crate::kernels::simd::{LANES, Simd, compiled_for_each_level};
use crate::kernels::{Level, padded};

/// Consecutive input values that are multiplied with consecutive weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run {
    /// Offset from a pixel's first input value.
    input: usize,
    /// Position in the packed weight, counted in vectors.
    weight: usize,
}

/// Sums over runs of the input, for a list of output pixels.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Pass {
    runs: Vec<Run>,
    length: usize,
    /// For each pixel: offset of its input values, offset of its output values.
    pixels: Vec<(u32, u32)>,
    /// Vectors of weights per block of output channels.
    depth: usize,
    channels_out: usize,
}

/// The passes of a convolution.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Direct {
    shape: ConvShape,
    /// Input to output.
    forward: Pass,
    /// Gradient of the output (bordered) to gradient of the input.
    backward: Vec<Pass>,
    /// For each pixel of the output: where it lies in the bordered gradient.
    gradient_pixels: Vec<u32>,
}

/// The taps of one axis that reach an input coordinate of a parity: (offset in the bordered gradient, tap).
fn taps_of_parity(kernel: usize, stride: usize, parity: usize) -> Vec<(usize, usize)> {
    match (kernel, stride, parity) {
        (1, 2, 1) => vec![],
        (1, ..) => vec![(1, 0)],
        (_, 1, _) => vec![(0, 2), (1, 1), (2, 0)],
        (_, _, 0) => vec![(1, 1)],
        (..) => vec![(1, 2), (2, 0)],
    }
}

impl Direct {
    /// Lists the runs and pixels of a convolution.
    pub fn new(shape: ConvShape) -> Self {
        let (oh, ow, out_pitch) = (shape.out_height(), shape.out_width(), padded(shape.cout));
        let gradient_row = (ow + 2) * out_pitch;
        let gradient_pixels =
            (0..oh * ow).map(|i| ((i / ow + 1) * gradient_row + (i % ow + 1) * out_pitch) as u32).collect();
        let forward = Self::forward_pass(&shape);
        let parities = |stride: usize| (0..stride).flat_map(move |py| (0..stride).map(move |px| (py, px)));
        let backward = parities(shape.stride).map(|(py, px)| Self::backward_pass(&shape, py, px)).collect();
        Self { shape, forward, backward, gradient_pixels }
    }

    fn forward_pass(shape: &ConvShape) -> Pass {
        let ConvShape { width, pitch, kernel, stride, .. } = *shape;
        let (ow, out_pitch, row) = (shape.out_width(), padded(shape.cout), (width + 2) * pitch);
        let skip = 1 - kernel / 2; // a 1x1 kernel starts inside the border
        let runs =
            (0..kernel).map(|ky| Run { input: ky * row, weight: ky * kernel * pitch }).collect::<Vec<_>>();
        let pixel = |i: usize| {
            let (y, x) = (i / ow * stride + skip, i % ow * stride + skip);
            ((y * row + x * pitch) as u32, (i * out_pitch) as u32)
        };
        Pass {
            runs,
            length: kernel * pitch,
            pixels: (0..shape.out_height() * ow).map(pixel).collect(),
            depth: kernel * kernel * pitch,
            channels_out: out_pitch,
        }
    }

    fn backward_pass(shape: &ConvShape, py: usize, px: usize) -> Pass {
        let ConvShape { height, width, pitch, kernel, stride, .. } = *shape;
        let out_pitch = padded(shape.cout);
        let row = (shape.out_width() + 2) * out_pitch;
        let (rows, columns) = (taps_of_parity(kernel, stride, py), taps_of_parity(kernel, stride, px));
        // The packed weight holds the taps from last to first: a run's columns follow one another in it.
        let runs = match columns.first() {
            None => vec![],
            Some(&(dx, kx)) => rows
                .iter()
                .map(|&(dy, ky)| Run {
                    input: dy * row + dx * out_pitch,
                    weight: packed_tap(kernel, stride, ky, kx) * out_pitch,
                })
                .collect(),
        };
        let pixels = (py..height)
            .step_by(stride)
            .flat_map(|y| (px..width).step_by(stride).map(move |x| (y, x)))
            .map(|(y, x)| {
                let input = (y / stride) * row + (x / stride) * out_pitch;
                (input as u32, ((y * width + x) * padded(pitch)) as u32)
            })
            .collect();
        Pass {
            runs,
            length: columns.len() * out_pitch,
            pixels,
            depth: kernel * kernel * out_pitch,
            channels_out: padded(pitch),
        }
    }
}

impl Convolution for Direct {
    fn images_at_a_time(&self) -> usize {
        1
    }

    fn packed_len(&self) -> usize {
        let ConvShape { kernel, pitch, cout, .. } = self.shape;
        kernel * kernel * pitch * padded(cout)
    }

    fn packed_backward_len(&self) -> usize {
        self.shape.kernel * self.shape.kernel * padded(self.shape.cout) * padded(self.shape.pitch)
    }

    /// Blocks of 16 output channels, each (kernel, kernel, in padded, 16).
    fn pack_forward(&self, _level: Level, weight: &[f32], packed: &mut [f32]) {
        let ConvShape { cin, pitch, cout, kernel, .. } = self.shape;
        packed.fill(0.0);
        let depth = kernel * kernel * pitch;
        for (tap, values) in weight.chunks_exact(cin * cout).enumerate() {
            for (ci, outs) in values.chunks_exact(cout).enumerate() {
                for (block, lanes) in outs.chunks(LANES).enumerate() {
                    let at = (block * depth + tap * pitch + ci) * LANES;
                    packed[at..at + lanes.len()].copy_from_slice(lanes);
                }
            }
        }
    }

    /// Blocks of 16 input channels, each (taps in the order of the passes, out padded, 16).
    fn pack_backward(&self, _level: Level, weight: &[f32], packed: &mut [f32]) {
        let ConvShape { cin, cout, kernel, stride, .. } = self.shape;
        packed.fill(0.0);
        let (out_pitch, depth) = (padded(cout), kernel * kernel * padded(cout));
        for (tap, values) in weight.chunks_exact(cin * cout).enumerate() {
            let place = packed_tap(kernel, stride, tap / kernel, tap % kernel);
            for (ci, outs) in values.chunks_exact(cout).enumerate() {
                for (co, &value) in outs.iter().enumerate() {
                    packed[((ci / LANES) * depth + place * out_pitch + co) * LANES + ci % LANES] = value;
                }
            }
        }
    }

    fn forward(
        &self,
        level: Level,
        input: Load<'_>,
        packed: &[f32],
        addend: Addend<'_>,
        output: &mut [f32],
        finish: Finish<'_>,
    ) {
        let image = self.shape.out_height() * self.shape.out_width() * padded(self.shape.cout);
        share(output, image, 1, addend, finish, |i, output, addend| {
            with_scratch(|scratch| {
                self.load_input(input, i, &mut scratch.input);
                convolve(level, &self.forward, &scratch.input, packed, addend, output);
            });
        });
    }

    fn backward(
        &self,
        level: Level,
        gradient: Load<'_>,
        packed: &[f32],
        addend: Addend<'_>,
        output: &mut [f32],
        finish: Finish<'_>,
    ) {
        let image = self.shape.height * self.shape.width * padded(self.shape.pitch);
        share(output, image, 1, addend, finish, |i, output, addend| {
            with_scratch(|scratch| {
                self.load_gradient(gradient, i, &mut scratch.gradient);
                for pass in &self.backward {
                    convolve(level, pass, &scratch.gradient, packed, addend, output);
                }
            });
        });
    }

    fn weight_gradient(
        &self,
        level: Level,
        pool: &Arc<Pool>,
        batch: usize,
        input: Load<'_>,
        gradient: Load<'_>,
        of_weight: &mut [f32],
    ) {
        let total = sum_groups(pool, batch, self.packed_len(), |images, sum| {
            for image in images {
                with_scratch(|scratch| {
                    self.load_input(input, image, &mut scratch.input);
                    self.load_gradient(gradient, image, &mut scratch.gradient);
                    weight_gradient(level, self, &scratch.input, &scratch.gradient, sum);
                });
            }
        });
        self.unpack_gradient(&total, of_weight);
    }
}

impl Direct {
    fn load_input(&self, load: Load<'_>, image: usize, to: &mut Bordered) {
        let ConvShape { height, width, pitch, .. } = self.shape;
        to.reshape(height, width, pitch, [1, 1]);
        load(image, to);
    }

    fn load_gradient(&self, load: Load<'_>, image: usize, to: &mut Bordered) {
        let shape = self.shape;
        to.reshape(shape.out_height(), shape.out_width(), padded(shape.cout), [1, 1]);
        load(image, to);
    }

    /// Adds a packed weight gradient to one in the layout (kernel, kernel, in, out).
    fn unpack_gradient(&self, packed: &[f32], gradient: &mut [f32]) {
        let ConvShape { cin, pitch, cout, kernel, .. } = self.shape;
        let depth = kernel * kernel * pitch;
        for (tap, values) in gradient.chunks_exact_mut(cin * cout).enumerate() {
            for (ci, outs) in values.chunks_exact_mut(cout).enumerate() {
                for (block, lanes) in outs.chunks_mut(LANES).enumerate() {
                    let at = (block * depth + tap * pitch + ci) * LANES;
                    lanes.iter_mut().zip(&packed[at..]).for_each(|(to, from)| *to += from);
                }
            }
        }
    }
}

/// The place of a tap in the weight packed for the input gradient, so that every pass finds its columns in a row.
fn packed_tap(kernel: usize, stride: usize, ky: usize, kx: usize) -> usize {
    // Stride 1 walks the taps backwards: 2, 1, 0. Stride 2 needs 1 alone and 2 before 0.
    let place = |tap: usize| match (kernel, stride) {
        (1, _) => 0,
        (_, 1) => 2 - tap,
        _ => [2, 0, 1][tap],
    };
    place(ky) * kernel + place(kx)
}

compiled_for_each_level! {
    /// Runs a pass over one image: `output = sums + addend`.
    ///
    /// `packed` is the weight from [`Direct::pack_forward`] or [`Direct::pack_backward`].
    fn convolve(pass: &Pass, input: &Bordered, packed: &[f32], addend: Addend<'_>, output: &mut [f32]) = convolve_image
}

#[inline(always)]
unsafe fn convolve_image<S: Simd>(
    pass: &Pass,
    input: &Bordered,
    packed: &[f32],
    addend: Addend<'_>,
    output: &mut [f32],
) {
    pass.check(input, packed, output);
    let y = output.as_mut_ptr();
    let addend = addend.pointer(y, output.len());
    // SAFETY: `check` has seen that all offsets of the pass lie inside the slices; each output value is read as an addend
    // before it is written, by the same tile.
    unsafe { all_tiles::<S>(pass, input.values().as_ptr(), packed.as_ptr(), addend, y) }
}

impl Pass {
    /// Panics unless every offset lies inside the slices; kernels then need no bounds checks.
    fn check(&self, input: &Bordered, packed: &[f32], output: &[f32]) {
        let blocks = self.channels_out / LANES;
        let reach = self.runs.iter().map(|run| run.input).max().unwrap_or(0) + self.length;
        // Pixels ascend, so the last one reaches farthest.
        let ends = self.pixels.last().map_or((0, 0), |&(x, y)| (x as usize, y as usize));
        assert!(ends.0 + reach <= input.values().len(), "input too short");
        assert!(ends.1 + self.channels_out <= output.len(), "output too short");
        assert!(blocks * self.depth * LANES <= packed.len(), "weight too short");
    }
}

#[inline(always)]
unsafe fn all_tiles<S: Simd>(pass: &Pass, x: *const f32, w: *const f32, addend: *const f32, y: *mut f32) {
    for block in 0..pass.channels_out / LANES {
        let at = block * LANES;
        let w = w.wrapping_add(at * pass.depth);
        let addend = if addend.is_null() { addend } else { addend.wrapping_add(at) };
        let mut rest = pass.pixels.as_slice();
        // SAFETY: blocks and pixels lie inside the slices that the caller has checked.
        unsafe {
            while rest.len() >= S::TILE {
                let (pixels, tail) = rest.split_at(S::TILE);
                match S::TILE {
                    12 => tile::<S, 12>(pass, pixels, x, w, addend, y.wrapping_add(at)),
                    6 => tile::<S, 6>(pass, pixels, x, w, addend, y.wrapping_add(at)),
                    _ => tile::<S, 4>(pass, pixels, x, w, addend, y.wrapping_add(at)),
                }
                rest = tail;
            }
            while rest.len() >= 4 {
                let (pixels, tail) = rest.split_at(4);
                tile::<S, 4>(pass, pixels, x, w, addend, y.wrapping_add(at));
                rest = tail;
            }
            for pixel in rest.chunks_exact(1) {
                tile::<S, 1>(pass, pixel, x, w, addend, y.wrapping_add(at));
            }
        }
    }
}

/// `P` pixels by 16 output channels, accumulated in registers.
#[inline(always)]
unsafe fn tile<S: Simd, const P: usize>(
    pass: &Pass,
    pixels: &[(u32, u32)],
    x: *const f32,
    w: *const f32,
    addend: *const f32,
    y: *mut f32,
) {
    // SAFETY: see `all_tiles`.
    unsafe {
        let mut sums = [S::splat(0.0); P];
        for run in &pass.runs {
            let inputs: [*const f32; P] = std::array::from_fn(|p| x.add(pixels[p].0 as usize + run.input));
            let weights = w.add(run.weight * LANES);
            for i in 0..pass.length {
                let weight = S::load(weights.add(i * LANES));
                for p in 0..P {
                    sums[p] = S::fma(S::splat(*inputs[p].add(i)), weight, sums[p]);
                }
            }
        }
        for p in 0..P {
            let at = pixels[p].1 as usize;
            let sum = if addend.is_null() { sums[p] } else { S::add(sums[p], S::load(addend.add(at))) };
            S::store(y.add(at), sum);
        }
    }
}

compiled_for_each_level! {
    /// Adds one image's part to a weight gradient in the packed form of the forward pass.
    ///
    /// `input` is the input of the forward pass, `gradient` the gradient of its output.
    fn weight_gradient(plan: &Direct, input: &Bordered, gradient: &Bordered, packed: &mut [f32]) =
        weight_gradient_image
}

/// The number of pixels whose inputs and gradients stay in the first-level cache while they are multiplied with all
/// weights.
const GRADIENT_PIXELS: usize = 128;

#[inline(always)]
unsafe fn weight_gradient_image<S: Simd>(
    plan: &Direct,
    input: &Bordered,
    gradient: &Bordered,
    packed: &mut [f32],
) {
    let pass = &plan.forward;
    let reach = pass.runs.iter().map(|run| run.input).max().unwrap_or(0) + pass.length;
    let last = pass.pixels.last().map_or(0, |pixel| pixel.0 as usize);
    assert!(last + reach <= input.values().len(), "input too short");
    let last = plan.gradient_pixels.last().map_or(0, |&at| at as usize);
    assert!(last + pass.channels_out <= gradient.values().len(), "gradient too short");
    assert!(pass.channels_out * pass.depth <= packed.len(), "weight gradient too short");
    let (x, g, w) = (input.values().as_ptr(), gradient.values().as_ptr(), packed.as_mut_ptr());
    let chunks = pass.pixels.chunks(GRADIENT_PIXELS).zip(plan.gradient_pixels.chunks(GRADIENT_PIXELS));
    for (pixels, gradient_pixels) in chunks {
        for block in 0..pass.channels_out / LANES {
            for run in &pass.runs {
                // SAFETY: the assertions above cover every pixel, run and block.
                unsafe {
                    let g = g.add(block * LANES);
                    let w = w.add((block * pass.depth + run.weight) * LANES);
                    gradient_run::<S>(pixels, gradient_pixels, x.add(run.input), g, pass.length, w);
                }
            }
        }
    }
}

#[inline(always)]
unsafe fn gradient_run<S: Simd>(
    pixels: &[(u32, u32)],
    gradient_pixels: &[u32],
    x: *const f32,
    g: *const f32,
    length: usize,
    w: *mut f32,
) {
    let mut at = 0;
    // SAFETY: see `weight_gradient_image`.
    unsafe {
        while length - at >= 12 && S::TILE >= 12 {
            gradient_tile::<S, 12>(pixels, gradient_pixels, x.add(at), g, w.add(at * LANES));
            at += 12;
        }
        while length - at >= 6 {
            gradient_tile::<S, 6>(pixels, gradient_pixels, x.add(at), g, w.add(at * LANES));
            at += 6;
        }
        while length - at >= 4 {
            gradient_tile::<S, 4>(pixels, gradient_pixels, x.add(at), g, w.add(at * LANES));
            at += 4;
        }
        while length > at {
            gradient_tile::<S, 1>(pixels, gradient_pixels, x.add(at), g, w.add(at * LANES));
            at += 1;
        }
    }
}

/// `N` weights by 16 output channels, accumulated in registers over the pixels.
#[inline(always)]
unsafe fn gradient_tile<S: Simd, const N: usize>(
    pixels: &[(u32, u32)],
    gradient_pixels: &[u32],
    x: *const f32,
    g: *const f32,
    w: *mut f32,
) {
    // SAFETY: see `weight_gradient_image`.
    unsafe {
        let mut sums = [S::splat(0.0); N];
        for (pixel, &at) in pixels.iter().zip(gradient_pixels) {
            let (x, gradient) = (x.add(pixel.0 as usize), S::load(g.add(at as usize)));
            for (i, sum) in sums.iter_mut().enumerate() {
                *sum = S::fma(S::splat(*x.add(i)), gradient, *sum);
            }
        }
        for (i, &sum) in sums.iter().enumerate() {
            let to = w.add(i * LANES);
            S::store(to, S::add(S::load(to), sum));
        }
    }
}
