//! Exports a model as a PyTorch file, or as safetensors with PyTorch's names and layout.

use std::fs::File;
use std::io::{self, Cursor, Write};
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::entry::{Entry, Values, entries};
use super::{Model, pytorch};
use crate::files::tensors::{self, NamedTensor};
use crate::files::{Durability, write_whole_with};

/// The format of an exported model. All formats hold a bare state dict for `model.load_state_dict(..., strict=True)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// The format of `torch.save(model.state_dict(), ...)`, for `torch.load(..., weights_only=True)`.
    PyTorch,
    /// For `safetensors.torch.load_file`.
    Safetensors,
}

impl Format {
    /// The format that a file's name shows: `.safetensors`, or one of PyTorch's (`.pt`, `.pth`, `.tar`, `.ckpt`).
    pub fn of(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
            "safetensors" => Some(Self::Safetensors),
            "pt" | "pth" | "tar" | "ckpt" => Some(Self::PyTorch),
            _ => None,
        }
    }
}

/// Why a model could not be exported.
#[derive(Debug, Error)]
#[error("{}: {source}", path.display())]
pub struct ExportError {
    path: PathBuf,
    source: io::Error,
}

/// Writes `model` to `path`, which is replaced atomically. Equal models give equal bytes.
///
/// # Errors
///
/// The file cannot be written, or the weights do not match the architecture.
pub fn export(model: &Model, path: &Path, format: Format) -> Result<(), ExportError> {
    let written = write_whole_with(path, Durability::Name, |file| write(model, file, format));
    written.map_err(|source| ExportError { path: path.to_owned(), source })
}

/// Writes `model` into a file.
///
/// # Errors
///
/// The file cannot be written, or the weights do not match the architecture.
pub fn write(model: &Model, file: &mut File, format: Format) -> io::Result<()> {
    model.check(&model.graph()).map_err(io::Error::other)?;
    let entries = entries(model);
    match format {
        Format::PyTorch => {
            // The archive is written to memory: the zip writer prints if it is dropped after an error of the disk.
            let mut archive = Cursor::new(vec![]);
            pytorch::write(&entries, &mut archive).map_err(io::Error::other)?;
            file.write_all(archive.get_ref())
        }
        Format::Safetensors => file.write_all(&safetensors(&entries)?),
    }
}

/// The bytes of a safetensors file. Its Python library expects `format: pt`.
fn safetensors(entries: &[Entry]) -> io::Result<Vec<u8>> {
    let tensor = |Entry { name, shape, values }: &Entry| match values {
        Values::F32(values) => NamedTensor::f32(name.clone(), shape.clone(), values),
        Values::I64(values) => NamedTensor::i64(name.clone(), shape.clone(), values),
    };
    let tensors: Vec<_> = entries.iter().map(tensor).collect();
    tensors::encode(&tensors, "format", "pt".to_owned())
}
