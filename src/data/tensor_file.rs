//! Safetensors files with deterministic bytes: named tensors and one JSON text, `config`.
//!
//! The crate `safetensors` orders tensors by type and name, so equal content gives equal bytes if there is at most one
//! metadata key. Tensors are read one by one: the file itself is never in memory.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use safetensors::tensor::{Dtype, Metadata, SafeTensorError, TensorInfo, TensorView};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::DataError;

const CONFIG: &str = "config";
/// The limit on the size of a header: ours have a few hundred bytes.
const MAX_HEADER: u64 = 1 << 20;

/// A tensor to write.
pub struct NamedTensor<'a> {
    name: &'static str,
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Cow<'a, [u8]>,
}

impl<'a> NamedTensor<'a> {
    /// A tensor of bytes.
    pub fn u8(name: &'static str, shape: Vec<usize>, values: &'a [u8]) -> Self {
        Self { name, dtype: Dtype::U8, shape, bytes: Cow::Borrowed(values) }
    }

    /// A tensor of unsigned 32-bit integers.
    pub fn u32(name: &'static str, shape: Vec<usize>, values: &[u32]) -> Self {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        Self { name, dtype: Dtype::U32, shape, bytes: Cow::Owned(bytes) }
    }

    /// A tensor of 32-bit floats.
    pub fn f32(name: &'static str, shape: Vec<usize>, values: &[f32]) -> Self {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        Self { name, dtype: Dtype::F32, shape, bytes: Cow::Owned(bytes) }
    }
}

/// Writes `tensors` and `config` to `path`.
pub fn write_tensors<C: Serialize>(
    path: &Path,
    tensors: &[NamedTensor<'_>],
    config: &C,
) -> Result<(), DataError> {
    let failed =
        |problem: String| DataError::Io { path: path.to_owned(), source: std::io::Error::other(problem) };
    let config = serde_json::to_string(config).map_err(|error| failed(error.to_string()))?;
    let views = tensors
        .iter()
        .map(|tensor| Ok((tensor.name, TensorView::new(tensor.dtype, tensor.shape.clone(), &tensor.bytes)?)))
        .collect::<Result<Vec<_>, SafeTensorError>>()
        .map_err(|error| failed(error.to_string()))?;
    let metadata = HashMap::from([(CONFIG.to_owned(), config)]);
    safetensors::serialize_to_file(views, Some(metadata), path).map_err(|error| match error {
        SafeTensorError::IoError(source) => DataError::Io { path: path.to_owned(), source },
        other => failed(other.to_string()),
    })
}

/// A safetensors file opened for reading.
pub struct TensorFile {
    path: PathBuf,
    file: File,
    metadata: Metadata,
    /// Byte offset of the first tensor.
    start: u64,
}

impl TensorFile {
    /// Opens `path` and checks its header and its size.
    pub fn open(path: &Path) -> Result<Self, DataError> {
        let io = |error| DataError::Io { path: path.to_owned(), source: error };
        let mut file = File::open(path).map_err(io)?;
        let size = file.metadata().map_err(io)?.len();
        let mut prefix = [0; 8];
        if size < 8 {
            return Err(DataError::damaged(path, size, "the file ends before its header"));
        }
        file.read_exact(&mut prefix).map_err(io)?;
        let header_len = u64::from_le_bytes(prefix);
        if header_len > MAX_HEADER || header_len > size - 8 {
            return Err(DataError::damaged(path, 0, "not a safetensors file of this program"));
        }
        let mut header = vec![0; header_len as usize];
        file.read_exact(&mut header).map_err(io)?;
        let metadata: Metadata = serde_json::from_slice(&header).map_err(|error| {
            DataError::damaged(path, 8, format!("unreadable safetensors header: {error}"))
        })?;
        let start = 8 + header_len;
        let expected = start + metadata.data_len() as u64;
        if size != expected {
            let problem = format!("the header announces {expected} bytes, the file has {size}");
            return Err(DataError::damaged(path, size.min(expected), problem));
        }
        Ok(Self { path: path.to_owned(), file, metadata, start })
    }

    /// Reads the JSON text in the metadata.
    pub fn config<C: DeserializeOwned>(&self) -> Result<C, DataError> {
        let text = self.metadata.metadata().as_ref().and_then(|metadata| metadata.get(CONFIG));
        let text = text.ok_or_else(|| self.wrong(None, format!("its metadata has no `{CONFIG}`")))?;
        serde_json::from_str(text)
            .map_err(|error| self.wrong(None, format!("its metadata `{CONFIG}` is unreadable: {error}")))
    }

    /// Reads a tensor of bytes: its shape, of `RANK` dimensions, and its values.
    pub fn u8<const RANK: usize>(&mut self, name: &str) -> Result<([usize; RANK], Vec<u8>), DataError> {
        self.read(name, Dtype::U8)
    }

    /// Reads a tensor of unsigned 32-bit integers: its shape and its values.
    pub fn u32<const RANK: usize>(&mut self, name: &str) -> Result<([usize; RANK], Vec<u32>), DataError> {
        let (shape, bytes) = self.read(name, Dtype::U32)?;
        let (words, _) = bytes.as_chunks();
        Ok((shape, words.iter().map(|word| u32::from_le_bytes(*word)).collect()))
    }

    /// Reads a tensor of 32-bit floats: its shape and its values.
    pub fn f32<const RANK: usize>(&mut self, name: &str) -> Result<([usize; RANK], Vec<f32>), DataError> {
        let (shape, bytes) = self.read(name, Dtype::F32)?;
        let (words, _) = bytes.as_chunks();
        Ok((shape, words.iter().map(|word| f32::from_le_bytes(*word)).collect()))
    }

    /// A fault in the tensor `name`, with its byte offset.
    pub(crate) fn damaged(&self, name: &str, problem: impl std::fmt::Display) -> DataError {
        let offset = self.metadata.info(name).map(|info| self.offset(info));
        self.wrong(offset, format!("tensor `{name}`: {problem}"))
    }

    /// A fault in the content of the file.
    pub fn unusable(&self, problem: impl std::fmt::Display) -> DataError {
        self.wrong(None, problem.to_string())
    }

    fn read<const RANK: usize>(
        &mut self,
        name: &str,
        dtype: Dtype,
    ) -> Result<([usize; RANK], Vec<u8>), DataError> {
        let info = self.metadata.info(name);
        let info = info.ok_or_else(|| self.wrong(None, format!("the tensor `{name}` is missing")))?;
        let shape: [usize; RANK] = match info.shape.as_slice().try_into() {
            Ok(shape) if info.dtype == dtype => shape,
            _ => {
                let found = format!("is {:?} of shape {:?}", info.dtype, info.shape);
                return Err(self.damaged(name, format!("{found}; expected {dtype:?} with {RANK} dimensions")));
            }
        };
        let (offset, len) = (self.offset(info), info.data_offsets.1 - info.data_offsets.0);
        let mut bytes = vec![0; len];
        self.file.seek(SeekFrom::Start(offset)).map_err(DataError::io(&self.path))?;
        self.file.read_exact(&mut bytes).map_err(DataError::io(&self.path))?;
        Ok((shape, bytes))
    }

    fn offset(&self, info: &TensorInfo) -> u64 {
        self.start + info.data_offsets.0 as u64
    }

    fn wrong(&self, offset: Option<u64>, problem: String) -> DataError {
        DataError::damaged(&self.path, offset, problem)
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
        assert!(message.contains(&format!("announces {} bytes", bytes.len())), "{message}");
        std::fs::write(&path, b"abc").unwrap();
        assert!(TensorFile::open(&path).err().unwrap().to_string().contains("byte 3: the file ends"));
        std::fs::write(&path, [255; 64]).unwrap();
        assert!(TensorFile::open(&path).err().unwrap().to_string().contains("not a safetensors file"));
    }
}
