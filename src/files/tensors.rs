//! Reads and writes safetensors files with deterministic bytes: named tensors and one text.
//!
//! The crate `safetensors` orders tensors by type and name, so equal content gives equal bytes if there is at most one
//! metadata key. Tensors are read one by one: the file itself is never in memory. A file may come from an untrusted
//! source, so its header is compared with its size before a tensor is read.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Cursor, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use safetensors::tensor::{Metadata, SafeTensorError, TensorInfo, TensorView};
use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

use super::open_regular;

pub use safetensors::Dtype;

/// The metadata key of most files of this program.
const CONFIG: &str = "config";
/// The longest header that the format allows.
const MAX_HEADER: u64 = 100_000_000;

/// Why a file of tensors could not be read or written.
#[derive(Debug, Error)]
#[error("{}{}: {problem}", path.display(), offset.map(|offset| format!(", byte {offset}")).unwrap_or_default())]
pub struct TensorError {
    /// The file.
    pub path: PathBuf,
    /// Byte offset of the fault, where it is known.
    pub offset: Option<u64>,
    /// What is wrong.
    pub problem: TensorProblem,
}

/// What is wrong with a file of tensors.
#[derive(Debug, Error)]
pub enum TensorProblem {
    /// The file cannot be read or written.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The file is not a safetensors file, or has other content.
    #[error("{0}")]
    Content(String),
}

impl TensorError {
    fn io(path: &Path) -> impl Fn(io::Error) -> Self {
        move |source| Self { path: path.to_owned(), offset: None, problem: source.into() }
    }

    fn content(path: &Path, offset: impl Into<Option<u64>>, problem: impl Into<String>) -> Self {
        let problem = TensorProblem::Content(problem.into());
        Self { path: path.to_owned(), offset: offset.into(), problem }
    }
}

/// A tensor to write.
pub struct NamedTensor<'a> {
    name: Cow<'a, str>,
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Cow<'a, [u8]>,
}

impl<'a> NamedTensor<'a> {
    /// A tensor of bytes.
    pub fn u8(name: impl Into<Cow<'a, str>>, shape: Vec<usize>, values: &'a [u8]) -> Self {
        Self { name: name.into(), dtype: Dtype::U8, shape, bytes: Cow::Borrowed(values) }
    }

    /// A tensor of unsigned 32-bit integers.
    pub fn u32(name: impl Into<Cow<'a, str>>, shape: Vec<usize>, values: &[u32]) -> Self {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        Self { name: name.into(), dtype: Dtype::U32, shape, bytes: Cow::Owned(bytes) }
    }

    /// A tensor of signed 64-bit integers.
    pub fn i64(name: impl Into<Cow<'a, str>>, shape: Vec<usize>, values: &[i64]) -> Self {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        Self { name: name.into(), dtype: Dtype::I64, shape, bytes: Cow::Owned(bytes) }
    }

    /// A tensor of 32-bit floats.
    pub fn f32(name: impl Into<Cow<'a, str>>, shape: Vec<usize>, values: &[f32]) -> Self {
        Self { name: name.into(), dtype: Dtype::F32, shape, bytes: Cow::Owned(f32_to_bytes(values)) }
    }
}

/// The values of little-endian `bytes`; a remainder of less than 4 bytes is ignored.
pub fn f32_from_bytes(bytes: &[u8]) -> impl Iterator<Item = f32> {
    let (words, _) = bytes.as_chunks();
    words.iter().map(|word| f32::from_le_bytes(*word))
}

/// The little-endian bytes of `values`.
fn f32_to_bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// Tensors as the crate's type, and the one entry of metadata.
type Prepared<'t> = (Vec<(&'t str, TensorView<'t>)>, Option<HashMap<String, String>>);

fn prepare<'t>(tensors: &'t [NamedTensor<'_>], key: &str, text: String) -> io::Result<Prepared<'t>> {
    let view = |tensor: &'t NamedTensor<'_>| {
        let view = TensorView::new(tensor.dtype, tensor.shape.clone(), &tensor.bytes)?;
        Ok::<_, SafeTensorError>((&*tensor.name, view))
    };
    let views = tensors.iter().map(view).collect::<Result<Vec<_>, _>>();
    Ok((views.map_err(io::Error::other)?, Some(HashMap::from([(key.to_owned(), text)]))))
}

/// The bytes of a file with `tensors` and, as metadata under `key`, a text.
///
/// # Errors
///
/// A shape that does not match the tensor's values.
pub fn encode(tensors: &[NamedTensor<'_>], key: &str, text: String) -> io::Result<Vec<u8>> {
    let (views, metadata) = prepare(tensors, key, text)?;
    safetensors::serialize(views, metadata).map_err(io::Error::other)
}

/// Writes `tensors` and `config` to `path`.
///
/// # Errors
///
/// The file cannot be written, or a shape does not match the tensor's values.
pub fn write_tensors<C: Serialize>(
    path: &Path,
    tensors: &[NamedTensor<'_>],
    config: &C,
) -> Result<(), TensorError> {
    let written = serde_json::to_string(config).map_err(io::Error::from).and_then(|config| {
        let (views, metadata) = prepare(tensors, CONFIG, config)?;
        safetensors::serialize_to_file(views, metadata, path).map_err(|error| match error {
            SafeTensorError::IoError(source) => source,
            other => io::Error::other(other),
        })
    });
    written.map_err(TensorError::io(path))
}

/// A safetensors file opened for reading.
pub struct TensorFile<R = File> {
    path: PathBuf,
    reader: R,
    metadata: Metadata,
    /// Byte offset of the first tensor.
    start: u64,
}

impl TensorFile {
    /// Opens `path` and checks its header and its size.
    ///
    /// # Errors
    ///
    /// The file cannot be read, or is not a safetensors file.
    pub fn open(path: &Path) -> Result<Self, TensorError> {
        let file = open_regular(path).map_err(TensorError::io(path))?;
        let size = file.metadata().map_err(TensorError::io(path))?.len();
        Self::read(path, file, size)
    }
}

impl<'b> TensorFile<Cursor<&'b [u8]>> {
    /// Checks the header and the size of the content of `path`.
    ///
    /// # Errors
    ///
    /// The content is not a safetensors file.
    pub fn of_bytes(path: &Path, bytes: &'b [u8]) -> Result<Self, TensorError> {
        Self::read(path, Cursor::new(bytes), bytes.len() as u64)
    }
}

impl<R: Read + Seek> TensorFile<R> {
    fn read(path: &Path, mut reader: R, size: u64) -> Result<Self, TensorError> {
        let io = TensorError::io(path);
        let mut prefix = [0; 8];
        if size < 8 {
            return Err(TensorError::content(path, size, "the file ends before its header"));
        }
        reader.read_exact(&mut prefix).map_err(&io)?;
        let header_len = u64::from_le_bytes(prefix);
        if header_len > MAX_HEADER || header_len > size - 8 {
            return Err(TensorError::content(path, 0, "not a safetensors file"));
        }
        let mut header = vec![0; header_len as usize];
        reader.read_exact(&mut header).map_err(&io)?;
        let metadata: Metadata = serde_json::from_slice(&header)
            .map_err(|error| TensorError::content(path, 8, format!("damaged safetensors header: {error}")))?;
        let start = 8 + header_len;
        let expected = start + metadata.data_len() as u64;
        if size != expected {
            let problem = format!("the header declares {expected} bytes, but the file has {size}");
            return Err(TensorError::content(path, size.min(expected), problem));
        }
        Ok(Self { path: path.to_owned(), reader, metadata, start })
    }

    /// The text under a key of the metadata.
    pub fn text(&self, key: &str) -> Option<&str> {
        Some(self.metadata.metadata().as_ref()?.get(key)?)
    }

    /// Reads the JSON text in the metadata.
    ///
    /// # Errors
    ///
    /// It is missing, or does not have the expected form.
    pub fn config<C: DeserializeOwned>(&self) -> Result<C, TensorError> {
        let text = self.text(CONFIG);
        let text = text.ok_or_else(|| self.wrong(None, format!("its metadata has no `{CONFIG}`")))?;
        serde_json::from_str(text)
            .map_err(|error| self.wrong(None, format!("its metadata `{CONFIG}` is damaged: {error}")))
    }

    /// The names and shapes of all tensors, in their order in the file.
    pub fn shapes(&self) -> Vec<(String, Vec<usize>)> {
        let names = self.metadata.offset_keys().into_iter();
        names.filter_map(|name| self.shape(&name).map(|shape| (name, shape))).collect()
    }

    fn shape(&self, name: &str) -> Option<Vec<usize>> {
        Some(self.metadata.info(name)?.shape.clone())
    }

    /// The type and the shape of a tensor, if the file has it.
    pub fn info(&self, name: &str) -> Option<(Dtype, &[usize])> {
        self.metadata.info(name).map(|info| (info.dtype, info.shape.as_slice()))
    }

    /// Reads a tensor of bytes: its shape, of `RANK` dimensions, and its values.
    ///
    /// # Errors
    ///
    /// It is missing, has another type or rank, or cannot be read.
    pub fn u8<const RANK: usize>(&mut self, name: &str) -> Result<([usize; RANK], Vec<u8>), TensorError> {
        self.typed(name, Dtype::U8)
    }

    /// Reads a tensor of unsigned 32-bit integers: its shape and its values.
    ///
    /// # Errors
    ///
    /// Those of [`TensorFile::u8`].
    pub fn u32<const RANK: usize>(&mut self, name: &str) -> Result<([usize; RANK], Vec<u32>), TensorError> {
        let (shape, bytes) = self.typed(name, Dtype::U32)?;
        let (words, _) = bytes.as_chunks();
        Ok((shape, words.iter().map(|word| u32::from_le_bytes(*word)).collect()))
    }

    /// Reads a tensor of 32-bit floats: its shape and its values.
    ///
    /// # Errors
    ///
    /// Those of [`TensorFile::u8`].
    pub fn f32<const RANK: usize>(&mut self, name: &str) -> Result<([usize; RANK], Vec<f32>), TensorError> {
        let (shape, bytes) = self.typed(name, Dtype::F32)?;
        Ok((shape, f32_from_bytes(&bytes).collect()))
    }

    /// Reads the little-endian values of a tensor of any type and rank.
    ///
    /// # Errors
    ///
    /// It is missing, or cannot be read.
    pub fn bytes(&mut self, name: &str) -> Result<Vec<u8>, TensorError> {
        let info = self.metadata.info(name);
        let info = info.ok_or_else(|| self.wrong(None, format!("the tensor `{name}` is missing")))?;
        let (offset, len) = (self.offset(info), info.data_offsets.1 - info.data_offsets.0);
        let mut bytes = vec![0; len];
        self.reader.seek(SeekFrom::Start(offset)).map_err(TensorError::io(&self.path))?;
        self.reader.read_exact(&mut bytes).map_err(TensorError::io(&self.path))?;
        Ok(bytes)
    }

    /// A fault in the tensor `name`, with its byte offset.
    pub fn damaged(&self, name: &str, problem: impl std::fmt::Display) -> TensorError {
        let offset = self.metadata.info(name).map(|info| self.offset(info));
        self.wrong(offset, format!("tensor `{name}`: {problem}"))
    }

    /// A fault in the content of the file.
    pub fn unusable(&self, problem: impl std::fmt::Display) -> TensorError {
        self.wrong(None, problem.to_string())
    }

    fn typed<const RANK: usize>(
        &mut self,
        name: &str,
        dtype: Dtype,
    ) -> Result<([usize; RANK], Vec<u8>), TensorError> {
        let Some((found, shape)) = self.info(name) else {
            return Err(self.wrong(None, format!("the tensor `{name}` is missing")));
        };
        match <[usize; RANK]>::try_from(shape) {
            Ok(shape) if found == dtype => Ok((shape, self.bytes(name)?)),
            _ => {
                let found = format!("is {found:?} of shape {shape:?}");
                Err(self.damaged(name, format!("{found}; expected {dtype:?} with {RANK} dimensions")))
            }
        }
    }

    fn offset(&self, info: &TensorInfo) -> u64 {
        self.start + info.data_offsets.0 as u64
    }

    fn wrong(&self, offset: Option<u64>, problem: String) -> TensorError {
        TensorError::content(&self.path, offset, problem)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(folder: &Path) -> PathBuf {
        let path = folder.join("a");
        let tensors = [NamedTensor::u8("x", vec![2, 2], &[1, 2, 3, 4]), NamedTensor::u32("y", vec![1], &[7])];
        write_tensors(&path, &tensors, &serde_json::json!({"k": 1})).unwrap();
        path
    }

    #[test]
    fn what_is_written_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = TensorFile::open(&written(folder.path())).unwrap();
        assert_eq!(file.u8("x").unwrap(), ([2, 2], vec![1, 2, 3, 4]));
        assert_eq!(file.u32("y").unwrap(), ([1], vec![7]));
        assert_eq!(file.config::<serde_json::Value>().unwrap(), serde_json::json!({"k": 1}));
    }

    /// Artifacts are addressed by the hash of their bytes: a newer crate must write the same bytes.
    #[test]
    fn the_bytes_of_a_file_are_fixed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        let tensors = [
            NamedTensor::f32("c", vec![2], &[1.0, -2.5]),
            NamedTensor::u8("b", vec![1, 3], &[7, 8, 9]),
            NamedTensor::i64("d", vec![], &[-1]),
            NamedTensor::u32("a", vec![2], &[1, 2]),
        ];
        write_tensors(&path, &tensors, &serde_json::json!({"classes": ["x", "y"]})).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        let header = concat!(
            r#"{"__metadata__":{"config":"{\"classes\":[\"x\",\"y\"]}"},"#,
            r#""d":{"dtype":"I64","shape":[],"data_offsets":[0,8]},"#,
            r#""c":{"dtype":"F32","shape":[2],"data_offsets":[8,16]},"#,
            r#""a":{"dtype":"U32","shape":[2],"data_offsets":[16,24]},"#,
            r#""b":{"dtype":"U8","shape":[1,3],"data_offsets":[24,27]}}"#,
        );
        let padded = format!("{header:width$}", width = header.len().next_multiple_of(8));
        let values = [255, 255, 255, 255, 255, 255, 255, 255, 0, 0, 128, 63, 0, 0, 32, 192];
        let values = [&values[..], &[1, 0, 0, 0, 2, 0, 0, 0, 7, 8, 9]].concat();
        let length = (padded.len() as u64).to_le_bytes();
        assert_eq!(bytes, [&length[..], padded.as_bytes(), &values].concat());
        let text = r#"{"classes":["x","y"]}"#.to_owned();
        assert_eq!(encode(&tensors, CONFIG, text).unwrap(), bytes);
    }

    #[test]
    fn a_file_in_memory_is_read_like_one_on_disk() {
        let bytes = encode(&[NamedTensor::f32("x", vec![1, 2], &[0.5, 3.0])], "note", "hello".to_owned());
        let bytes = bytes.unwrap();
        let mut file = TensorFile::of_bytes(Path::new("memory"), &bytes).unwrap();
        assert_eq!((file.text("note"), file.text("other")), (Some("hello"), None));
        assert_eq!(file.shapes(), [("x".to_owned(), vec![1, 2])]);
        assert_eq!(file.info("x"), Some((Dtype::F32, &[1, 2][..])));
        assert_eq!(file.f32("x").unwrap(), ([1, 2], vec![0.5, 3.0]));
        assert_eq!(file.bytes("x").unwrap(), [0, 0, 0, 63, 0, 0, 64, 64]);
        assert!(TensorFile::of_bytes(Path::new("memory"), &bytes[..bytes.len() - 1]).is_err());
    }

    #[test]
    fn faults_are_named_with_file_tensor_and_offset() {
        let folder = tempfile::tempdir().unwrap();
        let path = written(folder.path());
        let mut file = TensorFile::open(&path).unwrap();
        assert!(
            file.f32::<1>("y")
                .unwrap_err()
                .to_string()
                .contains("tensor `y`: is U32 of shape [1]; expected F32")
        );
        assert!(file.u8::<1>("z").unwrap_err().to_string().contains("the tensor `z` is missing"));

        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
        let message = TensorFile::open(&path).err().unwrap().to_string();
        assert!(message.contains(&format!("declares {} bytes", bytes.len())), "{message}");
        std::fs::write(&path, b"abc").unwrap();
        assert!(TensorFile::open(&path).err().unwrap().to_string().contains("byte 3: the file ends"));
        std::fs::write(&path, [255; 64]).unwrap();
        assert!(TensorFile::open(&path).err().unwrap().to_string().contains("not a safetensors file"));
    }
}
