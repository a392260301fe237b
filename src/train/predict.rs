//! Predictions of a trained network over a set of images.

use std::time::Instant;

use candle_core::{DType, Tensor};

use super::{Observer, Progress, TrainError, Unit};
use crate::data::{Batch, Images};
use crate::models::Weights;
use crate::nn::{Mode, Network};

/// The number of images in one forward pass: large, because nothing is kept for a gradient.
pub const PREDICT_BATCH: usize = 256;

/// Stamps a trigger on the image at a position, (height, width, channels).
pub type Stamp<'a> = &'a mut dyn FnMut(usize, &mut [u8]);

/// The class with the highest score for each image, the lowest such class on a tie; `stamp` changes each image first.
///
/// # Errors
///
/// [`TrainError::NotFinite`] if a score is not finite, and those of [`scores`].
pub fn predict(
    network: &Network,
    weights: &Weights,
    images: &Images,
    stamp: Option<Stamp<'_>>,
    observer: &dyn Observer,
) -> Result<Vec<u32>, TrainError> {
    let scores = scores(network, weights, images, stamp, observer)?;
    let class = |(image, scores): (usize, &Vec<f32>)| highest(scores).ok_or(TrainError::NotFinite { image });
    scores.iter().enumerate().map(class).collect()
}

/// The network's scores of each image by class, before the softmax, in evaluation mode; `stamp` changes each image
/// first.
///
/// # Errors
///
/// [`TrainError::Stopped`] if `observer` stops the work, and images that do not match the network.
pub fn scores(
    network: &Network,
    weights: &Weights,
    images: &Images,
    mut stamp: Option<Stamp<'_>>,
    observer: &dyn Observer,
) -> Result<Vec<Vec<f32>>, TrainError> {
    let device = network.device();
    let theta = Tensor::from_slice(&weights.theta, weights.theta.len(), device)?;
    let state = Tensor::from_slice(&weights.state, weights.state.len(), device)?;
    let shape = images.shape();
    let steps = images.len().div_ceil(PREDICT_BATCH);
    let started = Instant::now();
    let mut scores = Vec::with_capacity(images.len());
    for (step, pixels) in images.pixels().chunks(PREDICT_BATCH * shape.len()).enumerate() {
        if observer.stopped() {
            return Err(TrainError::Stopped);
        }
        let mut pixels = pixels.to_vec();
        if let Some(stamp) = &mut stamp {
            let each = pixels.chunks_exact_mut(shape.len()).enumerate();
            each.for_each(|(i, image)| stamp(step * PREDICT_BATCH + i, image));
        }
        let batch = Batch::of_bytes(&pixels, shape, vec![]).tensor(device)?;
        let logits = network.forward(&theta, &state, &batch, Mode::Eval)?.logits;
        scores.extend(logits.to_dtype(DType::F32)?.to_vec2::<f32>()?);
        let images_per_second = scores.len() as f64 / started.elapsed().as_secs_f64();
        let progress = Progress::of_steps(Unit::Batch, step + 1, steps);
        observer.progress(&Progress { images_per_second, ..progress });
    }
    Ok(scores)
}

/// The position of the highest score, the first one on a tie; `None` if a score is not finite.
pub fn highest(scores: &[f32]) -> Option<u32> {
    let mut best = 0;
    for (i, score) in scores.iter().enumerate() {
        if !score.is_finite() {
            return None;
        }
        if *score > scores[best] {
            best = i;
        }
    }
    Some(best as u32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::Backend;
    use crate::nn::graph::Graph;
    use crate::shape::Shape;
    use crate::train::SILENT;

    /// Scores of an image of one pixel are its two channels.
    fn identity() -> (Network, Weights) {
        let (mut graph, x) = Graph::new(Shape { height: 1, width: 1, channels: 2 });
        graph.logits = graph.linear("fc", x, 2);
        let network = Network::new(graph, &Backend::candle()).unwrap();
        (network, Weights { theta: vec![1.0, 0.0, 0.0, 1.0, 0.0, 0.0], state: vec![] })
    }

    fn images(n: usize) -> Images {
        let shape = Shape { height: 1, width: 1, channels: 2 };
        let pixels = (0..n).flat_map(|i| if i % 3 == 0 { [9, 7] } else { [7, 9] }).collect();
        Images::new(shape, pixels, vec![0; n]).unwrap()
    }

    #[test]
    fn the_highest_score_wins_in_every_batch() {
        let (network, weights) = identity();
        let classes = predict(&network, &weights, &images(600), None, &SILENT).unwrap();
        assert!((0..600).all(|i| classes[i] == u32::from(i % 3 != 0)));
    }

    #[test]
    fn the_stamp_sees_each_image_once_by_position() {
        let (network, weights) = identity();
        let mut seen = vec![];
        let mut stamp = |i: usize, image: &mut [u8]| {
            seen.push(i);
            image.swap(0, 1);
        };
        let classes = predict(&network, &weights, &images(300), Some(&mut stamp), &SILENT).unwrap();
        assert!((0..300).all(|i| classes[i] == u32::from(i % 3 == 0)));
        assert_eq!(seen, (0..300).collect::<Vec<_>>());
    }

    #[test]
    fn scores_that_are_no_numbers_are_an_error() {
        let (network, mut weights) = identity();
        weights.theta[0] = f32::NAN;
        let error = predict(&network, &weights, &images(2), None, &SILENT).unwrap_err();
        assert!(matches!(error, TrainError::NotFinite { image: 0 }));
        assert_eq!(highest(&[1.0, 3.0, 3.0]), Some(1));
    }
}
