//! GTSRB, the German Traffic Sign Recognition Benchmark, in the layout of its archives.

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Reader, image_files};
use crate::data::fetch::{PublicDataset, find};
use crate::data::{DataError, Dataset, Images};
use crate::files::{names, open_regular};

const CLASSES: u32 = 43;
const HINT: &str = "set `path` to the folder into which GTSRB_Final_Training_Images.zip, GTSRB_Final_Test_Images.zip and \
                    GTSRB_Final_Test_GT.zip were unpacked";

/// GTSRB, the German Traffic Sign Recognition Benchmark: PPM images of 43 classes, listed in CSV files; 39,209
/// training and 12,630 test images, scaled to one size. It uses the whole images, not the bounding boxes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Gtsrb {
    /// The folder with `GTSRB/Final_Training/Images`, `GTSRB/Final_Test/Images` and `GT-final_test.csv`.
    #[serde(skip_serializing)]
    pub path: PathBuf,
    /// Scale every image to a square of this side (bilinear).
    #[serde(default = "side")]
    #[schemars(range(min = 1, max = 4096))]
    pub resize: u32,
}

fn side() -> u32 {
    32
}

/// A row of a list.
#[derive(Debug, Deserialize)]
struct Listed {
    #[serde(rename = "Filename")]
    file: String,
    #[serde(rename = "ClassId")]
    class: u32,
}

impl Reader for Gtsrb {
    fn classes(&self) -> Option<usize> {
        Some(CLASSES as usize)
    }

    fn path(&self) -> Option<&Path> {
        Some(&self.path)
    }

    fn public(&self) -> Option<&'static PublicDataset> {
        find("gtsrb")
    }

    fn read(&self, _seed: u64) -> Result<Dataset, DataError> {
        let (mut files, mut labels) = (vec![], vec![]);
        for class in 0..CLASSES {
            let folder = self.path.join(format!("GTSRB/Final_Training/Images/{class:05}"));
            list(&folder.join(format!("GT-{class:05}.csv")), &folder, &mut files, &mut labels)?;
        }
        let train = image_files::read(&files, labels, self.resize)?;
        let classes = (0..CLASSES).map(|class| class.to_string()).collect();
        Dataset::new(classes, train, self.test()?)
    }
}

impl Gtsrb {
    fn test(&self) -> Result<Images, DataError> {
        let (mut files, mut labels) = (vec![], vec![]);
        let folder = self.path.join("GTSRB/Final_Test/Images");
        list(&self.path.join("GT-final_test.csv"), &folder, &mut files, &mut labels)?;
        image_files::read(&files, labels, self.resize)
    }
}

/// Adds the images in `folder` that a list names.
fn list(
    path: &Path,
    folder: &Path,
    files: &mut Vec<PathBuf>,
    labels: &mut Vec<u32>,
) -> Result<(), DataError> {
    let file = open_regular(path).map_err(DataError::open(path, HINT))?;
    let mut rows = csv::ReaderBuilder::new().delimiter(b';').from_reader(file);
    for row in rows.deserialize() {
        let Listed { file, class } = row.map_err(|error| {
            DataError::damaged(
                path,
                error.position().map(csv::Position::byte),
                format!("{error}; download it again"),
            )
        })?;
        if class >= CLASSES || !names::is_component(&file) {
            let problem = format!("its row for `{file}` of class {class} is invalid; download it again");
            return Err(DataError::damaged(path, None, problem));
        }
        files.push(folder.join(file));
        labels.push(class);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use image::RgbImage;

    use super::*;

    const HEAD: &str = "Filename;Width;Height;Roi.X1;Roi.Y1;Roi.X2;Roi.Y2;ClassId\n";

    /// The layout of the archives, with an image per class and two test images, of various sizes.
    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let put = |path: &Path, side: u32, value: u8| {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            RgbImage::from_pixel(side, side + 1, image::Rgb([value, 1, 2])).save(path).unwrap();
        };
        for class in 0..CLASSES {
            let images = folder.path().join(format!("GTSRB/Final_Training/Images/{class:05}"));
            put(&images.join("00000_00000.ppm"), 20 + class, class as u8);
            let row = format!("00000_00000.ppm;29;30;5;6;24;25;{class}\n");
            fs::write(images.join(format!("GT-{class:05}.csv")), format!("{HEAD}{row}")).unwrap();
        }
        let images = folder.path().join("GTSRB/Final_Test/Images");
        put(&images.join("00000.ppm"), 40, 200);
        put(&images.join("00001.ppm"), 50, 201);
        let rows = "00000.ppm;53;54;6;5;48;49;16\n00001.ppm;42;45;5;5;36;40;1\n";
        fs::write(folder.path().join("GT-final_test.csv"), format!("{HEAD}{rows}")).unwrap();
        folder
    }

    fn read(folder: &Path) -> Result<Dataset, DataError> {
        Gtsrb { path: folder.to_owned(), resize: 8 }.read(0)
    }

    #[test]
    fn lists_say_what_the_images_are() {
        let folder = folder();
        let dataset = read(folder.path()).unwrap();
        assert_eq!((dataset.train.len(), dataset.classes.len()), (43, 43));
        assert_eq!((dataset.train.labels()[42], dataset.train.image(42)[0]), (42, 42));
        assert_eq!(dataset.test.labels(), [16, 1]);
        assert_eq!((dataset.test.image(0)[0], dataset.test.image(1)[0]), (200, 201));
        assert_eq!((dataset.shape().height, dataset.shape().width), (8, 8));
    }

    #[test]
    fn faults_name_the_file() {
        let folder = folder();
        let list = folder.path().join("GT-final_test.csv");
        for (row, why) in [
            ("00000.ppm;53;54;6;5;48;49;43\n", "`00000.ppm` of class 43"),
            ("../00000.ppm;53;54;6;5;48;49;4\n", "`../00000.ppm` of class 4"),
            ("..;53;54;6;5;48;49;4\n", "`..` of class 4"),
            ("00000.ppm;53;54;6\n", "GT-final_test.csv, byte"),
            ("00002.ppm;53;54;6;5;48;49;4\n", "00002.ppm: not found"),
        ] {
            fs::write(&list, format!("{HEAD}{row}")).unwrap();
            let message = read(folder.path()).unwrap_err().to_string();
            assert!(message.contains(why), "{message}");
        }
        fs::remove_file(&list).unwrap();
        assert!(matches!(read(folder.path()), Err(DataError::Missing { .. })));
    }
}
