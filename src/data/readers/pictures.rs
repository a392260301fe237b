//! Pictures outside of a data set: one file, or all files in a folder, scaled to one shape.

use std::path::{Path, PathBuf};

use image::imageops::FilterType;
use rayon::prelude::*;

use super::image_files::{decode, refuse};
use super::image_folder::collect_files;
use crate::data::{DataError, Images};
use crate::shape::Shape;

/// Reads a JPEG or PNG file, or all in a folder in the order of their names. Scales them to `shape` (bilinear), which has 1
/// or 3 channels. Their labels are 0.
///
/// # Errors
/// A missing path, a folder without pictures, or a file that is not a picture.
pub fn read_pictures(path: &Path, shape: Shape) -> Result<Images, DataError> {
    let files = files(path)?;
    let mut pixels = Images::black(shape, files.len())?;
    let each = pixels.par_chunks_exact_mut(shape.len()).zip(&files);
    refuse(each.filter_map(|(out, file)| read(file, shape, out).err()).collect())?;
    Images::new(shape, pixels, vec![0; files.len()])
}

fn read(file: &Path, shape: Shape, out: &mut [u8]) -> Result<(), DataError> {
    let picture = decode(file)?.resize_exact(shape.width as u32, shape.height as u32, FilterType::Triangle);
    match shape.channels {
        1 => out.copy_from_slice(picture.into_luma8().as_raw()),
        3 => out.copy_from_slice(picture.into_rgb8().as_raw()),
        channels => {
            let problem = format!("pictures have 1 or 3 channels, but the images have {channels}");
            return Err(DataError::Mismatch(problem));
        }
    }
    Ok(())
}

fn files(path: &Path) -> Result<Vec<PathBuf>, DataError> {
    if !path.exists() {
        let hint = "give a JPEG or PNG file, or a folder of such files".to_owned();
        return Err(DataError::Missing { path: path.to_owned(), hint });
    }
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = vec![];
    collect_files(path, &mut files)?;
    if files.is_empty() {
        return Err(DataError::damaged(path, None, "no .jpg, .jpeg or .png file in it"));
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use image::RgbImage;

    use super::*;

    const SHAPE: Shape = Shape { height: 2, width: 4, channels: 3 };

    fn put(path: &Path, value: u8) {
        RgbImage::from_pixel(5, 5, image::Rgb([value, 1, 2])).save(path).unwrap();
    }

    #[test]
    fn a_file_is_one_picture_and_a_folder_all_of_its_files() {
        let folder = tempfile::tempdir().unwrap();
        put(&folder.path().join("b.png"), 20);
        put(&folder.path().join("a.png"), 10);
        let pictures = read_pictures(folder.path(), SHAPE).unwrap();
        assert_eq!((pictures.len(), pictures.image(0)), (2, [10, 1, 2].repeat(8).as_slice()));
        let one = read_pictures(&folder.path().join("b.png"), SHAPE).unwrap();
        assert_eq!((one.len(), one.image(0)), (1, [20, 1, 2].repeat(8).as_slice()));
        let grey = Shape { channels: 1, ..SHAPE };
        assert_eq!(read_pictures(folder.path(), grey).unwrap().image(0).len(), 8);
    }

    #[test]
    fn what_is_no_picture_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let missing = read_pictures(&folder.path().join("a.png"), SHAPE).unwrap_err();
        assert!(matches!(missing, DataError::Missing { .. }));
        assert!(read_pictures(folder.path(), SHAPE).unwrap_err().to_string().contains("no .jpg"));
        std::fs::write(folder.path().join("a.png"), "text").unwrap();
        let message = read_pictures(folder.path(), SHAPE).unwrap_err().to_string();
        assert!(message.contains("a.png: not a complete image"), "{message}");
    }
}
