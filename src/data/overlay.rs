//! The training images that an attack changed. The clean data set is never copied.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{DataError, Images};
use crate::files::tensors::{NamedTensor, TensorFile, write_tensors};

/// Changed training images with their new labels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overlay {
    indices: Vec<u32>,
    images: Images,
}

#[derive(Serialize, Deserialize)]
struct Config {
    classes: usize,
}

impl Overlay {
    /// Joins strictly ascending positions in the training images, and their replacements.
    ///
    /// # Errors
    /// If positions are not strictly ascending, or their number is not that of the images.
    pub fn new(indices: Vec<u32>, images: Images) -> Result<Self, DataError> {
        one_for_each(&indices, &images)?;
        if !indices.is_sorted_by(|a, b| a < b) {
            return Err(DataError::Mismatch(
                "the positions of an overlay are not strictly ascending".to_owned(),
            ));
        }
        Ok(Self { indices, images })
    }

    /// Joins lists of positions and their replacements, in any order.
    ///
    /// # Errors
    /// If a position is repeated, the number of positions is not that of the images, or the images differ in shape.
    pub fn join(parts: &[(Vec<u32>, Images)]) -> Result<Self, DataError> {
        let images = Images::concat(parts.iter().map(|(_, images)| images))?;
        let indices: Vec<u32> = parts.iter().flat_map(|(indices, _)| indices).copied().collect();
        one_for_each(&indices, &images)?;
        let mut order: Vec<u32> = (0..indices.len() as u32).collect();
        order.sort_by_key(|&i| indices[i as usize]);
        let sorted = order.iter().map(|&i| indices[i as usize]).collect();
        Self::new(sorted, images.select(&order))
    }

    /// Positions in the training images, strictly ascending.
    pub fn indices(&self) -> &[u32] {
        &self.indices
    }

    /// The changed images with their new labels.
    pub fn images(&self) -> &Images {
        &self.images
    }

    /// The position in [`Overlay::images`] of the replacement of training image `index`, if it has one.
    pub fn find(&self, index: u32) -> Option<usize> {
        self.indices.binary_search(&index).ok()
    }

    /// Writes the overlay as an artifact; `classes` is the number of classes of its data set.
    pub fn save(&self, path: &Path, classes: usize) -> Result<(), DataError> {
        let mut tensors = vec![NamedTensor::u32("indices", vec![self.indices.len()], &self.indices)];
        tensors.extend(self.images.tensors("pixels", "labels"));
        Ok(write_tensors(path, &tensors, &Config { classes })?)
    }

    /// Reads the artifact.
    pub fn load(path: &Path) -> Result<Self, DataError> {
        let mut file = TensorFile::open(path)?;
        let Config { classes } = file.config()?;
        let ([_], indices) = file.u32("indices")?;
        let images = Images::read(&mut file, "pixels", "labels", classes)?;
        Self::new(indices, images).map_err(|error| file.damaged("indices", error).into())
    }
}

fn one_for_each(indices: &[u32], images: &Images) -> Result<(), DataError> {
    if indices.len() == images.len() {
        return Ok(());
    }
    let problem = format!("an overlay of {} images has {} positions", images.len(), indices.len());
    Err(DataError::Mismatch(problem))
}

#[cfg(test)]
mod tests {
    use super::super::images::tests::numbered;
    use super::*;
    use crate::shape::Shape;

    #[test]
    fn an_overlay_survives_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("overlay");
        let images = numbered(3, 1, Shape { height: 2, width: 2, channels: 3 }, 3).train;
        let overlay = Overlay::new(vec![2, 5, 9], images.clone()).unwrap();
        overlay.save(&path, 3).unwrap();
        assert_eq!(Overlay::load(&path).unwrap(), overlay);
        assert_eq!((overlay.find(5), overlay.find(6)), (Some(1), None));
        assert!(Overlay::new(vec![2, 2, 9], images.clone()).is_err());
        assert!(Overlay::new(vec![2, 9], images).is_err());
    }

    #[test]
    fn parts_are_joined_in_the_order_of_their_positions() {
        let images = numbered(3, 1, Shape { height: 2, width: 2, channels: 3 }, 3).train;
        let part = |indices: &[u32], chosen: &[u32]| (indices.to_vec(), images.select(chosen));
        let joined = Overlay::join(&[part(&[4, 9], &[0, 1]), part(&[5], &[2]), part(&[], &[])]).unwrap();
        assert_eq!(joined, Overlay::new(vec![4, 5, 9], images.select(&[0, 2, 1])).unwrap());
        assert!(Overlay::join(&[part(&[4], &[0]), part(&[4], &[1])]).is_err());
        assert!(Overlay::join(&[part(&[4, 5], &[0])]).is_err());
    }
}
