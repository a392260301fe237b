//! Held-out clean images: a defense makes a choice with them before it trains on them. They are never test images.

use std::sync::Arc;

use super::Case;
use crate::data::{DataError, Images, TrainView};
use crate::models::Weights;
use crate::nn::Network;
use crate::train::{Observer, TrainError, predict};

impl Case<'_> {
    /// Splits the clean images: a fraction, in (0, 1), is held out. Returns the rest and the held-out images.
    ///
    /// # Errors
    ///
    /// There is only one image.
    pub(super) fn hold_out(&self, share: f64) -> Result<(Arc<TrainView>, Images), TrainError> {
        let mismatch = |error: DataError| TrainError::Mismatch(error.to_string());
        let (rest, held_out) = self.samples.hold_out(share, self.session.seed).map_err(mismatch)?;
        Ok((Arc::new(rest), held_out.to_images().map_err(mismatch)?))
    }
}

/// The fraction of the images, in [0, 1], that the network classifies correctly.
pub(super) fn accuracy(
    network: &Network,
    weights: &Weights,
    images: &Images,
    observer: &dyn Observer,
) -> Result<f64, TrainError> {
    let classes = predict(network, weights, images, None, observer)?;
    let right = classes.iter().zip(images.labels()).filter(|(found, label)| found == label).count();
    Ok(right as f64 / images.len() as f64)
}
