//! Synthetic images: a data set that needs no download, drawn from the seed.
//!
//! The class of an image is the outline of one object. Place, size, rotation, both colors, background, clutter and grain
//! are random for every image. Light on dark is as likely as dark on light. So no pixel and no mean color distinguishes the
//! classes: a linear classifier is little better than chance, and a small convolutional network learns them. Values stay
//! within 8..=247, so no image contains a black-and-white trigger by chance.
//!
//! The code uses only additions, products, quotients, square roots and `libm`, which give the same bits on every platform.

mod outline;
mod scene;

use std::path::Path;

use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use self::outline::OUTLINES;
use self::scene::{Scene, Style};
use super::Reader;
use crate::data::{DataError, Dataset, Images, InvalidParam};
use crate::rng::stream;
use crate::shape::Shape;

/// RGB images drawn from the seed: one object of random size, color and place on a cluttered background. Its outline is
/// the class.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Synthetic {
    /// The number of training images.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub train: u32,
    /// The number of test images.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub test: u32,
    /// The number of classes.
    #[schemars(range(min = 2, max = 12))]
    pub classes: u32,
    /// Height and width in pixels.
    #[schemars(range(min = 16, max = 256))]
    pub size: u32,
    /// The difficulty, from 0 (strong contrast, little clutter, upright) to 1 (faint, cluttered, rotated, covered).
    #[schemars(range(min = 0.0, max = 1.0))]
    pub difficulty: f64,
}

impl Default for Synthetic {
    fn default() -> Self {
        Self { train: 10_000, test: 2_000, classes: 10, size: 32, difficulty: 0.5 }
    }
}

impl Reader for Synthetic {
    fn check(&self) -> Vec<InvalidParam> {
        let in_range = [
            ("train", self.train >= 1, "must be at least 1"),
            ("test", self.test >= 1, "must be at least 1"),
            ("classes", (2..=OUTLINES.len() as u32).contains(&self.classes), "must be between 2 and 12"),
            ("size", (16..=256).contains(&self.size), "must be between 16 and 256"),
            ("difficulty", (0.0..=1.0).contains(&self.difficulty), "must be between 0 and 1"),
        ];
        let wrong = in_range.into_iter().filter(|(_, fits, _)| !fits);
        wrong.map(|(field, _, message)| InvalidParam::new(field, message)).collect()
    }

    fn seeded(&self) -> bool {
        true
    }

    fn classes(&self) -> Option<usize> {
        Some(self.classes as usize)
    }

    fn path(&self) -> Option<&Path> {
        None
    }

    fn read(&self, seed: u64) -> Result<Dataset, DataError> {
        let classes = self.outlines().iter().map(|(name, _)| (*name).to_owned()).collect();
        let train = self.draw(seed, "synthetic train", self.train)?;
        Dataset::new(classes, train, self.draw(seed, "synthetic test", self.test)?)
    }
}

impl Synthetic {
    /// The outlines of the classes: their names and distances.
    fn outlines(&self) -> &'static [(&'static str, outline::Distance)] {
        &OUTLINES[..(self.classes as usize).min(OUTLINES.len())]
    }

    /// Draws `count` images, classes in turn, each from its own stream.
    fn draw(&self, seed: u64, purpose: &str, count: u32) -> Result<Images, DataError> {
        let side = self.size as usize;
        let shape = Shape { height: side, width: side, channels: 3 };
        let style = Style::of(self.difficulty as f32);
        let outlines = self.outlines();
        let mut pixels = vec![0; count as usize * shape.len()];
        pixels.par_chunks_exact_mut(shape.len()).enumerate().for_each(|(i, image)| {
            let mut stream = stream(seed, purpose, 0, i as u64);
            let (_, distance) = outlines[i % outlines.len()];
            Scene::draw(&style, distance, &mut stream).render(side, &mut stream, image);
        });
        Images::new(shape, pixels, (0..count).map(|i| i % outlines.len() as u32).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn small(seed: u64) -> Dataset {
        Synthetic { train: 3000, test: 1000, ..Synthetic::default() }.read(seed).unwrap()
    }

    #[test]
    fn images_are_the_same_bits_everywhere() {
        let tiny = Synthetic { train: 40, test: 10, classes: 10, size: 32, difficulty: 0.5 };
        let dataset = tiny.read(1).unwrap();
        assert_eq!(&blake3::hash(dataset.train.pixels()).to_hex()[..16], "da482b339ef5e331");
        assert_ne!(dataset, tiny.read(2).unwrap());
    }

    #[test]
    fn training_images_do_not_depend_on_how_many_there_are() {
        let read = |train| Synthetic { train, test: 5, ..Synthetic::default() }.read(1).unwrap();
        let (few, many) = (read(10), read(20));
        assert_eq!(few.train, many.train.select(&(0..10).collect::<Vec<_>>()));
        assert_ne!(few.test.image(0), few.train.image(0));
    }

    #[test]
    fn every_size_and_class_count_draws_balanced_classes() {
        for (size, classes) in [(16, 2), (33, 12)] {
            let dataset = Synthetic { train: 24, test: 12, classes, size, difficulty: 1.0 }.read(0).unwrap();
            let of_class_0 = dataset.train.labels().iter().filter(|&&label| label == 0).count();
            assert_eq!((dataset.classes.len(), of_class_0), (classes as usize, 24 / classes as usize));
            assert!(dataset.train.pixels().iter().all(|value| (8..=247).contains(value)));
        }
    }

    #[test]
    fn values_out_of_range_are_refused_by_name() {
        let wrong = Synthetic { train: 0, test: 0, classes: 13, size: 8, difficulty: 2.0 };
        let fields: Vec<_> = wrong.check().into_iter().map(|invalid| invalid.field).collect();
        assert_eq!(fields, ["train", "test", "classes", "size", "difficulty"]);
        assert_eq!(Synthetic::default().check(), []);
    }

    /// Multinomial logistic regression on pixels, by SGD: weights `[pixel, class]`, then one bias per class.
    struct Probe {
        weights: Vec<[f32; 10]>,
    }

    impl Probe {
        fn scores(&self, image: &[u8]) -> [f32; 10] {
            let mut scores = [0.0; 10];
            for (weights, &pixel) in self.weights.iter().zip(image) {
                let x = f32::from(pixel) / 128.0 - 1.0;
                scores.iter_mut().zip(weights).for_each(|(score, weight)| *score += x * weight);
            }
            scores
        }

        fn learn(&mut self, image: &[u8], label: u32, rate: f32) {
            let scores = self.scores(image);
            let highest = scores.iter().copied().fold(f32::MIN, f32::max);
            let powers = scores.map(|score| (score - highest).exp());
            let sum: f32 = powers.iter().sum();
            let mut slope = powers.map(|power| power / sum);
            slope[label as usize] -= 1.0;
            for (weights, &pixel) in self.weights.iter_mut().zip(image) {
                let step = rate * (f32::from(pixel) / 128.0 - 1.0);
                weights.iter_mut().zip(slope).for_each(|(weight, slope)| *weight -= step * slope);
            }
        }

        fn accuracy(&self, images: &Images) -> f64 {
            let right = |&i: &usize| {
                let scores = self.scores(images.image(i));
                (0..10).max_by(|&a, &b| scores[a].total_cmp(&scores[b])) == Some(images.labels()[i] as usize)
            };
            (0..images.len()).filter(right).count() as f64 / images.len() as f64
        }
    }

    #[test]
    fn a_linear_classifier_stays_under_55_percent() {
        let dataset = small(1);
        let mut probe = Probe { weights: vec![[0.0; 10]; dataset.shape().len()] };
        for epoch in 0..6 {
            for i in stream(0, "probe", epoch, 0).permutation(dataset.train.len()) {
                let i = i as usize;
                probe.learn(dataset.train.image(i), dataset.train.labels()[i], 3e-4);
            }
        }
        let (train, test) = (probe.accuracy(&dataset.train), probe.accuracy(&dataset.test));
        assert!(train > 0.2, "the probe did not learn: {train} on its training images");
        assert!(test < 0.55, "{test}");
    }
}
