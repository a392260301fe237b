//! The readers of data sets: the registry, and one file per reader.
//!
//! A reader checks its files; its errors name the file and, if possible, the byte. A new reader is one file and one line in
//! the registry below.

mod cifar10;
mod cifar100;
mod cifar_records;
mod gtsrb;
mod idx;
mod image_files;
mod image_folder;
mod pictures;
mod synthetic;

use std::path::Path;

use super::fetch::PublicDataset;
use super::{DataError, Dataset, InvalidParam};
use crate::files::read_regular;
use crate::methods::registry;

pub use image_folder::passed_over;
pub use pictures::read_pictures;

/// A source of images with its parameters.
pub trait Reader {
    /// Checks what the schema cannot: relations between parameters.
    fn check(&self) -> Vec<InvalidParam> {
        vec![]
    }

    /// Whether the images depend on the seed.
    fn seeded(&self) -> bool {
        false
    }

    /// The file or folder that it reads, if any. The data set depends on its content, not on its name: path fields are not
    /// serialized.
    fn path(&self) -> Option<&Path>;

    /// The number of classes, if the parameters alone give it.
    fn classes(&self) -> Option<usize> {
        None
    }

    /// The public data set that it can read.
    fn public(&self) -> Option<&'static PublicDataset> {
        None
    }

    /// A warning about pictures that it passes over, because it does not read their formats.
    fn passed_over(&self) -> Option<String> {
        None
    }

    /// Reads or draws the data set.
    fn read(&self, seed: u64) -> Result<Dataset, DataError>;
}

registry! {
    /// A registered reader with its parameters, chosen by `source`.
    enum Source by "source" as Reader;

    "synthetic" => synthetic::Synthetic,
    "image-folder" => image_folder::ImageFolder,
    "cifar10" => cifar10::Cifar10,
    "cifar100" => cifar100::Cifar100,
    "idx" => idx::Idx,
    "gtsrb" => gtsrb::Gtsrb,
}

/// The most bytes of a list of class names.
const LARGEST_LIST: u64 = 1 << 20;

/// Reads a file of one class name per line; there must be `count` of them.
fn read_names(path: &Path, count: usize, hint: &str) -> Result<Vec<String>, DataError> {
    let bytes = read_regular(path, LARGEST_LIST).map_err(DataError::open(path, hint))?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to() as u64;
        DataError::damaged(path, at, "not UTF-8 text; restore the file")
    })?;
    let names: Vec<String> =
        text.lines().map(|line| line.trim().to_owned()).filter(|line| !line.is_empty()).collect();
    if names.len() != count {
        let problem = format!("{} class names, expected {count}; restore the file", names.len());
        return Err(DataError::damaged(path, None, problem));
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn paths_are_read_but_never_written() {
        let source: Source = serde_json::from_value(json!({"source": "cifar10", "path": "data/x"})).unwrap();
        assert_eq!(source.get().path(), Some(Path::new("data/x")));
        assert_eq!(serde_json::to_value(&source).unwrap(), json!({"source": "cifar10"}));
    }

    #[test]
    fn fields_of_another_source_are_refused_by_name() {
        let wrong = json!({"source": "synthetic", "path": "data/x"});
        let message = serde_json::from_value::<Source>(wrong).unwrap_err().to_string();
        assert!(message.contains("unknown field `path`, expected one of `train`"), "{message}");
        let message = serde_json::from_value::<Source>(json!({"source": "cifar"})).unwrap_err().to_string();
        assert!(message.contains("unknown variant `cifar`") && message.contains("`cifar10`"), "{message}");
    }

    #[test]
    fn the_schema_names_every_source_and_refuses_other_fields() {
        let schema = serde_json::to_value(schemars::schema_for!(Source)).unwrap();
        let variants = schema["oneOf"].as_array().unwrap();
        let names: Vec<_> =
            variants.iter().map(|v| v["properties"]["source"]["const"].as_str().unwrap()).collect();
        assert_eq!(names, ["synthetic", "image-folder", "cifar10", "cifar100", "idx", "gtsrb"]);
        assert!(variants.iter().all(|variant| variant["additionalProperties"] == json!(false)), "{schema:#}");
        assert!(variants[1]["properties"].get("path").is_some());
    }
}
