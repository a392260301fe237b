//! Converts between PyTorch's layout of a tensor and ours.
//!
//! PyTorch stores convolutions as (out, in, row, column) and linear layers as (out, in); ours are (row, column, in,
//! out) and (in, out), see [`crate::nn::graph::Slot::shape`]. Vectors are the same in both.

/// The axes of our layout in PyTorch's order.
fn torch_axes(rank: usize) -> Vec<usize> {
    match rank {
        4 => vec![3, 2, 0, 1],
        2 => vec![1, 0],
        _ => (0..rank).collect(),
    }
}

/// PyTorch's shape of a tensor whose shape in our layout is `ours`.
pub(super) fn torch_shape(ours: &[usize]) -> Vec<usize> {
    torch_axes(ours.len()).into_iter().map(|axis| ours[axis]).collect()
}

/// Reorders values of shape `ours` from our layout to PyTorch's.
pub(super) fn to_torch(values: &[f32], ours: &[usize]) -> Vec<f32> {
    let strides = row_major(ours);
    let strides: Vec<_> = torch_axes(ours.len()).into_iter().map(|axis| strides[axis]).collect();
    positions(&torch_shape(ours), &strides, 0).map(|at| values[at]).collect()
}

/// Reorders values from PyTorch's layout to ours, with shape `ours`.
pub(super) fn from_torch(values: &[f32], ours: &[usize]) -> Vec<f32> {
    let torch_strides = row_major(&torch_shape(ours));
    let mut strides = vec![0; ours.len()];
    for (axis, stride) in torch_axes(ours.len()).into_iter().zip(torch_strides) {
        strides[axis] = stride;
    }
    positions(ours, &strides, 0).map(|at| values[at]).collect()
}

/// The strides of a contiguous tensor: the last axis is the fastest.
pub(super) fn row_major(shape: &[usize]) -> Vec<usize> {
    (0..shape.len()).map(|axis| shape[axis + 1..].iter().product()).collect()
}

/// The positions of a strided tensor's values, from `offset`, in row-major order of `shape`.
pub(super) fn positions(shape: &[usize], strides: &[usize], offset: usize) -> impl Iterator<Item = usize> {
    let count = shape.iter().product();
    let mut index = vec![0; shape.len()];
    let mut next = offset;
    (0..count).map(move |_| {
        let at = next;
        for axis in (0..shape.len()).rev() {
            index[axis] += 1;
            next += strides[axis];
            if index[axis] < shape[axis] {
                break;
            }
            next -= strides[axis] * shape[axis];
            index[axis] = 0;
        }
        at
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_convolution_and_a_linear_layer_are_transposed_and_back() {
        // Values that encode their own place: (out, in, row, column) as digits.
        let torch: Vec<f32> = (0..2 * 3 * 2 * 2)
            .map(|i| ((i / 12) * 1000 + (i / 4 % 3) * 100 + (i / 2 % 2) * 10 + i % 2) as f32)
            .collect();
        let ours = from_torch(&torch, &[2, 2, 3, 2]);
        assert_eq!(ours[..4], [0.0, 1000.0, 100.0, 1100.0]);
        assert_eq!(ours[6..8], [1.0, 1001.0]);
        assert_eq!(to_torch(&ours, &[2, 2, 3, 2]), torch);
        assert_eq!(torch_shape(&[2, 2, 3, 2]), [2, 3, 2, 2]);

        assert_eq!(from_torch(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], &[3, 2]), [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
        assert_eq!(to_torch(&[1.0, 4.0, 2.0, 5.0, 3.0, 6.0], &[3, 2]), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        assert_eq!(from_torch(&[1.0, 2.0], &[2]), [1.0, 2.0]);
    }

    #[test]
    fn scalars_and_empty_tensors_have_positions() {
        assert_eq!(positions(&[], &[], 3).collect::<Vec<_>>(), [3]);
        assert_eq!(positions(&[2, 0], &[1, 1], 0).count(), 0);
        assert_eq!(positions(&[2, 3], &[0, 1], 1).collect::<Vec<_>>(), [1, 2, 3, 1, 2, 3]);
    }
}
