//! The list of classes of an exported data set: names in order, and the folder of each.
//!
//! Programs that number classes in the order of their folders' names, such as torchvision's `ImageFolder`, need the number
//! in the name. The list gives argd-pipe the names back.

use std::fs;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::DataError;
use crate::files::{names, read_regular};

/// The name of the file, beside `train` and `test`.
const FILE: &str = "argd-pipe-classes.json";
/// The most bytes of it.
const LARGEST: u64 = 64 << 20;
/// Raised if a reader of the old format would misread the new one.
const FORMAT_VERSION: u32 = 1;

/// The classes of a folder of images, in order.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClassList {
    format_version: u32,
    classes: Vec<Class>,
}

/// A class and its folder.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Class {
    pub(super) name: String,
    pub(super) folder: String,
}

impl ClassList {
    /// Folders for classes. Their names are sorted as the classes are: `00_airplane`, `01_automobile`.
    pub fn of(classes: &[String]) -> Self {
        let digits = digits(classes.len());
        let class = |(at, name): (usize, &String)| {
            let folder = format!("{at:0digits$}_{}", names::component(name));
            Class { name: name.clone(), folder }
        };
        let classes = classes.iter().enumerate().map(class).collect();
        Self { format_version: FORMAT_VERSION, classes }
    }

    /// Folders for classes without names: `00`, `01`.
    pub fn unnamed(classes: usize) -> Self {
        let digits = digits(classes);
        let class = |at| Class { name: format!("{at}"), folder: format!("{at:0digits$}") };
        Self { format_version: FORMAT_VERSION, classes: (0..classes).map(class).collect() }
    }

    /// The names of the folders, in the order of the classes.
    pub fn folders(&self) -> impl Iterator<Item = &str> {
        self.classes.iter().map(|class| class.folder.as_str())
    }

    /// Writes the list into the folder of `train` and `test`.
    pub fn write(&self, folder: &Path) -> io::Result<()> {
        fs::write(folder.join(FILE), serde_json::to_string_pretty(self)? + "\n")
    }

    /// Reads the list of a folder, if it has one.
    pub(super) fn read(folder: &Path) -> Result<Option<Vec<Class>>, DataError> {
        let path = folder.join(FILE);
        let bytes = match read_regular(&path, LARGEST) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            read => read.map_err(DataError::io(&path))?,
        };
        let damaged = |problem: String| {
            DataError::damaged(&path, None, format!("{problem}; export again, or remove it"))
        };
        let list: Self = serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))?;
        if list.format_version != FORMAT_VERSION {
            let found = list.format_version;
            return Err(damaged(format!(
                "it has format {found}; this program reads format {FORMAT_VERSION}"
            )));
        }
        if let Some(class) = list.classes.iter().find(|class| !names::is_component(&class.folder)) {
            return Err(damaged(format!("{:?} is not the name of a folder", class.folder)));
        }
        // Elsewhere the order of the folders is the order of the classes.
        if !list.classes.is_sorted_by(|a, b| a.folder < b.folder) {
            return Err(damaged("its folders are not in order".to_owned()));
        }
        Ok(Some(list.classes))
    }
}

/// The digits of the last class; at least two.
fn digits(classes: usize) -> usize {
    classes.saturating_sub(1).to_string().len().max(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn called(classes: &[&str]) -> Vec<String> {
        classes.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn folders_sort_as_the_classes_do() {
        let cifar10 =
            called(&["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship"]);
        let many: Vec<String> = (0..120).rev().map(|name| name.to_string()).collect();
        for classes in [called(&["truck", "airplane", "Zebra", "é", ""]), cifar10, many] {
            let list = ClassList::of(&classes);
            let folders: Vec<&str> = list.folders().collect();
            assert!(folders.is_sorted_by(|a, b| a < b), "{folders:?}");
            let folder = tempfile::tempdir().unwrap();
            list.write(folder.path()).unwrap();
            let read = ClassList::read(folder.path()).unwrap().unwrap();
            assert_eq!(read.iter().map(|class| class.name.clone()).collect::<Vec<_>>(), classes);
        }
        assert_eq!(ClassList::unnamed(3).folders().collect::<Vec<_>>(), ["00", "01", "02"]);
    }

    #[test]
    fn no_name_leaves_the_folder() {
        for name in ["../../x", "/etc/passwd", "..", "a\0b", &"x".repeat(400)] {
            let list = ClassList::of(&called(&[name]));
            let folder = list.folders().next().unwrap().to_owned();
            assert!(names::is_component(&folder) && folder.len() < 255, "{folder}");
        }
        let folder = tempfile::tempdir().unwrap();
        let class = |folder: &str| Class { name: "a".to_owned(), folder: folder.to_owned() };
        for bad in [vec![class("../x")], vec![class("b"), class("a")]] {
            let list = ClassList { format_version: FORMAT_VERSION, classes: bad };
            list.write(folder.path()).unwrap();
            let message = ClassList::read(folder.path()).unwrap_err().to_string();
            assert!(message.contains("argd-pipe-classes.json"), "{message}");
        }
    }
}
