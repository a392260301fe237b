//! What training reads: a data set, some of its training images, or some of them changed. No pixels are copied.

use std::sync::Arc;

use super::{DataError, Dataset, ImageShape, Images, Overlay};

/// Images with labels that batches are made of.
pub trait Samples: Send + Sync {
    /// The number of images.
    fn len(&self) -> usize;

    /// Whether there are no images.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The shape of every image.
    fn shape(&self) -> ImageShape;

    /// The pixels of image `i`, `[height, width, channels]`.
    fn pixels(&self, i: usize) -> &[u8];

    /// The label of image `i`.
    fn label(&self, i: usize) -> u32;

    /// The name of image `i` in random streams: its position in the data set, whatever the split.
    fn index(&self, i: usize) -> u64;
}

impl Samples for Images {
    fn len(&self) -> usize {
        self.len()
    }

    fn shape(&self) -> ImageShape {
        self.shape()
    }

    fn pixels(&self, i: usize) -> &[u8] {
        self.image(i)
    }

    fn label(&self, i: usize) -> u32 {
        self.labels()[i]
    }

    fn index(&self, i: usize) -> u64 {
        i as u64
    }
}

/// The training images of a data set, restricted to a split and changed by an overlay where there is one.
#[derive(Clone, Debug)]
pub struct TrainView {
    dataset: Arc<Dataset>,
    indices: Option<Vec<u32>>,
    overlay: Option<Overlay>,
}

impl TrainView {
    /// Looks at the training images of `dataset`: those at `indices`, with `overlay` in place of what it covers.
    ///
    /// # Errors
    /// If a position is beyond the data set, no image is left, or the overlay's images have another shape or
    /// unknown labels.
    pub fn new(
        dataset: Arc<Dataset>,
        indices: Option<Vec<u32>>,
        overlay: Option<Overlay>,
    ) -> Result<Self, DataError> {
        let count = dataset.train.len();
        let positions = indices.iter().flatten().chain(overlay.iter().flat_map(Overlay::indices));
        if let Some(beyond) = positions.into_iter().find(|&&index| index as usize >= count) {
            let problem = format!("position {beyond}, but there are {count} training images");
            return Err(DataError::Mismatch(format!(
                "{problem}; connect the data set that it was made from"
            )));
        }
        if indices.as_ref().is_some_and(Vec::is_empty) {
            return Err(DataError::Mismatch("the split holds no image; raise its ratio".to_owned()));
        }
        if let Some(overlay) = &overlay {
            let images = overlay.images();
            let classes = dataset.classes.len();
            if images.shape() != dataset.shape() {
                let problem =
                    format!("poisoned images are {}, the data set's {}", images.shape(), dataset.shape());
                return Err(DataError::Mismatch(problem));
            }
            if images.labels().iter().any(|&label| label as usize >= classes) {
                let problem = format!("a poisoned label has no class; the data set has {classes} classes");
                return Err(DataError::Mismatch(problem));
            }
        }
        Ok(Self { dataset, indices, overlay })
    }

    /// The data set that it looks at.
    pub fn dataset(&self) -> &Arc<Dataset> {
        &self.dataset
    }

    /// The same images with `overlay` in place of what it covers, and of the overlay that there was.
    ///
    /// # Errors
    /// If the overlay does not fit the data set, as in [`TrainView::new`].
    pub fn with_overlay(&self, overlay: Overlay) -> Result<Self, DataError> {
        Self::new(Arc::clone(&self.dataset), self.indices.clone(), Some(overlay))
    }

    /// Image `i`: the images that hold it, and where in them it is.
    fn locate(&self, i: usize) -> (&Images, usize) {
        let index = self.position(i);
        match self.overlay.as_ref().and_then(|overlay| Some((overlay, overlay.find(index as u32)?))) {
            Some((overlay, at)) => (overlay.images(), at),
            None => (&self.dataset.train, index),
        }
    }

    /// Where in the data set's training images image `i` is.
    fn position(&self, i: usize) -> usize {
        self.indices.as_ref().map_or(i, |indices| indices[i] as usize)
    }
}

impl Samples for TrainView {
    fn len(&self) -> usize {
        self.indices.as_ref().map_or(self.dataset.train.len(), Vec::len)
    }

    fn shape(&self) -> ImageShape {
        self.dataset.shape()
    }

    fn pixels(&self, i: usize) -> &[u8] {
        let (images, at) = self.locate(i);
        images.image(at)
    }

    fn label(&self, i: usize) -> u32 {
        let (images, at) = self.locate(i);
        images.labels()[at]
    }

    fn index(&self, i: usize) -> u64 {
        self.position(i) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::super::images::tests::numbered;
    use super::*;

    const SHAPE: ImageShape = ImageShape { height: 2, width: 2, channels: 1 };

    fn overlay(indices: Vec<u32>, shape: ImageShape, label: u32) -> Overlay {
        let count = indices.len();
        let images = Images::new(shape, vec![200; shape.len() * count], vec![label; count]).unwrap();
        Overlay::new(indices, images).unwrap()
    }

    #[test]
    fn a_view_reads_the_overlay_where_it_covers_and_the_data_set_elsewhere() {
        let dataset = Arc::new(numbered(6, 1, SHAPE, 3));
        let view = TrainView::new(dataset, Some(vec![5, 2, 4]), Some(overlay(vec![1, 2], SHAPE, 0))).unwrap();
        let seen: Vec<_> =
            (0..view.len()).map(|i| (view.index(i), view.pixels(i)[0], view.label(i))).collect();
        assert_eq!(seen, [(5, 5, 2), (2, 200, 0), (4, 4, 1)]);
    }

    #[test]
    fn what_does_not_fit_the_data_set_is_refused() {
        let dataset = Arc::new(numbered(6, 1, SHAPE, 3));
        let refused = |indices, overlay| TrainView::new(Arc::clone(&dataset), indices, overlay).is_err();
        assert!(refused(Some(vec![6]), None));
        assert!(refused(Some(vec![]), None));
        assert!(refused(None, Some(overlay(vec![6], SHAPE, 0))));
        assert!(refused(None, Some(overlay(vec![1], SHAPE, 3))));
        assert!(refused(None, Some(overlay(vec![1], ImageShape { height: 3, ..SHAPE }, 0))));
    }
}
