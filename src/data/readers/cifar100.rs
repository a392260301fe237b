//! CIFAR-100, the official binary version.

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::cifar_records::Labels;
use super::{Reader, read_names};
use crate::data::fetch::{PublicDataset, find};
use crate::data::{DataError, Dataset};

const HINT: &str = "set `path` to the unpacked folder of cifar-100-binary.tar.gz \
                    (https://www.cs.toronto.edu/~kriz/cifar.html), usually called cifar-100-binary";

/// Which of the two labels of CIFAR-100 to use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Granularity {
    /// 100 classes.
    #[default]
    Fine,
    /// 20 superclasses.
    Coarse,
}

impl Granularity {
    fn classes(self) -> usize {
        match self {
            Self::Fine => 100,
            Self::Coarse => 20,
        }
    }
}

/// CIFAR-100, the official binary version: 32x32 RGB, 100 classes or 20 superclasses, 50,000 training and 10,000
/// test images.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Cifar100 {
    /// The folder with `train.bin`, `test.bin`, `fine_label_names.txt` and `coarse_label_names.txt`.
    #[serde(skip_serializing)]
    pub path: PathBuf,
    /// Which labels to use: `fine` (100 classes) or `coarse` (20 superclasses).
    #[serde(default)]
    pub labels: Granularity,
}

impl Reader for Cifar100 {
    fn classes(&self) -> Option<usize> {
        Some(self.labels.classes())
    }

    fn path(&self) -> Option<&Path> {
        Some(&self.path)
    }

    fn public(&self) -> Option<&'static PublicDataset> {
        find("cifar100")
    }

    fn read(&self, _seed: u64) -> Result<Dataset, DataError> {
        let (at, names) = match self.labels {
            Granularity::Coarse => (0, "coarse_label_names.txt"),
            Granularity::Fine => (1, "fine_label_names.txt"),
        };
        let labels = Labels { bytes: 2, at, classes: self.labels.classes() };
        let names = read_names(&self.path.join(names), labels.classes, HINT)?;
        let train = labels.read(&self.path, &["train.bin"], HINT)?;
        let test = labels.read(&self.path, &["test.bin"], HINT)?;
        Dataset::new(names, train, test)
    }
}

#[cfg(test)]
mod tests {
    use super::super::cifar_records::tests::record;
    use super::*;

    #[test]
    fn either_label_can_count() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        let names = |count: usize| (0..count).map(|i| format!("class {i}\n")).collect::<String>();
        std::fs::write(path.join("fine_label_names.txt"), names(100)).unwrap();
        std::fs::write(path.join("coarse_label_names.txt"), names(20)).unwrap();
        std::fs::write(path.join("train.bin"), record(&[19, 99], 0)).unwrap();
        std::fs::write(path.join("test.bin"), record(&[1, 2], 0)).unwrap();
        let read = |labels| Cifar100 { path: path.to_owned(), labels }.read(0).unwrap();
        let (fine, coarse) = (read(Granularity::Fine), read(Granularity::Coarse));
        assert_eq!((fine.train.labels(), fine.test.labels(), fine.classes.len()), (&[99][..], &[2][..], 100));
        assert_eq!(
            (coarse.train.labels(), coarse.test.labels(), coarse.classes.len()),
            (&[19][..], &[1][..], 20)
        );
    }
}
