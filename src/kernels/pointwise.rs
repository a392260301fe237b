//! The operations on an activation between two convolutions, one NHWC image at a time: normalization and ReLU while
//! loading, batch statistics, residual sums, attention maps, and the gradients of all of these.
//!
//! An activation is stored as the output of the convolution. Its batch norm and ReLU are a [`View`]: an affine map and
//! a gate that the reader applies as it loads. Channels are padded to whole vectors throughout.

use super::image::Bordered;
use super::simd::{LANES, Simd, compiled_for_each_level};

/// The values that a reader gets from a stored activation: `scale * x + shift`, then optionally max(., 0).
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// Scale and shift by channel; `None` for the activation itself.
    pub affine: Option<(&'a [f32], &'a [f32])>,
    /// Whether negative values read as 0.
    pub relu: bool,
}

impl View<'_> {
    /// The activation itself.
    pub const PLAIN: Self = Self { affine: None, relu: false };

    /// Panics unless the coefficients cover `channels`.
    fn check(&self, channels: usize) {
        assert!(self.affine.is_none_or(|(scale, shift)| scale.len() >= channels && shift.len() >= channels));
    }

    /// Reads one vector of channels `at..at + 16`, whose stored value is `x`.
    #[inline(always)]
    unsafe fn read<S: Simd>(&self, at: usize, x: S::V) -> S::V {
        // SAFETY: `check` has seen that the coefficients cover the channels.
        unsafe {
            let x = match self.affine {
                Some((scale, shift)) => {
                    S::fma(S::load(scale.as_ptr().add(at)), x, S::load(shift.as_ptr().add(at)))
                }
                None => x,
            };
            if self.relu { S::relu(x) } else { x }
        }
    }
}

/// Panics unless all slices hold whole pixels of `channels`, as many as the first.
fn check(channels: usize, slices: &[&[f32]]) {
    assert!(channels > 0 && channels.is_multiple_of(LANES), "channels must fill whole vectors");
    assert!(slices[0].len().is_multiple_of(channels), "an image must hold whole pixels");
    assert!(slices.iter().all(|slice| slice.len() == slices[0].len()), "images must have one size");
}

/// Copies an image of any number of channels into a bordered one.
pub fn load_image(source: &[f32], to: &mut Bordered) {
    let row = source.len() / to.height().max(1);
    for (y, values) in source.chunks_exact(row.max(1)).enumerate() {
        to.row_mut(y).copy_from_slice(values);
    }
}

compiled_for_each_level! {
    /// Loads an activation through a view into a bordered image of the same shape.
    pub fn load(source: &[f32], channels: usize, view: View<'_>, to: &mut Bordered) = load_view
}

#[inline(always)]
unsafe fn load_view<S: Simd>(source: &[f32], channels: usize, view: View<'_>, to: &mut Bordered) {
    check(channels, &[source]);
    view.check(channels);
    let row = source.len() / to.height().max(1);
    for (y, values) in source.chunks_exact(row).enumerate() {
        let out = to.row_mut(y);
        assert_eq!(out.len(), values.len());
        for at in (0..values.len()).step_by(LANES) {
            // SAFETY: both rows hold `values.len()` values, a multiple of the vector.
            unsafe {
                let x = view.read::<S>(at % channels, S::load(values.as_ptr().add(at)));
                S::store(out.as_mut_ptr().add(at), x);
            }
        }
    }
}

compiled_for_each_level! {
    /// Sums one image by channel: `[sum of x - k, sum of (x - k)^2]`, `k` being the image's first pixel.
    ///
    /// The shift by a sample keeps the variance exact where the mean is large. `sums` is (2, channels).
    pub fn statistics(x: &[f32], channels: usize, sums: &mut [f32]) = statistics_image
}

/// The number of pixels that are summed side by side, so that additions need not wait for each other.
const CHAINS: usize = 4;

/// Two functions of the pixels that are summed. A trait and not a closure: a closure would not be compiled for the
/// level of the kernel around it.
trait Terms<S: Simd> {
    /// Adds a pixel's terms to the sums.
    unsafe fn add(&self, pixel: usize, sums: (S::V, S::V)) -> (S::V, S::V);
}

/// Sums two functions of the pixels, by channel: the order is that of the pixels in four interleaved chains.
#[inline(always)]
unsafe fn two_sums<S: Simd>(pixels: usize, terms: &impl Terms<S>) -> (S::V, S::V) {
    // SAFETY: the terms read the pixels that the caller has checked.
    unsafe {
        let zero = S::splat(0.0);
        let mut sums = [(zero, zero); CHAINS];
        let mut pixel = 0;
        while pixel + CHAINS <= pixels {
            for (chain, sum) in sums.iter_mut().enumerate() {
                *sum = terms.add(pixel + chain, *sum);
            }
            pixel += CHAINS;
        }
        for pixel in pixel..pixels {
            sums[0] = terms.add(pixel, sums[0]);
        }
        let left = (S::add(sums[0].0, sums[1].0), S::add(sums[0].1, sums[1].1));
        let right = (S::add(sums[2].0, sums[3].0), S::add(sums[2].1, sums[3].1));
        (S::add(left.0, right.0), S::add(left.1, right.1))
    }
}

/// Differences from a value, and their squares.
struct Deviations<S: Simd> {
    x: *const f32,
    channels: usize,
    from: S::V,
}

impl<S: Simd> Terms<S> for Deviations<S> {
    #[inline(always)]
    unsafe fn add(&self, pixel: usize, (sum, squares): (S::V, S::V)) -> (S::V, S::V) {
        // SAFETY: see `two_sums`.
        unsafe {
            let d = S::sub(S::load(self.x.add(pixel * self.channels)), self.from);
            (S::add(sum, d), S::fma(d, d, squares))
        }
    }
}

#[inline(always)]
unsafe fn statistics_image<S: Simd>(x: &[f32], channels: usize, sums: &mut [f32]) {
    check(channels, &[x]);
    assert_eq!(sums.len(), 2 * channels);
    for at in (0..channels).step_by(LANES) {
        // SAFETY: `at + 16 <= channels`, and each pixel has `channels` values.
        unsafe {
            let x_at = x.as_ptr().add(at);
            let terms = Deviations::<S> { x: x_at, channels, from: S::load(x_at) };
            let (sum, squares) = two_sums(x.len() / channels, &terms);
            S::store(sums.as_mut_ptr().add(at), sum);
            S::store(sums.as_mut_ptr().add(channels + at), squares);
        }
    }
}

compiled_for_each_level! {
    /// Adds two activations, each through its view.
    pub fn add_views(a: &[f32], view_a: View<'_>, b: &[f32], view_b: View<'_>, channels: usize, sum: &mut [f32]) =
        add_image
}

#[inline(always)]
unsafe fn add_image<S: Simd>(
    a: &[f32],
    view_a: View<'_>,
    b: &[f32],
    view_b: View<'_>,
    channels: usize,
    sum: &mut [f32],
) {
    check(channels, &[sum, a, b]);
    view_a.check(channels);
    view_b.check(channels);
    for at in (0..a.len()).step_by(LANES) {
        // SAFETY: all three slices have one length, a multiple of the vector.
        unsafe {
            let left = view_a.read::<S>(at % channels, S::load(a.as_ptr().add(at)));
            let right = view_b.read::<S>(at % channels, S::load(b.as_ptr().add(at)));
            S::store(sum.as_mut_ptr().add(at), S::add(left, right));
        }
    }
}

compiled_for_each_level! {
    /// Sums the squares of an activation over its channels: one value per pixel.
    pub fn attention(x: &[f32], channels: usize, relu: bool, map: &mut [f32]) = attention_image
}

#[inline(always)]
unsafe fn attention_image<S: Simd>(x: &[f32], channels: usize, relu: bool, map: &mut [f32]) {
    check(channels, &[x]);
    assert_eq!(map.len() * channels, x.len());
    let view = View { affine: None, relu };
    for (pixel, to) in x.chunks_exact(channels).zip(map) {
        let mut lanes = [0f32; LANES];
        // SAFETY: a pixel holds `channels` values, a multiple of the vector.
        unsafe {
            let mut sum = S::splat(0.0);
            for at in (0..channels).step_by(LANES) {
                let x = view.read::<S>(at, S::load(pixel.as_ptr().add(at)));
                sum = S::fma(x, x, sum);
            }
            S::store(lanes.as_mut_ptr(), sum);
        }
        *to = lanes.iter().sum();
    }
}

compiled_for_each_level! {
    /// Averages an activation over its pixels, through a view.
    pub fn average(x: &[f32], channels: usize, view: View<'_>, mean: &mut [f32]) = average_image
}

/// A view's values; the second sum does not change.
struct Values<'a> {
    x: *const f32,
    channels: usize,
    at: usize,
    view: View<'a>,
}

impl<S: Simd> Terms<S> for Values<'_> {
    #[inline(always)]
    unsafe fn add(&self, pixel: usize, (sum, other): (S::V, S::V)) -> (S::V, S::V) {
        // SAFETY: see `two_sums`.
        unsafe {
            let x = S::load(self.x.add(pixel * self.channels + self.at));
            (S::add(sum, self.view.read::<S>(self.at, x)), other)
        }
    }
}

#[inline(always)]
unsafe fn average_image<S: Simd>(x: &[f32], channels: usize, view: View<'_>, mean: &mut [f32]) {
    check(channels, &[x]);
    view.check(channels);
    assert_eq!(mean.len(), channels);
    let pixels = x.len() / channels;
    for at in (0..channels).step_by(LANES) {
        // SAFETY: `at + 16 <= channels`, and each pixel has `channels` values.
        unsafe {
            let (sum, _) = two_sums::<S>(pixels, &Values { x: x.as_ptr(), channels, at, view });
            S::store(mean.as_mut_ptr().add(at), S::mul(sum, S::splat(1.0 / pixels as f32)));
        }
    }
}

/// The parts of the gradient of a stored activation.
#[derive(Clone, Copy, Debug, Default)]
pub struct GradientParts<'a> {
    /// The gradient from readers of the activation itself.
    pub plain: Option<&'a [f32]>,
    /// The gradient of its normalized view, and `a`, `b`, `c` by channel: the activation's part is `a * gradient + b *
    /// x + c`.
    pub norm: Option<(&'a [f32], [&'a [f32]; 3])>,
    /// The gradient of its attention map, and whether the map is of max(x, 0).
    pub attention: Option<(&'a [f32], bool)>,
}

compiled_for_each_level! {
    /// Sums the gradient of a stored activation `x`.
    pub fn settle(parts: GradientParts<'_>, x: &[f32], channels: usize, to: &mut [f32]) = settle_image
}

#[inline(always)]
unsafe fn settle_image<S: Simd>(parts: GradientParts<'_>, x: &[f32], channels: usize, to: &mut [f32]) {
    check(channels, &[x, to, parts.plain.unwrap_or(x), parts.norm.map_or(x, |(gradient, _)| gradient)]);
    assert!(parts.norm.is_none_or(|(_, abc)| abc.iter().all(|part| part.len() >= channels)));
    assert!(parts.attention.is_none_or(|(map, _)| map.len() * channels == x.len()));
    for (pixel, to) in to.chunks_exact_mut(channels).enumerate() {
        for at in (0..channels).step_by(LANES) {
            // SAFETY: all images have the length of `x`, and a pixel has `channels` values.
            unsafe {
                let sum = gradient_at::<S>(&parts, x, pixel, pixel * channels + at, at);
                S::store(to.as_mut_ptr().add(at), sum);
            }
        }
    }
}

#[inline(always)]
unsafe fn gradient_at<S: Simd>(
    parts: &GradientParts<'_>,
    x: &[f32],
    pixel: usize,
    i: usize,
    at: usize,
) -> S::V {
    // SAFETY: the caller has checked all lengths.
    unsafe {
        let mut sum = parts.plain.map_or(S::splat(0.0), |plain| S::load(plain.as_ptr().add(i)));
        if parts.norm.is_none() && parts.attention.is_none() {
            return sum;
        }
        let x = S::load(x.as_ptr().add(i));
        if let Some((gradient, [a, b, c])) = parts.norm {
            sum = S::add(sum, S::load(c.as_ptr().add(at)));
            sum = S::fma(S::load(b.as_ptr().add(at)), x, sum);
            sum = S::fma(S::load(a.as_ptr().add(at)), S::load(gradient.as_ptr().add(i)), sum);
        }
        if let Some((map, relu)) = parts.attention {
            let x = if relu { S::relu(x) } else { x };
            sum = S::fma(S::splat(2.0 * *map.get_unchecked(pixel)), x, sum);
        }
        sum
    }
}

compiled_for_each_level! {
    /// Turns the gradient of a view's values into that of the affine map's: 0 where ReLU is inactive. Sums it by
    /// channel, `[sum of gradient, sum of gradient * (x - mean)]`, (2, channels).
    pub fn gate_and_sum(
        gradient: &mut [f32], x: &[f32], channels: usize, view: View<'_>, mean: &[f32], sums: &mut [f32],
    ) = gate_and_sum_image
}

/// Gates a gradient in place and sums it, and its product with the distance of `x` from the mean.
struct Gate<S: Simd> {
    gradient: *mut f32,
    x: *const f32,
    channels: usize,
    /// Scale and shift of the affine map whose sign is the gate; `None` without a gate.
    affine: Option<(S::V, S::V)>,
    mean: S::V,
}

impl<S: Simd> Terms<S> for Gate<S> {
    #[inline(always)]
    unsafe fn add(&self, pixel: usize, (sum, product): (S::V, S::V)) -> (S::V, S::V) {
        // SAFETY: see `two_sums`.
        unsafe {
            let to = self.gradient.add(pixel * self.channels);
            let (x, mut gradient) = (S::load(self.x.add(pixel * self.channels)), S::load(to));
            if let Some((scale, shift)) = self.affine {
                gradient = S::where_positive(S::fma(scale, x, shift), gradient);
                S::store(to, gradient);
            }
            (S::add(sum, gradient), S::fma(gradient, S::sub(x, self.mean), product))
        }
    }
}

#[inline(always)]
unsafe fn gate_and_sum_image<S: Simd>(
    gradient: &mut [f32],
    x: &[f32],
    channels: usize,
    view: View<'_>,
    mean: &[f32],
    sums: &mut [f32],
) {
    check(channels, &[x, gradient]);
    view.check(channels);
    assert!(mean.len() >= channels && sums.len() == 2 * channels);
    for at in (0..channels).step_by(LANES) {
        // SAFETY: `at + 16 <= channels`; both images have one length in whole pixels.
        unsafe {
            let affine = match view.affine {
                Some((scale, shift)) => (S::load(scale.as_ptr().add(at)), S::load(shift.as_ptr().add(at))),
                None => (S::splat(1.0), S::splat(0.0)),
            };
            let terms = Gate::<S> {
                gradient: gradient.as_mut_ptr().add(at),
                x: x.as_ptr().add(at),
                channels,
                affine: view.relu.then_some(affine),
                mean: S::load(mean.as_ptr().add(at)),
            };
            let (sum, product) = two_sums(x.len() / channels, &terms);
            S::store(sums.as_mut_ptr().add(at), sum);
            S::store(sums.as_mut_ptr().add(channels + at), product);
        }
    }
}
