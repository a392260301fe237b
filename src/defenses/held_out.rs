//! Clean images that a defense decides by, and does not train on before it has decided. Never test images.

use std::sync::Arc;

use super::Case;
use crate::data::{DataError, Images, TrainView};
use crate::models::Weights;
use crate::nn::Network;
use crate::train::{Observer, TrainError, predict};

impl Case<'_> {
    /// Divides the clean images into those to work with and a share, in (0, 1), to decide by.
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

/// The share of the images, in [0, 1], that the network classifies rightly.
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
