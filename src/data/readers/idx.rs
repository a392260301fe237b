//! IDX files, as of MNIST and Fashion-MNIST, compressed by gzip or not.

use std::io::Read;
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Reader;
use crate::data::fetch::{PublicDataset, find};
use crate::data::{DataError, Dataset, Images, InvalidParam};
use crate::files::open_regular;
use crate::shape::Shape;

const HINT: &str = "set `path` to a folder with train-images-idx3-ubyte, train-labels-idx1-ubyte, \
                    t10k-images-idx3-ubyte and t10k-labels-idx1-ubyte, each with or without .gz";

/// The largest content of a packed file. A few megabytes can unpack to any number of zeros.
const MAX_UNPACKED: u64 = 2 << 30;

/// IDX files, as of MNIST and Fashion-MNIST: gray images and their labels, compressed by gzip or not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Idx {
    /// The folder with `train-images-idx3-ubyte`, `train-labels-idx1-ubyte`, `t10k-images-idx3-ubyte` and
    /// `t10k-labels-idx1-ubyte`, each with or without `.gz`.
    #[serde(skip_serializing)]
    pub path: PathBuf,
    /// Repeat the gray value as red, green and blue.
    #[serde(default = "yes")]
    pub to_rgb: bool,
    /// Center images in a black square of this side; 0 keeps their size.
    #[serde(default = "side")]
    #[schemars(range(max = 4096))]
    pub pad_to: u32,
    /// The number of classes; labels are below it.
    #[serde(default = "classes")]
    #[schemars(range(min = 2, max = 256))]
    pub classes: u32,
}

fn yes() -> bool {
    true
}

fn side() -> u32 {
    32
}

fn classes() -> u32 {
    10
}

impl Reader for Idx {
    fn check(&self) -> Vec<InvalidParam> {
        let bad = !(2..=256).contains(&self.classes);
        bad.then(|| InvalidParam::new("classes", "must be between 2 and 256")).into_iter().collect()
    }

    fn classes(&self) -> Option<usize> {
        Some(self.classes as usize)
    }

    fn path(&self) -> Option<&Path> {
        Some(&self.path)
    }

    fn public(&self) -> Option<&'static PublicDataset> {
        find("fashion-mnist")
    }

    fn read(&self, _seed: u64) -> Result<Dataset, DataError> {
        let names = (0..self.classes).map(|class| class.to_string()).collect();
        Dataset::new(names, self.images("train")?, self.images("t10k")?)
    }
}

impl Idx {
    fn images(&self, part: &str) -> Result<Images, DataError> {
        let images = IdxFile::<3>::read(&self.path.join(format!("{part}-images-idx3-ubyte")))?;
        let labels = IdxFile::<1>::read(&self.path.join(format!("{part}-labels-idx1-ubyte")))?;
        let [count, height, width] = images.dimensions;
        if labels.dimensions != [count] {
            let problem =
                format!("{} labels for {count} images; download both files again", labels.dimensions[0]);
            return Err(DataError::damaged(&labels.path, 4, problem));
        }
        if let Some(at) = labels.values().iter().position(|&label| u32::from(label) >= self.classes) {
            let problem =
                format!("label {} is not below {}; check `classes`", labels.values()[at], self.classes);
            return Err(DataError::damaged(&labels.path, (labels.header() + at) as u64, problem));
        }
        let grey = Shape::try_from([height, width, 1])
            .map_err(|error| DataError::damaged(&images.path, 8, error.to_string()))?;
        if grey.is_empty() {
            return Err(DataError::damaged(&images.path, 8, format!("images of {height}x{width} pixels")));
        }
        let shape = self.shape(&images, grey)?;
        let mut pixels = Images::black(shape, count)?;
        for (image, out) in images.values().chunks_exact(grey.len()).zip(pixels.chunks_exact_mut(shape.len()))
        {
            centre(image, grey, shape, out);
        }
        Images::new(shape, pixels, labels.values().iter().map(|&label| u32::from(label)).collect())
    }

    /// The shape of the padded images.
    fn shape(&self, images: &IdxFile<3>, grey: Shape) -> Result<Shape, DataError> {
        let channels = if self.to_rgb { 3 } else { 1 };
        if self.pad_to == 0 {
            return Ok(Shape { channels, ..grey });
        }
        let side = self.pad_to as usize;
        if side < grey.height || side < grey.width {
            let size = format!("images are {}x{}, larger than `pad_to`", grey.height, grey.width);
            return Err(DataError::damaged(
                &images.path,
                8,
                format!("{size}; raise `pad_to`, or set it to 0"),
            ));
        }
        Ok(Shape { height: side, width: side, channels })
    }
}

/// Writes a gray image to the center of `out`, with its value in every channel.
fn centre(image: &[u8], grey: Shape, shape: Shape, out: &mut [u8]) {
    let (top, left) = ((shape.height - grey.height) / 2, (shape.width - grey.width) / 2);
    for (row, values) in image.chunks_exact(grey.width).enumerate() {
        let start = ((row + top) * shape.width + left) * shape.channels;
        for (pixel, &value) in out[start..].chunks_exact_mut(shape.channels).zip(values) {
            pixel.fill(value);
        }
    }
}

/// An unpacked file of unsigned bytes with `RANK` dimensions.
struct IdxFile<const RANK: usize> {
    path: PathBuf,
    dimensions: [usize; RANK],
    bytes: Vec<u8>,
}

impl<const RANK: usize> IdxFile<RANK> {
    /// Reads `path`, or `path.gz`: first the header, then what it declares. Offsets in errors count unpacked bytes.
    fn read(path: &Path) -> Result<Self, DataError> {
        let mut source = Source::open(path)?;
        let header = 4 + 4 * RANK;
        source.read(header as u64)?;
        let expected = [0, 0, 8, RANK as u8];
        if let Some(magic) = source.bytes.first_chunk::<4>().filter(|magic| **magic != expected) {
            let problem = format!("it starts with {magic:?}, expected {expected:?}");
            return Err(source.damaged(0, problem));
        }
        if source.bytes.len() < header {
            let problem = format!("truncated: the header has {header} bytes; download the file again");
            return Err(source.damaged(source.bytes.len(), problem));
        }
        let (words, _) = source.bytes[4..header].as_chunks();
        let dimensions: [usize; RANK] = std::array::from_fn(|i| u32::from_be_bytes(words[i]) as usize);
        let values = dimensions.iter().try_fold(1usize, |product, &n| product.checked_mul(n));
        let announced = values.and_then(|values| values.checked_add(header));
        if source.packed && announced.is_none_or(|bytes| bytes as u64 > MAX_UNPACKED) {
            let problem = format!("the header declares {dimensions:?} values, which is more than 2 GiB");
            return Err(source.damaged(4, format!("{problem}; unpack the file first: `gunzip FILE.gz`")));
        }
        // One byte more shows whether the file goes on.
        let rest = announced.unwrap_or(usize::MAX).saturating_sub(header);
        source.read((rest as u64).saturating_add(1))?;
        if announced != Some(source.bytes.len()) {
            let problem =
                format!("the header declares {dimensions:?} values, but the file has another number");
            let offset = announced.map_or(source.bytes.len(), |announced| announced.min(source.bytes.len()));
            return Err(source.damaged(offset, format!("{problem}; download it again")));
        }
        Ok(Self { path: source.path, dimensions, bytes: source.bytes })
    }

    fn header(&self) -> usize {
        4 + 4 * RANK
    }

    fn values(&self) -> &[u8] {
        &self.bytes[self.header()..]
    }
}

/// The content of `path` or, if that is missing, of `path.gz`, as far as it has been read.
struct Source {
    /// The path that is read.
    path: PathBuf,
    packed: bool,
    content: Box<dyn Read>,
    bytes: Vec<u8>,
}

impl Source {
    fn open(path: &Path) -> Result<Self, DataError> {
        let packed = !path.exists();
        let hint = |error: std::io::Error| DataError::open(path, HINT)(error);
        let file = |path: &Path| open_regular(path).map_err(hint);
        let (path, content): (_, Box<dyn Read>) = if packed {
            let path = path.with_added_extension("gz");
            let content = MultiGzDecoder::new(file(&path)?);
            (path, Box::new(content))
        } else {
            (path.to_owned(), Box::new(file(path)?))
        };
        Ok(Self { path, packed, content, bytes: vec![] })
    }

    /// Reads up to this number of bytes more.
    fn read(&mut self, count: u64) -> Result<(), DataError> {
        let read = (&mut self.content).take(count).read_to_end(&mut self.bytes);
        match read {
            Ok(_) => Ok(()),
            Err(error) if self.packed => {
                let problem =
                    format!("decompression failed at this unpacked byte ({error}); download the file again");
                Err(self.damaged(self.bytes.len(), problem))
            }
            Err(error) => Err(DataError::io(&self.path)(error)),
        }
    }

    fn damaged(&self, offset: usize, problem: String) -> DataError {
        DataError::damaged(&self.path, offset as u64, problem)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::write::GzEncoder;

    use super::*;

    fn file(dimensions: &[u32], values: &[u8]) -> Vec<u8> {
        let header = dimensions.iter().flat_map(|n| n.to_be_bytes());
        [0, 0, 8, dimensions.len() as u8].into_iter().chain(header).chain(values.iter().copied()).collect()
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(vec![], flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    /// Two training images and one test image of 2x2, the test images packed.
    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let put = |name: &str, bytes: Vec<u8>| std::fs::write(folder.path().join(name), bytes).unwrap();
        put("train-images-idx3-ubyte", file(&[2, 2, 2], &[1, 2, 3, 4, 5, 6, 7, 8]));
        put("train-labels-idx1-ubyte", file(&[2], &[0, 9]));
        put("t10k-images-idx3-ubyte.gz", gzip(&file(&[1, 2, 2], &[9, 9, 9, 9])));
        put("t10k-labels-idx1-ubyte.gz", gzip(&file(&[1], &[3])));
        folder
    }

    fn reader(folder: &tempfile::TempDir) -> Idx {
        Idx { path: folder.path().to_owned(), to_rgb: true, pad_to: 4, classes: 10 }
    }

    #[test]
    fn images_are_centred_and_made_rgb() {
        let dataset = reader(&folder()).read(0).unwrap();
        assert_eq!(dataset.shape(), Shape { height: 4, width: 4, channels: 3 });
        let red: Vec<u8> = dataset.train.image(1).chunks(3).map(|pixel| pixel[0]).collect();
        assert_eq!(red, [0, 0, 0, 0, 0, 5, 6, 0, 0, 7, 8, 0, 0, 0, 0, 0]);
        assert!(dataset.train.image(1).chunks(3).all(|pixel| pixel == [pixel[0]; 3]));
        assert_eq!((dataset.train.labels(), dataset.test.labels()), (&[0, 9][..], &[3][..]));
    }

    #[test]
    fn images_can_stay_as_they_are() {
        let dataset = Idx { to_rgb: false, pad_to: 0, ..reader(&folder()) }.read(0).unwrap();
        assert_eq!(dataset.shape(), Shape { height: 2, width: 2, channels: 1 });
        assert_eq!(dataset.train.image(0), [1, 2, 3, 4]);
    }

    #[test]
    fn faults_are_named_with_their_byte() {
        let message = |name: &str, bytes: &[u8]| {
            let folder = folder();
            std::fs::write(folder.path().join(name), bytes).unwrap();
            reader(&folder).read(0).unwrap_err().to_string()
        };
        let images = file(&[2, 2, 2], &[1, 2, 3, 4, 5, 6, 7, 8]);
        let labels = file(&[2], &[0, 10]);
        assert!(
            message("train-images-idx3-ubyte", &images[..20])
                .contains("byte 20: the header declares [2, 2, 2]")
        );
        assert!(message("train-images-idx3-ubyte", &images[..9]).contains("byte 9: truncated"));
        assert!(message("train-images-idx3-ubyte", &labels).contains("byte 0: it starts with"));
        assert!(message("train-labels-idx1-ubyte", &labels).contains("byte 9: label 10"));
        assert!(message("train-labels-idx1-ubyte", &labels[..9]).contains("declares"));
        assert!(
            message("train-labels-idx1-ubyte", &file(&[1], &[1])).contains("byte 4: 1 labels for 2 images")
        );
        let packed = gzip(&file(&[1, 2, 2], &[9, 9, 9, 9]));
        assert!(message("t10k-images-idx3-ubyte.gz", &packed[..12]).contains("decompression failed"));
    }

    #[test]
    fn a_packed_file_is_not_unpacked_beyond_its_header() {
        let folder = folder();
        let put =
            |bytes: &[u8]| std::fs::write(folder.path().join("t10k-labels-idx1-ubyte.gz"), bytes).unwrap();
        // 100 MB of zeros after the one label that the header declares.
        put(&gzip(&file(&[1], &vec![0; 100_000_000])));
        let message = reader(&folder).read(0).unwrap_err().to_string();
        assert!(message.contains("byte 9: the header declares [1] values, but"), "{message}");
        put(&gzip(&file(&[u32::MAX], &[0])));
        let message = reader(&folder).read(0).unwrap_err().to_string();
        assert!(message.contains("values, which is more than 2 GiB"), "{message}");
    }

    #[test]
    fn dimensions_that_overflow_are_refused() {
        let folder = folder();
        std::fs::write(folder.path().join("train-images-idx3-ubyte"), file(&[0, u32::MAX, u32::MAX], &[]))
            .unwrap();
        std::fs::write(folder.path().join("train-labels-idx1-ubyte"), file(&[0], &[])).unwrap();
        let message = reader(&folder).read(0).unwrap_err().to_string();
        assert!(message.contains("images of 4294967295x4294967295x1 values are too large"), "{message}");
    }

    #[test]
    fn a_missing_file_and_a_small_pad_are_told() {
        let folder = folder();
        let small = Idx { pad_to: 1, ..reader(&folder) }.read(0).unwrap_err().to_string();
        assert!(small.contains("images are 2x2, larger than `pad_to`"), "{small}");
        std::fs::remove_file(folder.path().join("t10k-labels-idx1-ubyte.gz")).unwrap();
        assert!(matches!(reader(&folder).read(0), Err(DataError::Missing { .. })));
    }
}
