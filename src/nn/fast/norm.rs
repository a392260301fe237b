//! Batch normalization between the sums over one image and the coefficients that readers apply.
//!
//! Sums over images are added in the order of the images, in `f64`.

use super::super::graph::{BN_EPSILON, BN_MOMENTUM};
use crate::kernels::pointwise;

/// One batch norm's coefficients by channel, padded with zeros.
#[derive(Clone, Debug, Default)]
pub(super) struct Coefficients {
    pub mean: Vec<f32>,
    pub inverse_std: Vec<f32>,
    /// gamma / std.
    pub scale: Vec<f32>,
    /// beta - mean * scale.
    pub shift: Vec<f32>,
}

impl Coefficients {
    /// From a mean and a variance by channel.
    pub fn new(mean: &[f32], variance: &[f32], gamma: &[f32], beta: &[f32], pitch: usize) -> Self {
        let mut made = Self {
            mean: vec![0.0; pitch],
            inverse_std: vec![0.0; pitch],
            scale: vec![0.0; pitch],
            shift: vec![0.0; pitch],
        };
        for c in 0..gamma.len() {
            made.mean[c] = mean[c];
            made.inverse_std[c] = 1.0 / (variance[c] + BN_EPSILON).sqrt();
            made.scale[c] = gamma[c] * made.inverse_std[c];
            made.shift[c] = (-mean[c]).mul_add(made.scale[c], beta[c]);
        }
        made
    }

    pub fn view(&self, relu: bool) -> pointwise::View<'_> {
        pointwise::View { affine: Some((&self.scale, &self.shift)), relu }
    }
}

/// Mean and biased variance by channel of a batch.
///
/// `sums` holds (2, pitch) per image from [`pointwise::statistics`], and `x` the images, whose first pixels are the
/// shifts. Images are combined as Chan, Golub and LeVeque do (1979).
pub(super) fn moments(
    sums: &[f32],
    x: &[f32],
    pixels: usize,
    pitch: usize,
    channels: usize,
) -> [Vec<f32>; 2] {
    let per_image = pixels as f64;
    let (mut means, mut variances) = (vec![0f32; channels], vec![0f32; channels]);
    for c in 0..channels {
        let (mut count, mut mean, mut deviation) = (0f64, 0f64, 0f64);
        for (sums, x) in sums.chunks_exact(2 * pitch).zip(x.chunks_exact(pixels * pitch)) {
            let (sum, squares) = (f64::from(sums[c]), f64::from(sums[pitch + c]));
            let (image_mean, image_deviation) =
                (f64::from(x[c]) + sum / per_image, squares - sum * sum / per_image);
            let delta = image_mean - mean;
            let total = count + per_image;
            mean += delta * per_image / total;
            deviation += image_deviation + delta * delta * count * per_image / total;
            count = total;
        }
        means[c] = mean as f32;
        variances[c] = (deviation / count).max(0.0) as f32;
    }
    [means, variances]
}

/// Moves a running statistic toward a batch's, times `factor`.
pub(super) fn update_running(running: &mut [f32], batch: &[f32], factor: f32) {
    for (old, &new) in running.iter_mut().zip(batch) {
        *old += BN_MOMENTUM * (new * factor - *old);
    }
}

/// Gradients of gamma and beta, and the coefficients `a`, `b`, `c` of the input's gradient
/// `a * gradient + b * x + c`, padded with zeros.
pub(super) struct Gradients {
    pub gamma: Vec<f32>,
    pub beta: Vec<f32>,
    pub input: [Vec<f32>; 3],
}

/// Differentiates a batch norm.
///
/// `sums` holds (2, pitch) per image from [`pointwise::gate_and_sum`]. `batch` is the number of values per channel if
/// the statistics came from the batch, `None` if they were constants.
pub(super) fn differentiate(
    coefficients: &Coefficients,
    sums: &[f32],
    channels: usize,
    batch: Option<usize>,
) -> Gradients {
    let pitch = coefficients.scale.len();
    let mut made = Gradients {
        gamma: vec![0.0; channels],
        beta: vec![0.0; channels],
        input: [coefficients.scale.clone(), vec![0.0; pitch], vec![0.0; pitch]],
    };
    for c in 0..channels {
        let total = |at: usize| sums.chunks_exact(2 * pitch).map(|sums| f64::from(sums[at])).sum::<f64>();
        let inverse_std = f64::from(coefficients.inverse_std[c]);
        let (beta, gamma) = (total(c), total(pitch + c) * inverse_std);
        made.beta[c] = beta as f32;
        made.gamma[c] = gamma as f32;
        if let Some(count) = batch {
            let (scale, count) = (f64::from(coefficients.scale[c]), count as f64);
            let b = -scale * inverse_std * gamma / count;
            made.input[1][c] = b as f32;
            made.input[2][c] = (-scale * beta / count - b * f64::from(coefficients.mean[c])) as f32;
        }
    }
    made
}
