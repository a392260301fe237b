//! Image folders in torchvision's convention: `train/<class>/*.jpg`, `test/<class>/*.png`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Reader, image_files};
use crate::data::fetch::{PublicDataset, find};
use crate::data::{ClassList, DataError, Dataset, Images};

const HINT: &str = "set `path` to a folder with `train` and `test`, each with one folder of images per class";
const EXTENSIONS: [&str; 3] = ["jpg", "jpeg", "png"];
/// Formats of pictures that are not read.
const OTHERS: [&str; 14] =
    ["avif", "bmp", "gif", "heic", "heif", "jfif", "jp2", "jpe", "jxl", "pgm", "ppm", "tif", "tiff", "webp"];

/// A folder of JPEG and PNG files in torchvision's `ImageFolder` convention: `train/<class>/...` and
/// `test/<class>/...`. Classes are numbered in the order of their folders' names; images are read as RGB. An exported data
/// set has a list of its classes, `argd-pipe-classes.json`, from which their names are read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ImageFolder {
    /// The folder with `train` and `test`.
    #[serde(skip_serializing)]
    pub path: PathBuf,
    /// Scale every image to a square of this side (bilinear). 0 keeps their size, which must be the same.
    #[serde(default)]
    #[schemars(range(max = 4096))]
    pub resize: u32,
}

impl Reader for ImageFolder {
    fn path(&self) -> Option<&Path> {
        Some(&self.path)
    }

    /// The folder of a public data set usually has its name.
    fn public(&self) -> Option<&'static PublicDataset> {
        find(self.path.file_name()?.to_str()?)
    }

    fn passed_over(&self) -> Option<String> {
        passed_over(&[&self.path.join("train"), &self.path.join("test")])
    }

    fn read(&self, _seed: u64) -> Result<Dataset, DataError> {
        let (train, test) = (self.path.join("train"), self.path.join("test"));
        let (train_classes, test_classes) = (class_names(&train)?, class_names(&test)?);
        let Some(listed) = ClassList::read(&self.path)? else {
            let differs = |class: &&String| train_classes.contains(class) != test_classes.contains(class);
            return match train_classes.iter().chain(&test_classes).find(differs) {
                Some(class) => Err(self.refused(class, "is in only one of `train` and `test`")),
                None => self.dataset(&train_classes, &train_classes, Class::HasImages),
            };
        };
        let folders: Vec<String> = listed.iter().map(|class| class.folder.clone()).collect();
        match train_classes.iter().chain(&test_classes).find(|class| !folders.contains(class)) {
            Some(class) => Err(self.refused(class, "is not in `argd-pipe-classes.json`")),
            None => {
                let names: Vec<String> = listed.into_iter().map(|class| class.name).collect();
                self.dataset(&names, &folders, Class::MayBeEmpty)
            }
        }
    }
}

/// Whether a class needs images.
#[derive(Clone, Copy, PartialEq)]
enum Class {
    /// A folder without images was made by mistake.
    HasImages,
    /// A list names the classes: one without images, or without its folder, keeps its number.
    MayBeEmpty,
}

impl ImageFolder {
    fn refused(&self, class: &str, why: &str) -> DataError {
        DataError::damaged(&self.path, None, format!("class `{class}` {why}; add or remove its folder"))
    }

    fn dataset(&self, names: &[String], folders: &[String], class: Class) -> Result<Dataset, DataError> {
        let train = self.images("train", folders, class)?;
        Dataset::new(names.to_vec(), train, self.images("test", folders, class)?)
    }

    fn images(&self, part: &str, folders: &[String], class: Class) -> Result<Images, DataError> {
        let (mut files, mut labels) = (vec![], vec![]);
        for (label, folder) in folders.iter().enumerate() {
            let folder = self.path.join(part).join(folder);
            let before = files.len();
            if class == Class::HasImages || folder.exists() {
                collect_files(&folder, &mut files)?;
            }
            if class == Class::HasImages && files.len() == before {
                return Err(DataError::damaged(
                    &folder,
                    None,
                    "no .jpg, .jpeg or .png file in it; add images, or remove it",
                ));
            }
            labels.resize(files.len(), label as u32);
        }
        image_files::read(&files, labels, self.resize)
    }
}

/// The names of the folders in `folder`, sorted.
fn class_names(folder: &Path) -> Result<Vec<String>, DataError> {
    let mut names = vec![];
    for path in entries(folder)?.into_iter().filter(|path| path.is_dir()) {
        match path.file_name().and_then(|name| name.to_str()) {
            Some(name) if name.starts_with('.') => {}
            Some(name) => names.push(name.to_owned()),
            None => return Err(DataError::damaged(&path, None, "its name is not UTF-8; rename it")),
        }
    }
    if names.is_empty() {
        return Err(DataError::damaged(folder, None, format!("no class folder in it; {HINT}")));
    }
    Ok(names)
}

/// Adds the image files in `folder` and the folders below it, in the order of their names.
pub(super) fn collect_files(folder: &Path, files: &mut Vec<PathBuf>) -> Result<(), DataError> {
    for path in entries(folder)? {
        let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
        if path.is_dir() {
            collect_files(&path, files)?;
        } else if EXTENSIONS.iter().any(|known| extension.eq_ignore_ascii_case(known)) {
            files.push(path);
        }
    }
    Ok(())
}

/// A warning about the pictures below some folders whose formats are not read: their number by format.
pub fn passed_over(folders: &[&Path]) -> Option<String> {
    let mut formats = BTreeMap::new();
    folders.iter().for_each(|folder| count_others(folder, &mut formats));
    let all: usize = formats.values().sum();
    let formats: Vec<String> = formats.iter().map(|(format, count)| format!("{count} .{format}")).collect();
    let files = if all == 1 { "picture" } else { "pictures" };
    let only = "only .jpg, .jpeg and .png files are read, so convert them";
    (all > 0).then(|| format!("passed over {all} {files} ({}): {only}", formats.join(", ")))
}

/// Counts the pictures of other formats. A folder that cannot be read was an error before.
fn count_others(folder: &Path, formats: &mut BTreeMap<&'static str, usize>) {
    for path in entries(folder).unwrap_or_default() {
        let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
        if path.is_dir() {
            count_others(&path, formats);
        } else if let Some(format) = OTHERS.iter().find(|known| extension.eq_ignore_ascii_case(known)) {
            *formats.entry(format).or_default() += 1;
        }
    }
}

/// The entries of `folder`, sorted.
fn entries(folder: &Path) -> Result<Vec<PathBuf>, DataError> {
    let listed = fs::read_dir(folder).map_err(DataError::open(folder, HINT))?;
    let mut paths = listed
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<Vec<_>, _>>()
        .map_err(DataError::io(folder))?;
    paths.sort_unstable();
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use image::RgbImage;

    use super::*;
    use crate::shape::Shape;

    fn put(folder: &Path, name: &str, width: u32, height: u32, value: u8) {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        RgbImage::from_pixel(width, height, image::Rgb([value, 1, 2])).save(path).unwrap();
    }

    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        put(folder.path(), "train/cat/b.png", 4, 4, 10);
        put(folder.path(), "train/cat/a.PNG", 4, 4, 20);
        put(folder.path(), "train/ant/z.png", 4, 4, 30);
        put(folder.path(), "test/ant/0.jpeg", 4, 4, 40);
        put(folder.path(), "test/cat/0.jpg", 4, 4, 50);
        fs::write(folder.path().join("train/cat/readme.txt"), "x").unwrap();
        folder
    }

    fn read(folder: &Path, resize: u32) -> Result<Dataset, DataError> {
        ImageFolder { path: folder.to_owned(), resize }.read(0)
    }

    #[test]
    fn classes_and_files_are_sorted() {
        let folder = folder();
        let dataset = read(folder.path(), 0).unwrap();
        assert_eq!(dataset.classes, ["ant", "cat"]);
        assert_eq!(dataset.train.labels(), [0, 1, 1]);
        let reds: Vec<u8> = (0..3).map(|i| dataset.train.image(i)[0]).collect();
        assert_eq!(reds, [30, 20, 10]);
        assert_eq!(dataset.shape(), Shape { height: 4, width: 4, channels: 3 });
        assert_eq!(dataset.test.len(), 2);
    }

    #[test]
    fn pictures_of_other_formats_are_counted() {
        let folder = folder();
        let of = |folder: &Path| ImageFolder { path: folder.to_owned(), resize: 0 }.passed_over();
        assert_eq!(of(folder.path()), None);
        fs::write(folder.path().join("beside.webp"), "x").unwrap();
        for name in ["train/cat/a.webp", "train/cat/b.WebP", "test/ant/c.gif", "test/ant/list.csv"] {
            fs::write(folder.path().join(name), "x").unwrap();
        }
        let warning = of(folder.path()).unwrap();
        assert!(warning.starts_with("passed over 3 pictures (1 .gif, 2 .webp): only .jpg"), "{warning}");
        assert_eq!(read(folder.path(), 0).unwrap().train.len(), 3);
    }

    #[test]
    fn one_size_or_resize() {
        let folder = folder();
        put(folder.path(), "train/cat/c.png", 5, 4, 10);
        let message = read(folder.path(), 0).unwrap_err().to_string();
        assert!(message.contains("c.png: 5x4 pixels, but") && message.contains("set `resize`"), "{message}");
        put(folder.path(), "train/cat/d.png", 4, 5, 10);
        let message = read(folder.path(), 0).unwrap_err().to_string();
        assert!(
            message.contains("c.png: 5x4") && message.ends_with("(1 more files with errors in this folder)"),
            "{message}"
        );
        assert_eq!(read(folder.path(), 8).unwrap().shape(), Shape { height: 8, width: 8, channels: 3 });
    }

    #[test]
    fn faults_name_the_file() {
        let broken = folder();
        let file = broken.path().join("train/cat/b.png");
        let bytes = fs::read(&file).unwrap();
        fs::write(&file, &bytes[..bytes.len() / 2]).unwrap();
        let message = read(broken.path(), 0).unwrap_err().to_string();
        assert!(message.contains("b.png: not a complete image"), "{message}");

        let lonely = folder();
        put(lonely.path(), "train/dog/0.png", 4, 4, 1);
        let message = read(lonely.path(), 0).unwrap_err().to_string();
        assert!(message.contains("class `dog` is in only one of"), "{message}");
        fs::create_dir_all(lonely.path().join("test/dog")).unwrap();
        assert!(read(lonely.path(), 0).unwrap_err().to_string().contains("dog: no .jpg, .jpeg or .png"));

        let empty = tempfile::tempdir().unwrap();
        assert!(matches!(read(empty.path(), 0), Err(DataError::Missing { .. })));
    }
}
