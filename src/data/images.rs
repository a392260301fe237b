//! Images with labels in one block of memory, and a data set of training and test images.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::DataError;
use crate::files::tensors::{NamedTensor, TensorFile, write_tensors};
use crate::shape::Shape;

/// Images of one shape with their labels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Images {
    shape: Shape,
    pixels: Vec<u8>,
    labels: Vec<u32>,
}

impl Images {
    /// Joins pixels, `[N, height, width, channels]`, and `N` labels.
    ///
    /// # Errors
    /// If there is not exactly one image for every label.
    pub fn new(shape: Shape, pixels: Vec<u8>, labels: Vec<u32>) -> Result<Self, DataError> {
        if shape.len().checked_mul(labels.len()) != Some(pixels.len()) {
            let (bytes, count) = (pixels.len(), labels.len());
            let problem = format!("{bytes} bytes of pixels do not match {count} images of {shape}");
            return Err(DataError::Mismatch(problem));
        }
        Ok(Self { shape, pixels, labels })
    }

    /// Black pixels for `count` images of a shape.
    ///
    /// # Errors
    /// If they do not fit into memory.
    pub(super) fn black(shape: Shape, count: usize) -> Result<Vec<u8>, DataError> {
        let mut pixels = vec![];
        let bytes = shape.len().checked_mul(count);
        match bytes.map(|bytes| (bytes, pixels.try_reserve_exact(bytes))) {
            Some((bytes, Ok(()))) => pixels.resize(bytes, 0),
            _ => {
                let problem = format!("{count} images of {shape} do not fit into memory");
                return Err(DataError::Mismatch(problem));
            }
        }
        Ok(pixels)
    }

    /// The number of images.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there are no images.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// The shape of every image.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// The pixels of image `i`, `[height, width, channels]`.
    pub fn image(&self, i: usize) -> &[u8] {
        let len = self.shape.len();
        &self.pixels[i * len..(i + 1) * len]
    }

    /// All pixels, `[N, height, width, channels]`.
    pub fn pixels(&self) -> &[u8] {
        &self.pixels
    }

    /// Returns the pixels.
    pub fn into_pixels(self) -> Vec<u8> {
        self.pixels
    }

    /// All labels.
    pub fn labels(&self) -> &[u32] {
        &self.labels
    }

    /// Copies the images at `positions`, in that order.
    pub fn select(&self, positions: &[u32]) -> Self {
        let mut pixels = Vec::with_capacity(positions.len() * self.shape.len());
        positions.iter().for_each(|&i| pixels.extend_from_slice(self.image(i as usize)));
        let labels = positions.iter().map(|&i| self.labels[i as usize]).collect();
        Self { shape: self.shape, pixels, labels }
    }

    /// Copies all images of `parts`, at least one, in that order.
    pub(super) fn concat<'a>(parts: impl Iterator<Item = &'a Self>) -> Result<Self, DataError> {
        let mut parts = parts.peekable();
        let shape = parts.peek().map_or(Shape { height: 0, width: 0, channels: 0 }, |first| first.shape);
        let (mut pixels, mut labels) = (vec![], vec![]);
        for part in parts {
            if part.shape != shape {
                let problem = format!("images of {shape} and of {} do not match", part.shape);
                return Err(DataError::Mismatch(problem));
            }
            pixels.extend_from_slice(&part.pixels);
            labels.extend_from_slice(&part.labels);
        }
        Self::new(shape, pixels, labels)
    }

    /// Tensors for a file.
    pub(super) fn tensors(&self, pixels: &'static str, labels: &'static str) -> [NamedTensor<'_>; 2] {
        let Shape { height, width, channels } = self.shape;
        [
            NamedTensor::u8(pixels, vec![self.len(), height, width, channels], &self.pixels),
            NamedTensor::u32(labels, vec![self.len()], &self.labels),
        ]
    }

    /// Reads the tensors of [`Images::tensors`], and checks that labels are below `classes`.
    pub(super) fn read(
        file: &mut TensorFile,
        pixels_name: &str,
        labels_name: &str,
        classes: usize,
    ) -> Result<Self, DataError> {
        let ([count, height, width, channels], pixels) = file.u8(pixels_name)?;
        let ([label_count], labels) = file.u32(labels_name)?;
        if label_count != count {
            return Err(file.damaged(labels_name, format!("{label_count} labels for {count} images")).into());
        }
        if let Some(wrong) = labels.iter().find(|&&label| label as usize >= classes) {
            return Err(file
                .damaged(labels_name, format!("label {wrong}, but there are {classes} classes"))
                .into());
        }
        let shape =
            Shape::try_from([height, width, channels]).map_err(|why| file.damaged(pixels_name, why))?;
        Self::new(shape, pixels, labels)
    }
}

/// Training and test images of one shape, and the names of their classes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dataset {
    /// Names of the classes; a label is a position in this list.
    pub classes: Vec<String>,
    /// Training images.
    pub train: Images,
    /// Test images.
    pub test: Images,
}

#[derive(Serialize, Deserialize)]
struct Config {
    classes: Vec<String>,
}

impl Dataset {
    /// Joins the parts.
    ///
    /// # Errors
    /// If the shapes of training and test images differ, there are no images, or a label has no class.
    pub fn new(classes: Vec<String>, train: Images, test: Images) -> Result<Self, DataError> {
        if train.shape != test.shape {
            let problem = format!("training images are {}, test images {}", train.shape, test.shape);
            return Err(DataError::unfit(problem, "use one size for both"));
        }
        if train.is_empty() || test.is_empty() || train.shape.is_empty() {
            let problem = "a data set needs at least one training image and one test image";
            return Err(DataError::Mismatch(problem.to_owned()));
        }
        if let Some(label) = train.labels.iter().chain(&test.labels).find(|&&l| l as usize >= classes.len()) {
            let problem = format!("label {label}, but there are only {} classes", classes.len());
            return Err(DataError::Mismatch(problem));
        }
        Ok(Self { classes, train, test })
    }

    /// The shape of every image.
    pub fn shape(&self) -> Shape {
        self.train.shape
    }

    /// Writes the data set as an artifact.
    pub fn save(&self, path: &Path) -> Result<(), DataError> {
        let mut tensors = Vec::from(self.train.tensors("train.pixels", "train.labels"));
        tensors.extend(self.test.tensors("test.pixels", "test.labels"));
        Ok(write_tensors(path, &tensors, &Config { classes: self.classes.clone() })?)
    }

    /// Reads the artifact.
    pub fn load(path: &Path) -> Result<Self, DataError> {
        let mut file = TensorFile::open(path)?;
        let Config { classes } = file.config()?;
        let train = Images::read(&mut file, "train.pixels", "train.labels", classes.len())?;
        let test = Images::read(&mut file, "test.pixels", "test.labels", classes.len())?;
        Self::new(classes, train, test)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A small data set: image `i` is filled with `i`, its label is `i % classes`.
    pub(crate) fn numbered(train: usize, test: usize, shape: Shape, classes: usize) -> Dataset {
        let images = |n: usize| {
            let pixels = (0..n).flat_map(|i| vec![i as u8; shape.len()]).collect();
            Images::new(shape, pixels, (0..n).map(|i| (i % classes) as u32).collect()).unwrap()
        };
        let names = (0..classes).map(|class| class.to_string()).collect();
        Dataset::new(names, images(train), images(test)).unwrap()
    }

    const SHAPE: Shape = Shape { height: 2, width: 3, channels: 3 };

    #[test]
    fn a_data_set_survives_its_file_and_equal_content_gives_equal_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let (a, b) = (folder.path().join("a"), folder.path().join("b"));
        let dataset = numbered(7, 3, SHAPE, 3);
        dataset.save(&a).unwrap();
        dataset.clone().save(&b).unwrap();
        assert_eq!(Dataset::load(&a).unwrap(), dataset);
        assert_eq!(std::fs::read(&a).unwrap(), std::fs::read(&b).unwrap());
    }

    #[test]
    fn parts_that_do_not_fit_are_refused() {
        let dataset = numbered(4, 2, SHAPE, 2);
        let other = Shape { height: 3, ..SHAPE };
        let other = Images::new(other, vec![0; other.len()], vec![0]).unwrap();
        let two = dataset.classes.clone();
        assert!(Dataset::new(two.clone(), dataset.train.clone(), other).is_err());
        assert!(Dataset::new(two[..1].to_vec(), dataset.train.clone(), dataset.test.clone()).is_err());
        assert!(Dataset::new(two, dataset.train.select(&[]), dataset.test.clone()).is_err());
        assert!(Images::new(SHAPE, vec![0; 17], vec![0]).is_err());
    }

    #[test]
    fn shapes_of_a_file_that_overflow_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("dataset");
        let huge = || vec![0, 1 << 40, 1 << 40, 3];
        let none =
            |pixels, labels| [NamedTensor::u8(pixels, huge(), &[]), NamedTensor::u32(labels, vec![0], &[])];
        let tensors = [none("train.pixels", "train.labels"), none("test.pixels", "test.labels")];
        write_tensors(&path, tensors.as_flattened(), &Config { classes: vec!["a".to_owned()] }).unwrap();
        let message = Dataset::load(&path).unwrap_err().to_string();
        assert!(message.contains("tensor `train.pixels`: images of"), "{message}");
        assert!(Images::black(Shape { height: 1 << 16, width: 1 << 16, channels: 1 }, usize::MAX).is_err());
    }

    #[test]
    fn select_copies_in_order() {
        let some = numbered(6, 1, SHAPE, 3).train.select(&[4, 1]);
        assert_eq!((some.labels(), some.image(0)[0], some.image(1)[0]), (&[1, 1][..], 4, 1));
    }
}
