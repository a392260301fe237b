//! Reads image files as images of one shape.

use std::path::{Path, PathBuf};

use image::imageops::FilterType;
use image::{DynamicImage, ImageReader, RgbImage};
use rayon::prelude::*;

use crate::data::{DataError, Images};
use crate::shape::Shape;

/// Reads files as RGB, scaled to squares of side `resize` (bilinear). With 0 they keep their size, which must be the same.
pub(super) fn read(files: &[PathBuf], labels: Vec<u32>, resize: u32) -> Result<Images, DataError> {
    let Some(first_file) = files.first() else {
        return Err(DataError::Mismatch("no image files to read".to_owned()));
    };
    let first = read_one(first_file, resize)?;
    let (width, height) = first.dimensions();
    let shape = Shape { height: height as usize, width: width as usize, channels: 3 };
    let mut pixels = vec![0; files.len() * shape.len()];
    let images = pixels.par_chunks_exact_mut(shape.len()).zip(files);
    let faults = images.filter_map(|(out, file)| {
        let image = read_one(file, resize).and_then(|image| same_size(image, file, &first, first_file));
        image.map(|image| out.copy_from_slice(image.as_raw())).err()
    });
    refuse(faults.collect())?;
    Images::new(shape, pixels, labels)
}

fn read_one(file: &Path, resize: u32) -> Result<RgbImage, DataError> {
    let image = decode(file)?;
    let image = if resize == 0 { image } else { image.resize_exact(resize, resize, FilterType::Triangle) };
    Ok(image.into_rgb8())
}

/// Reads a JPEG, PNG or PPM file.
pub(super) fn decode(file: &Path) -> Result<DynamicImage, DataError> {
    let reader = ImageReader::open(file)
        .and_then(ImageReader::with_guessed_format)
        .map_err(DataError::open(file, "a list names it; download the data set again"))?;
    reader.decode().map_err(|error| {
        DataError::damaged(file, None, format!("not a complete image ({error}); replace or remove it"))
    })
}

/// Returns the image of `file` if it has the size of `first`, the image of `first_file`.
fn same_size(
    image: RgbImage,
    file: &Path,
    first: &RgbImage,
    first_file: &Path,
) -> Result<RgbImage, DataError> {
    let ((width, height), (first_width, first_height)) = (image.dimensions(), first.dimensions());
    if image.dimensions() == first.dimensions() {
        return Ok(image);
    }
    let sizes =
        format!("{width}x{height} pixels, but {} has {first_width}x{first_height}", first_file.display());
    Err(DataError::damaged(file, None, format!("{sizes}; set `resize` to scale all images to one size")))
}

/// Fails with the first fault, and the number of further ones.
pub(super) fn refuse(faults: Vec<DataError>) -> Result<(), DataError> {
    let others = faults.len().saturating_sub(1);
    match faults.into_iter().next() {
        None => Ok(()),
        Some(DataError::Damaged { path, offset, problem }) if others > 0 => {
            let problem = format!("{problem} ({others} more files with errors in this folder)");
            Err(DataError::Damaged { path, offset, problem })
        }
        Some(fault) => Err(fault),
    }
}
