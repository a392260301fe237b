//! Reads image files as images of one shape.

use std::borrow::Cow;
use std::io::{Cursor, Read};
use std::path::{Path, PathBuf};

use image::imageops::FilterType;
use image::{DynamicImage, ImageReader, Limits, RgbImage};
use rayon::prelude::*;

use crate::data::{DataError, Images};
use crate::files::open_regular;
use crate::shape::Shape;

/// The most bytes of an image file, and of its pixels: 80 megapixels in RGB.
const MAX_BYTES: u64 = 256 << 20;
/// How every PNG file begins.
const PNG: &[u8] = b"\x89PNG\r\n\x1a\n";
/// The part of a PNG file with its color profile.
const PROFILE: &[u8; 4] = b"iCCP";

/// Reads files as RGB, scaled to squares of side `resize` (bilinear). With 0 they keep their size, which must be the same.
pub(super) fn read(files: &[PathBuf], labels: Vec<u32>, resize: u32) -> Result<Images, DataError> {
    let Some(first_file) = files.first() else {
        return Err(DataError::Mismatch("no image files to read".to_owned()));
    };
    let first = read_one(first_file, resize)?;
    let (width, height) = first.dimensions();
    let shape = Shape { height: height as usize, width: width as usize, channels: 3 };
    let mut pixels = Images::black(shape, files.len())?;
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
    let unfit = |why: &str| DataError::damaged(file, None, format!("{why}; replace or remove it"));
    let mut bytes = vec![];
    open_regular(file)
        .and_then(|content| content.take(MAX_BYTES + 1).read_to_end(&mut bytes))
        .map_err(DataError::open(file, "a list names it; download the data set again"))?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(unfit("larger than 256 MiB, which no image of a data set is"));
    }
    decode_bytes(&bytes).map_err(|error| unfit(&format!("not a complete image ({error})")))
}

fn decode_bytes(bytes: &[u8]) -> image::ImageResult<DynamicImage> {
    let mut reader = ImageReader::new(Cursor::new(without_profile(bytes))).with_guessed_format()?;
    let mut limits = Limits::default();
    limits.max_alloc = Some(MAX_BYTES);
    reader.limits(limits);
    reader.decode()
}

/// Removes the color profile of a PNG file. It has no effect on the pixels here, but the decoder would unpack it: 2 MB can
/// become 1 GB.
fn without_profile(bytes: &[u8]) -> Cow<'_, [u8]> {
    let Some(mut rest) = bytes.strip_prefix(PNG) else { return bytes.into() };
    let mut kept = PNG.to_vec();
    // A chunk: the length of its data, its type, the data, and a check sum.
    while let Some((length, after)) = rest.split_first_chunk::<4>()
        && let Some((chunk, next)) = rest.split_at_checked(12 + u32::from_be_bytes(*length) as usize)
    {
        if !after.starts_with(PROFILE) {
            kept.extend_from_slice(chunk);
        }
        rest = next;
    }
    kept.extend_from_slice(rest);
    kept.into()
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
