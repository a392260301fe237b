//! The images of a training: a data set, a part of its training images, or a part with changes. No pixels are copied.

use std::sync::Arc;

use super::split::share;
use super::{DataError, Dataset, Images, Overlay};
use crate::rng::stream;
use crate::shape::Shape;

/// Images with labels, for batches.
pub trait Samples: Send + Sync {
    /// The number of images.
    fn len(&self) -> usize;

    /// Whether there are no images.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The shape of every image.
    fn shape(&self) -> Shape;

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

    fn shape(&self) -> Shape {
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

/// The training images of a data set, restricted to an optional split and changed by an optional overlay.
#[derive(Clone, Debug)]
pub struct TrainView {
    dataset: Arc<Dataset>,
    indices: Option<Vec<u32>>,
    overlay: Option<Overlay>,
}

impl TrainView {
    /// Joins the training images of `dataset`, the positions `indices` to use, and the replacements in `overlay`.
    ///
    /// # Errors
    /// If a position is not in the data set, there are no images, or the images of the overlay have another shape or unknown
    /// labels.
    pub fn new(
        dataset: Arc<Dataset>,
        indices: Option<Vec<u32>>,
        overlay: Option<Overlay>,
    ) -> Result<Self, DataError> {
        let count = dataset.train.len();
        let positions = indices.iter().flatten().chain(overlay.iter().flat_map(Overlay::indices));
        if let Some(beyond) = positions.into_iter().find(|&&index| index as usize >= count) {
            let problem = format!("position {beyond}, but there are {count} training images");
            return Err(DataError::unfit(problem, "connect the data set of the split"));
        }
        if indices.as_ref().is_some_and(Vec::is_empty) {
            return Err(DataError::unfit("the split has no images", "raise its ratio"));
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
                let problem = format!("a poisoned label has no class: the data set has {classes} classes");
                return Err(DataError::Mismatch(problem));
            }
        }
        Ok(Self { dataset, indices, overlay })
    }

    /// The data set.
    pub fn dataset(&self) -> &Arc<Dataset> {
        &self.dataset
    }

    /// Splits off a fraction of the images, by seed. Returns the rest and the fraction; each has at least one image.
    ///
    /// # Errors
    /// If there are fewer than two images.
    pub fn hold_out(&self, ratio: f64, seed: u64) -> Result<(Self, Self), DataError> {
        let count = self.len();
        if count < 2 {
            let problem = "one clean image cannot be divided into a training and a validation part";
            return Err(DataError::unfit(problem, "raise the split's ratio"));
        }
        let order = stream(seed, "hold out", 0, 0).permutation(count);
        let (held_out, rest) = order.split_at(share(ratio, count).clamp(1, count - 1));
        let part = |part: &[u32]| {
            let mut indices: Vec<u32> = part.iter().map(|&i| self.position(i as usize) as u32).collect();
            indices.sort_unstable();
            Self { indices: Some(indices), ..self.clone() }
        };
        Ok((part(rest), part(held_out)))
    }

    /// Copies the images.
    pub fn to_images(&self) -> Result<Images, DataError> {
        let mut pixels = Vec::with_capacity(self.len() * self.shape().len());
        (0..self.len()).for_each(|i| pixels.extend_from_slice(self.pixels(i)));
        Images::new(self.shape(), pixels, (0..self.len()).map(|i| self.label(i)).collect())
    }

    /// The same images with the replacements of `overlay` only.
    ///
    /// # Errors
    /// If the overlay does not match the data set, as in [`TrainView::new`].
    pub fn with_overlay(&self, overlay: Overlay) -> Result<Self, DataError> {
        Self::new(Arc::clone(&self.dataset), self.indices.clone(), Some(overlay))
    }

    /// Image `i`: the images that contain it, and its position in them.
    fn locate(&self, i: usize) -> (&Images, usize) {
        let index = self.position(i);
        match self.overlay.as_ref().and_then(|overlay| Some((overlay, overlay.find(index as u32)?))) {
            Some((overlay, at)) => (overlay.images(), at),
            None => (&self.dataset.train, index),
        }
    }

    /// The position of image `i` in the training images of the data set.
    fn position(&self, i: usize) -> usize {
        self.indices.as_ref().map_or(i, |indices| indices[i] as usize)
    }
}

impl Samples for TrainView {
    fn len(&self) -> usize {
        self.indices.as_ref().map_or(self.dataset.train.len(), Vec::len)
    }

    fn shape(&self) -> Shape {
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

    const SHAPE: Shape = Shape { height: 2, width: 2, channels: 1 };

    fn overlay(indices: Vec<u32>, shape: Shape, label: u32) -> Overlay {
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
    fn holding_out_divides_the_images_by_seed() {
        let dataset = Arc::new(numbered(6, 1, SHAPE, 3));
        let view = TrainView::new(dataset, Some(vec![1, 2, 3, 4, 5]), None).unwrap();
        let names = |view: &TrainView| (0..view.len()).map(|i| view.index(i)).collect::<Vec<_>>();
        let parts = |ratio| view.hold_out(ratio, 7).map(|(rest, held_out)| (names(&rest), names(&held_out)));
        let (rest, held_out) = parts(0.4).unwrap();
        assert_eq!((rest.len(), held_out.len()), (3, 2));
        let mut all = [rest, held_out].concat();
        all.sort_unstable();
        assert_eq!(all, names(&view));
        assert_eq!(parts(0.01).unwrap().1.len(), 1);
        assert_eq!(parts(0.99).unwrap().0.len(), 1);
        let alone = TrainView::new(Arc::clone(view.dataset()), Some(vec![3]), None).unwrap();
        assert!(alone.hold_out(0.5, 7).unwrap_err().to_string().contains("one clean image"));
    }

    #[test]
    fn copied_images_are_what_the_view_shows() {
        let dataset = Arc::new(numbered(6, 1, SHAPE, 3));
        let view = TrainView::new(dataset, Some(vec![5, 2]), Some(overlay(vec![2], SHAPE, 0))).unwrap();
        let images = view.to_images().unwrap();
        assert_eq!((images.image(0), images.image(1)), (view.pixels(0), view.pixels(1)));
        assert_eq!(images.labels(), [2, 0]);
    }

    #[test]
    fn what_does_not_fit_the_data_set_is_refused() {
        let dataset = Arc::new(numbered(6, 1, SHAPE, 3));
        let refused = |indices, overlay| TrainView::new(Arc::clone(&dataset), indices, overlay).is_err();
        assert!(refused(Some(vec![6]), None));
        assert!(refused(Some(vec![]), None));
        assert!(refused(None, Some(overlay(vec![6], SHAPE, 0))));
        assert!(refused(None, Some(overlay(vec![1], SHAPE, 3))));
        assert!(refused(None, Some(overlay(vec![1], Shape { height: 3, ..SHAPE }, 0))));
    }
}
