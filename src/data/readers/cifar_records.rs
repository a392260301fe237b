//! The record format of the binary versions of CIFAR-10 and CIFAR-100: label bytes, then the image as three planes of
//! 32x32 bytes (red, green, blue).

use std::path::Path;

use rayon::prelude::*;

use super::super::{DataError, Images};
use crate::files::read_regular;
use crate::shape::Shape;

const SHAPE: Shape = Shape { height: 32, width: 32, channels: 3 };
const PLANE: usize = 32 * 32;

/// The most bytes of a file of records. The largest one that is published has 154 MB.
const LARGEST: u64 = 1 << 30;

/// The label bytes of a record, before its pixels.
pub(super) struct Labels {
    /// The number of label bytes.
    pub bytes: usize,
    /// The position of the label to use.
    pub at: usize,
    /// The number of classes; labels are below it.
    pub classes: usize,
}

impl Labels {
    /// Reads the records of `files` in `folder`, one file after the other.
    pub fn read(&self, folder: &Path, files: &[&str], hint: &str) -> Result<Images, DataError> {
        let (mut pixels, mut labels) = (vec![], vec![]);
        for file in files {
            let path = folder.join(file);
            let bytes = read_regular(&path, LARGEST).map_err(DataError::open(&path, hint))?;
            self.append(&path, &bytes, &mut pixels, &mut labels)?;
        }
        Images::new(SHAPE, pixels, labels)
    }

    fn append(
        &self,
        path: &Path,
        bytes: &[u8],
        pixels: &mut Vec<u8>,
        labels: &mut Vec<u32>,
    ) -> Result<(), DataError> {
        let len = self.bytes + SHAPE.len();
        let whole = bytes.len() / len * len;
        if whole < bytes.len() || bytes.is_empty() {
            let have = bytes.len() - whole;
            let problem = format!(
                "truncated: a record has {len} bytes, the last one only {have}; download the file again"
            );
            return Err(DataError::damaged(path, whole as u64, problem));
        }
        for (i, record) in bytes.chunks_exact(len).enumerate() {
            let label = u32::from(record[self.at]);
            if label as usize >= self.classes {
                let problem = format!("label {label} is not below {}; download the file again", self.classes);
                return Err(DataError::damaged(path, (i * len + self.at) as u64, problem));
            }
            labels.push(label);
        }
        let start = pixels.len();
        pixels.resize(start + bytes.len() / len * SHAPE.len(), 0);
        let images = pixels[start..].par_chunks_exact_mut(SHAPE.len());
        images.zip(bytes.par_chunks_exact(len)).for_each(|(image, record)| {
            let (red, rest) = record[self.bytes..].split_at(PLANE);
            let (green, blue) = rest.split_at(PLANE);
            for (i, pixel) in image.chunks_exact_mut(3).enumerate() {
                pixel.copy_from_slice(&[red[i], green[i], blue[i]]);
            }
        });
        Ok(())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A record whose planes are filled with `label`, `label + 1`, `label + 2`.
    pub(crate) fn record(labels: &[u8], fill: u8) -> Vec<u8> {
        let planes = (0..3).flat_map(|plane| vec![fill + plane; PLANE]);
        labels.iter().copied().chain(planes).collect()
    }

    const LABELS: Labels = Labels { bytes: 1, at: 0, classes: 10 };

    fn read(bytes: &[u8]) -> Result<Images, DataError> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("batch"), bytes).unwrap();
        LABELS.read(folder.path(), &["batch"], "hint")
    }

    #[test]
    fn planes_become_pixels() {
        let images = read(&[record(&[3], 10), record(&[9], 20)].concat()).unwrap();
        assert_eq!(images.labels(), [3, 9]);
        assert!(images.image(1).chunks(3).all(|pixel| pixel == [20, 21, 22]));
    }

    #[test]
    fn faults_are_named_with_their_byte() {
        let two = [record(&[3], 10), record(&[9], 20)].concat();
        let message = |bytes: &[u8]| read(bytes).unwrap_err().to_string();
        let truncated = message(&two[..two.len() - 1]);
        assert!(truncated.ends_with(
            "byte 3073: truncated: a record has 3073 bytes, the last one only 3072; download the file again"
        ));
        let label = message(&[record(&[3], 10), record(&[10], 20)].concat());
        assert!(label.contains("batch, byte 3073: label 10 is not below 10"), "{label}");
        assert!(message(&[]).contains("byte 0: truncated"));
        let missing = LABELS.read(Path::new("nowhere"), &["batch"], "hint").unwrap_err();
        assert!(matches!(missing, DataError::Missing { .. }));
    }
}
