//! Artifacts as files that other programs read.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use image::{ExtendedColorType, ImageError};
use miette::Diagnostic;
use thiserror::Error;

use crate::attacks::Trigger;
use crate::data::{Dataset, Images, Overlay, load_indices};
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
    /// A model could not be written for PyTorch.
    #[error(transparent)]
    Model(#[from] models::ExportError),
    /// The artifact could not be read.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Artifact(#[from] StageError),
}

/// Writes an artifact to `to`, with at most `limit` images of each kind. Returns a description of the written files.
///
/// # Errors
///
/// `to` already exists or cannot be written, or the artifact cannot be read.
pub fn export(artifact: Artifact, from: &Path, to: &Path, limit: usize) -> Result<String, ExportError> {
    if to.symlink_metadata().is_ok() {
        return Err(ExportError::Exists(to.to_owned()));
    }
    check_format(artifact, to)?;
    match artifact {
        Artifact::Model => export_model(from, to),
        Artifact::Curve => export_curve(from, to),
        Artifact::Dataset => export_dataset(&Dataset::load(from).map_err(StageError::from)?, to, limit),
        Artifact::Overlay => export_overlay(&Overlay::load(from).map_err(StageError::from)?, to, limit),
        Artifact::Trigger => export_trigger(&Trigger::load(from).map_err(StageError::from)?, to),
        Artifact::Indices => export_indices(&load_indices(from).map_err(StageError::from)?, to),
        Artifact::Report => copy(from, to).map(|()| "a report".to_owned()),
        Artifact::Evidence => copy(from, to).map(|()| "evidence".to_owned()),
    }
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
    write(to, &fs::read(from).map_err(|source| ExportError::Io { path: from.to_owned(), source })?)
}

/// Writes a model as a PyTorch file if the name has such an extension, and otherwise as safetensors, as in the cache.
fn export_model(from: &Path, to: &Path) -> Result<String, ExportError> {
    let model = Model::load(from).map_err(StageError::from)?;
    make_parent(to)?;
    let written_as = match Format::of(to) {
        Some(Format::PyTorch) => {
            models::export(&model, to, Format::PyTorch)?;
            ", for PyTorch,"
        }
        Some(Format::Safetensors) | None => {
            model.save(to).map_err(StageError::from)?;
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

fn export_dataset(dataset: &Dataset, to: &Path, limit: usize) -> Result<String, ExportError> {
    let parts = [("train", &dataset.train), ("test", &dataset.test)];
    let mut written = 0;
    for (part, images) in parts {
        let positions = 0..images.len().min(limit) as u32;
        let class = |label: u32| dataset.classes.get(label as usize).map_or("unknown", String::as_str);
        written += write_images(images, positions, |label| to.join(part).join(class(label)))?;
    }
    Ok(count(written, "image"))
}

/// Writes poisoned images into folders by label. An overlay does not have the names of the classes.
fn export_overlay(overlay: &Overlay, to: &Path, limit: usize) -> Result<String, ExportError> {
    let positions = overlay.indices().iter().copied().take(limit);
    let written = write_images(overlay.images(), positions, |label| to.join(label.to_string()))?;
    Ok(count(written, "poisoned image"))
}

/// Writes the first images under these names. Each goes into the folder of its label.
fn write_images(
    images: &Images,
    names: impl Iterator<Item = u32>,
    folder: impl Fn(u32) -> PathBuf,
) -> Result<usize, ExportError> {
    let mut written = 0;
    for (at, name) in names.enumerate() {
        let path = folder(images.labels()[at]).join(format!("{name:05}.png"));
        let Shape { height, width, channels } = images.shape();
        let color = match channels {
            1 => ExtendedColorType::L8,
            3 => ExtendedColorType::Rgb8,
            _ => return Err(ExportError::Channels(images.shape())),
        };
        write_png(&path, images.image(at), (width, height), color)?;
        written += 1;
    }
    Ok(written)
}

fn export_trigger(trigger: &Trigger, to: &Path) -> Result<String, ExportError> {
    let Shape { height, width, .. } = trigger.shape();
    write_png(to, &trigger.picture(), (width, height), ExtendedColorType::Rgb8)?;
    Ok(format!("the trigger of `{}`", trigger.attack()))
}

fn export_indices(indices: &[u32], to: &Path) -> Result<String, ExportError> {
    let text: String = indices.iter().map(|index| format!("{index}\n")).collect();
    write(to, text.as_bytes())?;
    Ok(count(indices.len(), "position"))
}

fn write_png(
    path: &Path,
    pixels: &[u8],
    (width, height): (usize, usize),
    color: ExtendedColorType,
) -> Result<(), ExportError> {
    make_parent(path)?;
    let (width, height) = (width as u32, height as u32);
    let saved = image::save_buffer_with_format(path, pixels, width, height, color, image::ImageFormat::Png);
    saved.map_err(|error| ExportError::Io {
        path: path.to_owned(),
        source: match error {
            ImageError::IoError(source) => source,
            other => io::Error::other(other),
        },
    })
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), ExportError> {
    make_parent(path)?;
    fs::write(path, bytes).map_err(|source| ExportError::Io { path: path.to_owned(), source })
}

fn make_parent(path: &Path) -> Result<(), ExportError> {
    let Some(parent) = path.parent() else { return Ok(()) };
    fs::create_dir_all(parent).map_err(|source| ExportError::Io { path: parent.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::models::Spec;
    use crate::shape::Shape;
    use crate::stages::tests::run::{DatasetStage, PoisonStage, run, synthetic};
    use crate::train::CurveForm;

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
        let mut classes = dataset.classes.clone();
        classes.sort();
        assert_eq!(again.classes, classes);
        let first = again
            .classes
            .iter()
            .position(|class| *class == dataset.classes[dataset.train.labels()[0] as usize]);
        let label = first.unwrap() as u32;
        let at = again.train.labels().iter().position(|&of| of == label).unwrap();
        assert_eq!(again.train.image(at), dataset.train.image(0), "pixels are identical");
    }

    #[test]
    fn poisoned_images_and_their_trigger_are_pictures() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        synthetic(path);
        let with = json!({"attack": "badnets", "pattern": "square", "rate": 0.5, "target": 2});
        run::<PoisonStage>(with, &[("dataset", "dataset")], path).unwrap();
        let overlay = Overlay::load(&path.join("overlay")).unwrap();
        let done = export(Artifact::Overlay, &path.join("overlay"), &path.join("images"), 7).unwrap();
        assert_eq!(done, "7 poisoned images");
        let file = path.join(format!("images/2/{:05}.png", overlay.indices()[0]));
        assert_eq!(image::open(file).unwrap().to_rgb8().into_raw(), overlay.images().image(0));

        export(Artifact::Trigger, &path.join("trigger"), &path.join("trigger.png"), 1).unwrap();
        let picture = image::open(path.join("trigger.png")).unwrap().to_rgb8();
        let stamped = picture.pixels().filter(|pixel| pixel.0 != [128; 3]).count();
        assert_eq!((picture.dimensions(), stamped), ((32, 32), 9), "a patch of 3x3");
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
