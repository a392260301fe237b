//! Recomputes the running statistics of batch normalization.

use std::sync::Arc;

use candle_core::Tensor;

use super::{Session, TrainError};
use crate::data::{Augment, Batches, Order, Samples};
use crate::nn::graph::BN_MOMENTUM;
use crate::nn::{Mode, Network};

/// The number of images in one forward pass.
const BATCH: usize = 128;

/// The running statistics that belong to parameters `theta`: the mean over the batches of one pass in training
/// mode, each weighted by its images, as Garipov et al. (2018) recompute them along their curves.
///
/// The order is shuffled, because a batch of one class would normalize by that class. `augment` should be that of the
/// training, because a network expects the statistics of images like those of its training.
///
/// # Errors
///
/// [`TrainError::Stopped`] after a request to stop, and images that do not match the network.
pub fn batch_norm_statistics<S: Samples>(
    network: &Network,
    theta: &[f32],
    samples: &Arc<S>,
    augment: Augment,
    session: Session<'_>,
) -> Result<Vec<f32>, TrainError> {
    let device = network.device();
    let theta = Tensor::from_slice(theta, theta.len(), device)?;
    // From zeros, a step ends at the momentum times the batch's own statistics.
    let zeros = vec![0f32; network.graph().state_len()];
    let zeros = Tensor::from_vec(zeros, network.graph().state_len(), device)?;
    let order = Order::Epoch { seed: session.seed, epoch: 0, shuffle: true, augment };
    let mut sums = vec![0f64; network.graph().state_len()];
    for batch in Batches::new(Arc::clone(samples), BATCH, order) {
        if session.observer.stopped() {
            return Err(TrainError::Stopped);
        }
        let count = batch.labels.len() as f64;
        let state = network.forward(&theta, &zeros, &batch.tensor(device)?, Mode::Train)?.state;
        let state = state.map(|state| state.to_vec1::<f32>()).transpose()?.unwrap_or_default();
        sums.iter_mut().zip(&state).for_each(|(sum, &value)| *sum += count * f64::from(value));
    }
    let scale = samples.len() as f64 * f64::from(BN_MOMENTUM);
    Ok(sums.iter().map(|sum| (sum / scale) as f32).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Images;
    use crate::files::Folder;
    use crate::nn::Backend;
    use crate::nn::graph::Graph;
    use crate::shape::Shape;
    use crate::train::SILENT;

    /// A network that normalizes its one channel, and images of 2 pixels.
    fn setup(count: usize) -> (Network, Arc<Images>) {
        let (mut graph, x) = Graph::new(Shape { height: 1, width: 2, channels: 1 });
        let x = graph.conv("conv", x, 1, 1, 1);
        let x = graph.batch_norm("bn", x);
        let x = graph.global_avg_pool(x);
        graph.logits = graph.linear("fc", x, 2);
        let pixels = (0..2 * count).map(|i| (i * 37 % 256) as u8).collect();
        let shape = Shape { height: 1, width: 2, channels: 1 };
        let network = Network::new(graph, &Backend::default()).unwrap();
        (network, Arc::new(Images::new(shape, pixels, vec![0; count]).unwrap()))
    }

    fn statistics(count: usize) -> (Vec<f32>, Vec<f64>) {
        let (network, samples) = setup(count);
        let (mut theta, _) = network.graph().init(1);
        theta[0] = 2.0;
        let folder = tempfile::tempdir().unwrap();
        let folder = Folder::open(folder.path()).unwrap();
        let session = Session { seed: 3, observer: &SILENT, checkpoints: &folder };
        let state = batch_norm_statistics(&network, &theta, &samples, Augment::NONE, session).unwrap();
        (state, samples.pixels().iter().map(|&byte| 2.0 * f64::from(byte) / 255.0).collect())
    }

    fn mean(values: impl ExactSizeIterator<Item = f64>) -> f64 {
        let count = values.len() as f64;
        values.sum::<f64>() / count
    }

    #[test]
    fn one_batch_has_its_own_mean_and_unbiased_variance() {
        let (state, values) = statistics(100);
        let centre = mean(values.iter().copied());
        let variance = mean(values.iter().map(|value| (value - centre).powi(2))) * 200.0 / 199.0;
        assert!((f64::from(state[0]) - centre).abs() < 1e-5, "{state:?}, {centre}");
        assert!((f64::from(state[1]) - variance).abs() < 1e-5, "{state:?}, {variance}");
    }

    #[test]
    fn batches_count_by_their_images() {
        let (state, values) = statistics(BATCH + 32);
        let centre = mean(values.iter().copied());
        assert!((f64::from(state[0]) - centre).abs() < 1e-5, "{state:?}, {centre}");
    }
}
