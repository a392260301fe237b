//! CIFAR-10, the official binary version.

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::cifar_records::Labels;
use super::{Reader, read_names};
use crate::data::fetch::{PublicDataset, find};
use crate::data::{DataError, Dataset};

const TRAIN: [&str; 5] =
    ["data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin", "data_batch_4.bin", "data_batch_5.bin"];
const CLASSES: usize = 10;
const HINT: &str = "set `path` to the unpacked folder of cifar-10-binary.tar.gz \
                    (https://www.cs.toronto.edu/~kriz/cifar.html), usually called cifar-10-batches-bin";

/// CIFAR-10, the official binary version: 32x32 RGB, 10 classes, 50,000 training and 10,000 test images.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Cifar10 {
    /// The folder with `data_batch_1.bin` to `data_batch_5.bin`, `test_batch.bin` and `batches.meta.txt`.
    #[serde(skip_serializing)]
    pub path: PathBuf,
}

impl Reader for Cifar10 {
    fn classes(&self) -> Option<usize> {
        Some(CLASSES)
    }

    fn path(&self) -> Option<&Path> {
        Some(&self.path)
    }

    fn public(&self) -> Option<&'static PublicDataset> {
        find("cifar10")
    }

    fn read(&self, _seed: u64) -> Result<Dataset, DataError> {
        let labels = Labels { bytes: 1, at: 0, classes: CLASSES };
        let names = read_names(&self.path.join("batches.meta.txt"), labels.classes, HINT)?;
        let train = labels.read(&self.path, &TRAIN, HINT)?;
        let test = labels.read(&self.path, &["test_batch.bin"], HINT)?;
        Dataset::new(names, train, test)
    }
}

#[cfg(test)]
mod tests {
    use super::super::cifar_records::tests::record;
    use super::*;

    #[test]
    fn batches_follow_each_other() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        for (i, file) in TRAIN.iter().enumerate() {
            std::fs::write(path.join(file), record(&[i as u8], 0)).unwrap();
        }
        std::fs::write(path.join("test_batch.bin"), record(&[9], 0)).unwrap();
        let reader = Cifar10 { path: path.to_owned() };
        assert!(matches!(reader.read(0), Err(DataError::Missing { .. })));

        std::fs::write(path.join("batches.meta.txt"), "a\nb\n").unwrap();
        assert!(reader.read(0).unwrap_err().to_string().contains("2 class names, expected 10"));
        std::fs::write(path.join("batches.meta.txt"), "a\nb\nc\nd\ne\nf\ng\nh\ni\nj\n\n").unwrap();
        let dataset = reader.read(0).unwrap();
        assert_eq!((dataset.train.labels(), dataset.test.labels()), (&[0, 1, 2, 3, 4][..], &[9][..]));
        assert_eq!(dataset.classes[9], "j");
    }
}
