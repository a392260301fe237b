//! Artifacts as files that other programs read.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder, ImageError};
use miette::Diagnostic;
use thiserror::Error;

use crate::attacks::Trigger;
use crate::data::{ClassList, Dataset, Images, Overlay, load_indices};
use crate::files::{create_whole_folder, create_whole_with};
use crate::models::{self, Format, Model};
use crate::shape::Shape;
use crate::stages::{Artifact, StageError};
use crate::train::Curve;

/// The error of an export.
#[derive(Debug, Diagnostic, Error)]
pub enum ExportError {
    /// The file already exists.
    #[error("{} already exists", .0.display())]
    #[diagnostic(help("remove it, or choose another name"))]
    Exists(PathBuf),
    /// The name has the extension of a format that is not available for the artifact.
    #[error("{}: {what} cannot be written in that format", path.display())]
    #[diagnostic(help("name it {formats}"))]
    Format {
        /// The name.
        path: PathBuf,
        /// The kind of artifact.
        what: &'static str,
        /// The available extensions.
        formats: &'static str,
    },
    /// A file could not be written.
    #[error("cannot write {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// Images with this number of channels cannot be written as PNG.
    #[error("images of {0} cannot be written as PNG, which has 1 or 3 channels")]
    Channels(Shape),
    /// The artifact could not be read.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Artifact(#[from] StageError),
}

/// An artifact to export.
#[derive(Clone, Copy, Debug)]
pub struct Export<'a> {
    /// What it is.
    pub artifact: Artifact,
    /// Its file in the cache.
    pub from: &'a Path,
    /// The data set that an overlay changes, if it is in the cache. It has the names of the classes.
    pub dataset: Option<&'a Path>,
    /// The most images of each kind.
    pub limit: usize,
}

/// Writes an artifact to `to`, which is there afterwards as a whole or not at all. Returns a description of it.
///
/// # Errors
///
/// `to` already exists or cannot be written, or the artifact cannot be read.
pub fn export(export: &Export<'_>, to: &Path) -> Result<String, ExportError> {
    let Export { artifact, from, limit, .. } = *export;
    if to.symlink_metadata().is_ok() {
        return Err(ExportError::Exists(to.to_owned()));
    }
    check_format(artifact, to)?;
    match artifact {
        Artifact::Model => export_model(from, to),
        Artifact::Curve => export_curve(from, to),
        Artifact::Dataset => export_dataset(&load_dataset(from)?, to, limit),
        Artifact::Overlay => {
            let dataset = export.dataset.map(load_dataset).transpose()?;
            export_overlay(&Overlay::load(from).map_err(StageError::from)?, dataset.as_ref(), to, limit)
        }
        Artifact::Trigger => export_trigger(&Trigger::load(from).map_err(StageError::from)?, to),
        Artifact::Indices => export_indices(&load_indices(from).map_err(StageError::from)?, to),
        Artifact::Report => copy(from, to).map(|()| "a report".to_owned()),
        Artifact::Evidence => copy(from, to).map(|()| "evidence".to_owned()),
    }
}

fn load_dataset(path: &Path) -> Result<Dataset, ExportError> {
    Ok(Dataset::load(path).map_err(StageError::from)?)
}

/// Refuses a name with the extension of a format that is not available for the artifact. Names without an extension are
/// accepted. Texts accept any name.
fn check_format(artifact: Artifact, to: &Path) -> Result<(), ExportError> {
    let is_png = |ending: &OsStr| ending.eq_ignore_ascii_case("png");
    let is_own = |_: &OsStr| Format::of(to) == Some(Format::Safetensors);
    let (what, fits, formats): (_, &dyn Fn(&OsStr) -> bool, _) = match artifact {
        Artifact::Model => (
            "a model",
            &|_| Format::of(to).is_some(),
            ".safetensors, or for PyTorch .pth, .pt, .tar or .ckpt",
        ),
        Artifact::Curve => ("a curve", &is_own, ".safetensors"),
        Artifact::Evidence => ("evidence", &is_own, ".safetensors"),
        Artifact::Trigger => ("a trigger", &is_png, ".png"),
        _ => return Ok(()),
    };
    match to.extension() {
        Some(ending) if !fits(ending) => Err(ExportError::Format { path: to.to_owned(), what, formats }),
        _ => Ok(()),
    }
}

fn count(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

/// Copies an artifact whose file in the cache other programs can read.
fn copy(from: &Path, to: &Path) -> Result<(), ExportError> {
    let mut artifact =
        File::open(from).map_err(|source| ExportError::Io { path: from.to_owned(), source })?;
    create(to, |file| io::copy(&mut artifact, file).map(drop))
}

/// Writes a model as a PyTorch file if the name has such an extension, and otherwise as safetensors, as in the cache.
fn export_model(from: &Path, to: &Path) -> Result<String, ExportError> {
    let model = Model::load(from).map_err(StageError::from)?;
    let written_as = match Format::of(to) {
        Some(Format::PyTorch) => {
            create(to, |file| models::write(&model, file, Format::PyTorch))?;
            ", for PyTorch,"
        }
        Some(Format::Safetensors) | None => {
            copy(from, to)?;
            ""
        }
    };
    Ok(format!("{} with {} parameters{written_as}", model.spec.architecture, model.weights.theta.len()))
}

/// Copies a curve, whose file in the cache is safetensors. Reading it first checks that it is a curve.
fn export_curve(from: &Path, to: &Path) -> Result<String, ExportError> {
    let (curve, spec) = Curve::load(from).map_err(StageError::from)?;
    copy(from, to)?;
    let [start, ..] = &curve.points;
    Ok(format!("a curve through 3 points of {} with {} parameters each", spec.architecture, start.len()))
}

/// Writes `train/<class>/<position>.png`, `test/<class>/<position>.png` and the list of classes. Every class has its
/// folder, even without images, so that a program that numbers the folders finds the same labels.
fn export_dataset(dataset: &Dataset, to: &Path, limit: usize) -> Result<String, ExportError> {
    let list = ClassList::of(&dataset.classes);
    let color = color(dataset.shape())?;
    let parts = [("train", &dataset.train), ("test", &dataset.test)];
    let written = create_whole_folder(to, |to| {
        list.write(to)?;
        let mut written = 0;
        for (part, images) in parts {
            let folders = list.folders().map(|folder| to.join(part).join(folder));
            let positions = 0..images.len().min(limit) as u32;
            let folders = Folders { by_label: folders.collect(), images_in_all: images.len() };
            folders.by_label.iter().try_for_each(fs::create_dir_all)?;
            written += folders.write(images, positions, color)?;
        }
        Ok(written)
    });
    Ok(count(written.map_err(unwritten(to))?, "image"))
}

/// Writes poisoned images as `<class>/<position>.png`, by their new label. Class and position are named as in the export
/// of the clean data set. Without that data set, classes are numbers.
fn export_overlay(
    overlay: &Overlay,
    dataset: Option<&Dataset>,
    to: &Path,
    limit: usize,
) -> Result<String, ExportError> {
    let images = overlay.images();
    let color = color(images.shape())?;
    let list = match dataset {
        Some(dataset) => ClassList::of(&dataset.classes),
        None => ClassList::unnamed(images.labels().iter().max().map_or(0, |&last| last as usize + 1)),
    };
    let last = overlay.indices().last().map_or(0, |&last| last as usize);
    let images_in_all = dataset.map_or(last + 1, |dataset| dataset.train.len());
    let positions = overlay.indices().iter().copied().take(limit);
    let written = create_whole_folder(to, |to| {
        let by_label = list.folders().map(|folder| to.join(folder)).collect();
        Folders { by_label, images_in_all }.write(images, positions, color)
    });
    Ok(count(written.map_err(unwritten(to))?, "poisoned image"))
}

/// Folders for images.
struct Folders {
    by_label: Vec<PathBuf>,
    /// As many digits as the last of them needs are in every name, so that names sort like numbers.
    images_in_all: usize,
}

impl Folders {
    /// Writes the first images under these numbers. Each goes into the folder of its label.
    fn write(
        &self,
        images: &Images,
        numbers: impl Iterator<Item = u32>,
        color: ExtendedColorType,
    ) -> io::Result<usize> {
        let digits = self.images_in_all.saturating_sub(1).to_string().len().max(5);
        let Shape { height, width, .. } = images.shape();
        let mut written = 0;
        for (at, number) in numbers.enumerate() {
            let folder = self.by_label.get(images.labels()[at] as usize);
            let folder = folder.ok_or_else(|| io::Error::other("an image has an unknown class"))?;
            fs::create_dir_all(folder)?;
            let bytes = png(images.image(at), (width, height), color)?;
            File::create_new(folder.join(format!("{number:0digits$}.png")))?.write_all(&bytes)?;
            written += 1;
        }
        Ok(written)
    }
}

fn color(shape: Shape) -> Result<ExtendedColorType, ExportError> {
    match shape.channels {
        1 => Ok(ExtendedColorType::L8),
        3 => Ok(ExtendedColorType::Rgb8),
        _ => Err(ExportError::Channels(shape)),
    }
}

fn export_trigger(trigger: &Trigger, to: &Path) -> Result<String, ExportError> {
    let Shape { height, width, .. } = trigger.shape();
    let bytes = png(&trigger.picture(), (width, height), ExtendedColorType::Rgba8).map_err(unwritten(to))?;
    create(to, |file| file.write_all(&bytes))?;
    Ok(format!("the trigger of `{}`", trigger.attack()))
}

fn export_indices(indices: &[u32], to: &Path) -> Result<String, ExportError> {
    let text: String = indices.iter().map(|index| format!("{index}\n")).collect();
    create(to, |file| file.write_all(text.as_bytes()))?;
    Ok(count(indices.len(), "position"))
}

/// The bytes of a PNG. It is encoded in memory: a file is then written by one call whose error counts.
fn png(pixels: &[u8], (width, height): (usize, usize), color: ExtendedColorType) -> io::Result<Vec<u8>> {
    let mut bytes = vec![];
    let encoded = PngEncoder::new(&mut bytes).write_image(pixels, width as u32, height as u32, color);
    encoded.map_err(|error| match error {
        ImageError::IoError(source) => source,
        other => io::Error::other(other),
    })?;
    Ok(bytes)
}

fn create(to: &Path, write: impl FnOnce(&mut File) -> io::Result<()>) -> Result<(), ExportError> {
    create_whole_with(to, write).map_err(unwritten(to))
}

/// The error of a file or folder that could not be written. The name may have been taken since the first look.
fn unwritten(to: &Path) -> impl FnOnce(io::Error) -> ExportError {
    move |source| match source.kind() {
        io::ErrorKind::AlreadyExists => ExportError::Exists(to.to_owned()),
        _ => ExportError::Io { path: to.to_owned(), source },
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::models::Spec;
    use crate::shape::Shape;
    use crate::stages::tests::run::{DatasetStage, PoisonStage, run, synthetic};
    use crate::train::CurveForm;

    fn export(artifact: Artifact, from: &Path, to: &Path, limit: usize) -> Result<String, ExportError> {
        super::export(&Export { artifact, from, dataset: None, limit }, to)
    }

    /// The class folders of a part, sorted by name as torchvision's `ImageFolder` does.
    fn class_folders(part: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(part)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn an_exported_data_set_can_be_read_as_an_image_folder() {
        let folder = tempfile::tempdir().unwrap();
        let dataset = synthetic(folder.path());
        let to = folder.path().join("out/images");
        let done = export(Artifact::Dataset, &folder.path().join("dataset"), &to, usize::MAX).unwrap();
        assert_eq!(done, "80 images");
        let again = folder.path().join("again");
        fs::create_dir(&again).unwrap();
        run::<DatasetStage>(json!({"source": "image-folder", "path": to}), &[], &again).unwrap();
        let again = Dataset::load(&again.join("dataset")).unwrap();
        assert_eq!((again.train.len(), again.test.len()), (60, 20));
        assert_eq!(again.classes, dataset.classes, "in the same order");
        let sorted = dataset.classes.is_sorted();
        assert!(!sorted, "a data set of sorted classes shows nothing");
        for (before, after) in [(&dataset.train, &again.train), (&dataset.test, &again.test)] {
            let all = |images: &Images| {
                let image = |at: usize| (images.labels()[at], images.image(at).to_vec());
                let mut all: Vec<_> = (0..images.len()).map(image).collect();
                all.sort();
                all
            };
            assert!(all(before) == all(after), "the same images with the same labels");
        }
        let folders = class_folders(&to.join("train"));
        let names: Vec<String> =
            dataset.classes.iter().enumerate().map(|(at, name)| format!("{at:02}_{name}")).collect();
        assert_eq!(folders, names, "other programs number the classes in this order");
    }

    #[test]
    fn a_class_without_images_keeps_its_number() {
        let folder = tempfile::tempdir().unwrap();
        let dataset = synthetic(folder.path());
        let to = folder.path().join("images");
        export(Artifact::Dataset, &folder.path().join("dataset"), &to, 3).unwrap();
        assert_eq!(class_folders(&to.join("train")).len(), dataset.classes.len());
        // Archives and repositories lose folders without files.
        let part = to.join("test");
        for class in class_folders(&part) {
            drop(fs::remove_dir(part.join(class)));
        }
        let again = folder.path().join("again");
        fs::create_dir(&again).unwrap();
        run::<DatasetStage>(json!({"source": "image-folder", "path": to}), &[], &again).unwrap();
        let again = Dataset::load(&again.join("dataset")).unwrap();
        assert_eq!((again.train.len(), again.test.len(), &again.classes), (3, 3, &dataset.classes));
        let sorted = |labels: &[u32]| {
            let mut labels = labels.to_vec();
            labels.sort();
            labels
        };
        assert_eq!(again.test.labels(), sorted(&dataset.test.labels()[..3]));
    }

    #[test]
    fn poisoned_images_and_their_trigger_are_pictures() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        let dataset = synthetic(path);
        let with = json!({"attack": "badnets", "pattern": "square", "rate": 0.5, "target": 2});
        run::<PoisonStage>(with, &[("dataset", "dataset")], path).unwrap();
        let overlay = Overlay::load(&path.join("overlay")).unwrap();
        let [from, clean] = ["overlay", "dataset"].map(|name| path.join(name));
        let part = Export { artifact: Artifact::Overlay, from: &from, dataset: Some(&clean), limit: 7 };
        let done = super::export(&part, &path.join("images")).unwrap();
        assert_eq!(done, "7 poisoned images");
        let file = path.join(format!("images/02_{}/{:05}.png", dataset.classes[2], overlay.indices()[0]));
        assert_eq!(image::open(&file).unwrap().to_rgb8().into_raw(), overlay.images().image(0));
        let unnamed = Export { dataset: None, ..part };
        super::export(&unnamed, &path.join("unnamed")).unwrap();
        assert!(path.join(format!("unnamed/02/{:05}.png", overlay.indices()[0])).exists());

        export(Artifact::Trigger, &path.join("trigger"), &path.join("trigger.png"), 1).unwrap();
        let picture = image::open(path.join("trigger.png")).unwrap().to_rgba8();
        let stamped = picture.pixels().filter(|pixel| pixel.0 == [255; 4]).count();
        let clear = picture.pixels().filter(|pixel| pixel.0[3] == 0).count();
        assert_eq!((picture.dimensions(), stamped, clear), ((32, 32), 9, 32 * 32 - 9), "a patch of 3x3");
        let error = export(Artifact::Trigger, &path.join("trigger"), &path.join("t.jpg"), 1).unwrap_err();
        assert!(error.to_string().contains("t.jpg: a trigger cannot be"), "{error}");
        assert!(error.help().unwrap().to_string().starts_with("name it .png"));
        let again = export(Artifact::Trigger, &path.join("trigger"), &path.join("trigger.png"), 1);
        assert!(matches!(again, Err(ExportError::Exists(_))));
    }

    #[test]
    fn an_unavailable_format_is_refused() {
        let fits = |artifact, name: &str| check_format(artifact, Path::new(name)).is_ok();
        for name in ["m.pth", "m.PT", "m.safetensors", "m"] {
            assert!(fits(Artifact::Model, name), "{name}");
        }
        let error = check_format(Artifact::Model, Path::new("m.onnx")).unwrap_err();
        assert_eq!(error.to_string(), "m.onnx: a model cannot be written in that format");
        assert!(error.help().unwrap().to_string().contains(".pth"));
        assert!(fits(Artifact::Trigger, "t.PNG") && !fits(Artifact::Curve, "c.pth"));
        assert!(fits(Artifact::Report, "r.json") && fits(Artifact::Dataset, "images.d"));
    }

    #[test]
    fn a_curve_is_written_as_in_the_cache() {
        let folder = tempfile::tempdir().unwrap();
        let [from, to] = ["curve", "out/curve.safetensors"].map(|name| folder.path().join(name));
        let image = Shape { height: 8, width: 8, channels: 3 };
        let spec = Spec { architecture: "wrn-10-1".parse().unwrap(), image, classes: 4, normalise: None };
        let points = [0.0, 1.0, 2.0].map(|value| vec![value; spec.graph().theta_len()]);
        Curve { form: CurveForm::Bezier, points }.save(&spec, &from).unwrap();
        let done = export(Artifact::Curve, &from, &to, 1).unwrap();
        assert!(done.starts_with("a curve through 3 points of wrn-10-1 with 7"), "{done}");
        assert_eq!(fs::read(to).unwrap(), fs::read(from).unwrap());
    }
}
