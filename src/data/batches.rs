//! Batches: images scaled to [0, 1] in one block, in a seeded order, prepared ahead of the training.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::{Builder, JoinHandle};

use candle_core::{Device, Result, Tensor};
use rayon::prelude::*;

use super::augment::scale;
use super::{Augment, Samples};
use crate::rng::stream;
use crate::shape::Shape;

/// Images and labels of one training or evaluation step.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// Pixels in [0, 1], `[B, height, width, channels]`.
    pub images: Vec<f32>,
    /// `[B, height, width, channels]`.
    pub shape: [usize; 4],
    /// `B` labels.
    pub labels: Vec<u32>,
}

impl Batch {
    /// A batch of images in which 1 is white, `[B, height, width, channels]`.
    pub fn new(images: Vec<f32>, shape: Shape, labels: Vec<u32>) -> Self {
        let count = images.len() / shape.len();
        Self { images, shape: [count, shape.height, shape.width, shape.channels], labels }
    }

    /// A batch of images as bytes, `[B, height, width, channels]`, without augmentation.
    pub fn of_bytes(bytes: &[u8], shape: Shape, labels: Vec<u32>) -> Self {
        let mut images = vec![0.0; bytes.len()];
        scale(bytes, &mut images);
        Self::new(images, shape, labels)
    }

    /// The images as the input of a network. This is the only way from pixels to a tensor.
    ///
    /// # Errors
    ///
    /// If the device has no memory left.
    pub fn tensor(&self, device: &Device) -> Result<Tensor> {
        Tensor::from_slice(&self.images, self.shape.as_slice(), device)
    }
}

/// The order of the images, and their augmentation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// The order of the data set, without augmentation: for evaluation.
    Sequential,
    /// An epoch of training.
    Epoch {
        /// Names the random streams.
        seed: u64,
        /// From 0; names the random streams.
        epoch: u64,
        /// Whether the order is drawn from (`seed`, `epoch`) or is that of the data set.
        shuffle: bool,
        /// How images are augmented.
        augment: Augment,
    },
}

/// The batches of one pass over `samples`; the last one may be smaller.
pub struct Batches<S> {
    samples: Arc<S>,
    order: Order,
    /// Positions in `samples`, in the order of the pass.
    positions: Vec<u32>,
    batch_size: usize,
    next: usize,
}

impl<S: Samples> Batches<S> {
    /// Plans a pass over `samples` in batches of `batch_size` (at least 1).
    pub fn new(samples: Arc<S>, batch_size: usize, order: Order) -> Self {
        let positions = match order {
            Order::Epoch { seed, epoch, shuffle: true, .. } => {
                stream(seed, "shuffle", epoch, 0).permutation(samples.len())
            }
            _ => (0..samples.len() as u32).collect(),
        };
        Self { samples, order, positions, batch_size: batch_size.max(1), next: 0 }
    }

    fn fill(&self, positions: &[u32]) -> Batch {
        let shape = self.samples.shape();
        let (augment, seed, epoch) = match self.order {
            Order::Sequential => (Augment::NONE, 0, 0),
            Order::Epoch { seed, epoch, augment, .. } => (augment, seed, epoch),
        };
        let mut images = vec![0.0; positions.len() * shape.len()];
        images.par_chunks_exact_mut(shape.len()).zip(positions).for_each(|(out, &position)| {
            let i = position as usize;
            augment.write(self.samples.pixels(i), shape, (seed, epoch, self.samples.index(i)), out);
        });
        let labels = positions.iter().map(|&position| self.samples.label(position as usize)).collect();
        Batch::new(images, shape, labels)
    }
}

impl<S: Samples> Iterator for Batches<S> {
    type Item = Batch;

    fn next(&mut self) -> Option<Batch> {
        let end = (self.next + self.batch_size).min(self.positions.len());
        let batch = (self.next < end).then(|| self.fill(&self.positions[self.next..end]));
        self.next = end;
        batch
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = (self.positions.len() - self.next).div_ceil(self.batch_size);
        (left, Some(left))
    }
}

impl<S: Samples> ExactSizeIterator for Batches<S> {}

impl<S: Samples + 'static> Batches<S> {
    /// Prepares the next batch on its own thread while the caller works on the current one. If the system starts no more
    /// threads, the caller prepares it. The batches and their order do not change.
    pub fn prefetched(self) -> Prefetched {
        let left = self.len();
        let (sender, receiver) = sync_channel(1);
        // The batches follow when the thread is there, or they would be lost with a thread that cannot start.
        let (hand_over, handed_over) = sync_channel::<Self>(1);
        let producer = Builder::new().spawn(move || {
            for batch in handed_over.into_iter().flatten() {
                if sender.send(batch).is_err() {
                    break; // The consumer stopped early.
                }
            }
        });
        let made = match producer {
            Ok(producer) => {
                // The thread waits for them.
                let _ = hand_over.send(self);
                Made::Ahead { receiver, producer: Some(producer) }
            }
            Err(error) => {
                tracing::debug!("batches are not prepared ahead: {error}");
                Made::Now(Box::new(self))
            }
        };
        Prefetched { made, left }
    }
}

/// Batches prepared ahead; see [`Batches::prefetched`].
pub struct Prefetched {
    made: Made,
    left: usize,
}

/// Where batches are made.
enum Made {
    /// On a thread.
    Ahead { receiver: Receiver<Batch>, producer: Option<JoinHandle<()>> },
    /// By the caller.
    Now(Box<dyn Iterator<Item = Batch> + Send>),
}

impl Iterator for Prefetched {
    type Item = Batch;

    fn next(&mut self) -> Option<Batch> {
        let batch = match &mut self.made {
            Made::Now(batches) => batches.next(),
            Made::Ahead { receiver, producer } => receiver.recv().ok().or_else(|| {
                // A panic of the producer must not look like the end of an epoch.
                if let Some(Err(panic)) = producer.take().map(JoinHandle::join) {
                    std::panic::resume_unwind(panic);
                }
                None
            }),
        };
        self.left -= usize::from(batch.is_some());
        batch
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Prefetched {}

#[cfg(test)]
mod tests {
    use super::super::TrainView;
    use super::super::images::tests::numbered;
    use super::*;
    use crate::shape::Shape;

    const SHAPE: Shape = Shape { height: 8, width: 8, channels: 3 };

    fn view(indices: Option<Vec<u32>>) -> Arc<TrainView> {
        Arc::new(TrainView::new(Arc::new(numbered(21, 1, SHAPE, 4)), indices, None).unwrap())
    }

    fn epoch(epoch: u64, augment: Augment) -> Order {
        Order::Epoch { seed: 5, epoch, shuffle: true, augment }
    }

    fn first_pixels(batches: impl Iterator<Item = Batch>) -> Vec<u32> {
        let pixels = batches.flat_map(|batch| batch.images.into_iter().step_by(SHAPE.len()));
        pixels.map(|pixel| (pixel * 255.0).round() as u32).collect()
    }

    #[test]
    fn every_image_comes_once_and_the_last_batch_is_kept() {
        let sizes: Vec<usize> =
            Batches::new(view(None), 8, Order::Sequential).map(|b| b.labels.len()).collect();
        assert_eq!(sizes, [8, 8, 5]);
        assert_eq!(Batches::new(view(None), 8, Order::Sequential).len(), 3);
        assert_eq!(first_pixels(Batches::new(view(None), 8, Order::Sequential)), (0..21).collect::<Vec<_>>());
        let mut shuffled = first_pixels(Batches::new(view(None), 8, epoch(1, Augment::NONE)));
        assert_ne!(shuffled, first_pixels(Batches::new(view(None), 8, epoch(2, Augment::NONE))));
        shuffled.sort_unstable();
        assert_eq!(shuffled, (0..21).collect::<Vec<_>>());
    }

    #[test]
    fn labels_belong_to_their_images() {
        for batch in Batches::new(view(None), 4, epoch(0, Augment::NONE)) {
            let pixels = first_pixels(std::iter::once(batch.clone()));
            assert_eq!(batch.labels, pixels.iter().map(|pixel| pixel % 4).collect::<Vec<_>>());
            assert_eq!(batch.shape, [batch.labels.len(), 8, 8, 3]);
        }
    }

    #[test]
    fn a_tensor_has_the_pixels_divided_by_255() {
        let samples = view(None);
        let batch = Batches::new(Arc::clone(&samples), 8, Order::Sequential).next().unwrap();
        let bytes: Vec<u8> = (0..8).flat_map(|i| samples.pixels(i).to_vec()).collect();
        assert_eq!(Batch::of_bytes(&bytes, SHAPE, batch.labels.clone()), batch);
        let tensor = batch.tensor(&Device::Cpu).unwrap();
        assert_eq!(tensor.dims(), [8, 8, 8, 3]);
        let expected: Vec<f32> = bytes.iter().map(|&byte| f32::from(byte) / 255.0).collect();
        assert_eq!(tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap(), expected);
    }

    #[test]
    fn prefetching_changes_nothing_and_may_be_left_early() {
        let batches = || Batches::new(view(None), 4, epoch(3, Augment::default()));
        assert!(batches().eq(batches().prefetched()));
        assert_eq!(batches().prefetched().len(), 6);
        assert_eq!(batches().prefetched().take(2).count(), 2);
    }

    #[test]
    fn an_image_is_varied_alike_in_every_split() {
        let order = Order::Epoch { seed: 5, epoch: 0, shuffle: false, augment: Augment::default() };
        let all = Batches::new(view(None), 21, order).next().unwrap();
        let some = Batches::new(view(Some(vec![17, 3])), 2, order).next().unwrap();
        let image = |batch: &Batch, i: usize| batch.images[i * SHAPE.len()..(i + 1) * SHAPE.len()].to_vec();
        assert_eq!(image(&some, 0), image(&all, 17));
        assert_eq!(image(&some, 1), image(&all, 3));
    }

    #[test]
    #[should_panic(expected = "index out of bounds")]
    fn a_panic_while_preparing_is_not_the_end_of_the_epoch() {
        struct Broken;
        impl Samples for Broken {
            fn len(&self) -> usize {
                3
            }
            fn shape(&self) -> Shape {
                SHAPE
            }
            fn pixels(&self, _: usize) -> &[u8] {
                &[0; 192]
            }
            fn label(&self, i: usize) -> u32 {
                [0, 1][i]
            }
            fn index(&self, i: usize) -> u64 {
                i as u64
            }
        }
        Batches::new(Arc::new(Broken), 1, Order::Sequential).prefetched().for_each(drop);
    }
}
