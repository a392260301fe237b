//! A tensor as PyTorch pickles it: a strided view of a storage.

use std::rc::Rc;

use half::{bf16, f16};

use super::super::layout::positions;

/// Larger than any layer's rank.
pub(super) const MAX_RANK: usize = 8;

/// The type of a storage's elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::models) enum DType {
    F64,
    F32,
    F16,
    Bf16,
    I64,
    I32,
    I16,
    Byte,
}

impl DType {
    /// The type of the elements of the class `torch.<name>`.
    pub fn of_storage(name: &str) -> Option<Self> {
        Some(match name {
            "DoubleStorage" => Self::F64,
            "FloatStorage" => Self::F32,
            "HalfStorage" => Self::F16,
            "BFloat16Storage" => Self::Bf16,
            "LongStorage" => Self::I64,
            "IntStorage" => Self::I32,
            "ShortStorage" => Self::I16,
            "CharStorage" | "ByteStorage" | "BoolStorage" => Self::Byte,
            _ => return None,
        })
    }

    /// Bytes of an element.
    pub fn size(self) -> usize {
        match self {
            Self::F64 | Self::I64 => 8,
            Self::F32 | Self::I32 => 4,
            Self::F16 | Self::Bf16 | Self::I16 => 2,
            Self::Byte => 1,
        }
    }

    /// The elements of little-endian `bytes`; `None` if they are not floating-point numbers.
    pub fn decode(self, bytes: &[u8]) -> Option<Vec<f32>> {
        fn each<const N: usize>(bytes: &[u8], decode: impl Fn([u8; N]) -> f32) -> Vec<f32> {
            let (elements, _) = bytes.as_chunks();
            elements.iter().map(|&element| decode(element)).collect()
        }
        Some(match self {
            Self::F64 => each(bytes, |element| f64::from_le_bytes(element) as f32),
            Self::F32 => each(bytes, f32::from_le_bytes),
            Self::F16 => each(bytes, |element| f16::from_le_bytes(element).to_f32()),
            Self::Bf16 => each(bytes, |element| bf16::from_le_bytes(element).to_f32()),
            Self::I64 | Self::I32 | Self::I16 | Self::Byte => return None,
        })
    }
}

/// A block of elements, identified by its key; the container has the bytes.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Storage {
    pub key: String,
    pub dtype: DType,
    /// Number of elements.
    pub len: usize,
}

impl Storage {
    /// The number of bytes; `None` if it overflows.
    pub fn bytes(&self) -> Option<usize> {
        self.len.checked_mul(self.dtype.size())
    }
}

/// A strided view of a storage, inside its bounds.
#[derive(Debug)]
pub(super) struct Tensor {
    pub storage: Rc<Storage>,
    pub shape: Vec<usize>,
    strides: Vec<usize>,
    /// The position of the first element.
    offset: usize,
}

impl Tensor {
    /// Makes a view; `None` if it exceeds the storage, or its rank is too large.
    pub fn new(storage: Rc<Storage>, offset: usize, shape: Vec<usize>, strides: Vec<usize>) -> Option<Self> {
        if shape.len() != strides.len() || shape.len() > MAX_RANK {
            return None;
        }
        let count = shape.iter().try_fold(1usize, |count, &size| count.checked_mul(size))?;
        if count > 0 {
            let reach = |last: usize, (&size, &stride): (&usize, &usize)| {
                last.checked_add((size - 1).checked_mul(stride)?)
            };
            let last = shape.iter().zip(&strides).try_fold(offset, reach)?;
            if last >= storage.len {
                return None;
            }
        }
        Some(Self { storage, shape, strides, offset })
    }

    /// The values in row-major order, given the storage's elements.
    pub fn gather(&self, elements: &[f32]) -> Vec<f32> {
        positions(&self.shape, &self.strides, self.offset).map(|at| elements[at]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(len: usize, offset: usize, shape: &[usize], strides: &[usize]) -> Option<Tensor> {
        let storage = Rc::new(Storage { key: "0".into(), dtype: DType::F32, len });
        Tensor::new(storage, offset, shape.to_vec(), strides.to_vec())
    }

    #[test]
    fn a_view_stays_inside_its_storage() {
        let elements: Vec<f32> = (0..6u8).map(f32::from).collect();
        assert_eq!(view(6, 1, &[2, 2], &[1, 3]).unwrap().gather(&elements), [1.0, 4.0, 2.0, 5.0]);
        assert!(view(6, 2, &[2, 2], &[1, 3]).is_none());
        assert!(view(6, 6, &[1], &[1]).is_none());
        assert!(view(6, 9, &[2, 0], &[1, 1]).is_some());
        assert!(view(6, 0, &[2], &[1, 1]).is_none());
        assert!(view(6, 0, &[2, usize::MAX], &[usize::MAX, 0]).is_none());
        assert!(view(6, 0, &[2], &[usize::MAX]).is_none());
        assert!(view(6, 0, &[1; 9], &[1; 9]).is_none());
    }

    #[test]
    fn all_floating_point_types_are_decoded_and_no_others() {
        assert_eq!(DType::F64.decode(&0.25f64.to_le_bytes()).unwrap(), [0.25]);
        assert_eq!(DType::F32.decode(&(-1.5f32).to_le_bytes()).unwrap(), [-1.5]);
        assert_eq!(DType::F16.decode(&[0x00, 0xc1]).unwrap(), [-2.5]);
        assert_eq!(DType::Bf16.decode(&[0x40, 0x40]).unwrap(), [3.0]);
        assert_eq!(DType::I64.decode(&[0; 8]), None);
    }
}
