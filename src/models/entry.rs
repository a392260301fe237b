//! A model as the entries of PyTorch's `state_dict`: its names, its layout.

use super::Model;
use super::layout::{to_torch, torch_shape};
use crate::nn::graph::Slot;

/// The end of the name of a running variance; PyTorch has a count of batches next to it.
const VARIANCE: &str = ".running_var";
/// The end of the name of such a count. With a momentum, as in all our networks, PyTorch only increments it.
pub(super) const COUNT: &str = ".num_batches_tracked";

/// A named tensor in PyTorch's layout.
#[derive(Debug)]
pub(super) struct Entry {
    pub name: String,
    pub shape: Vec<usize>,
    pub values: Values,
}

/// The values of a tensor in row-major order.
#[derive(Debug)]
pub(super) enum Values {
    F32(Vec<f32>),
    I64(Vec<i64>),
}

impl Values {
    /// The number of values.
    pub fn len(&self) -> usize {
        match self {
            Self::F32(values) => values.len(),
            Self::I64(values) => values.len(),
        }
    }

    /// Little-endian bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        match self {
            Self::F32(values) => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
            Self::I64(values) => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
        }
    }
}

/// All entries of the network's `state_dict` in PyTorch, for a model of the right length. Batches are not counted: the
/// counts are 0.
pub(super) fn entries(model: &Model) -> Vec<Entry> {
    let graph = model.graph();
    let of = |slot: &Slot, values: &[f32]| {
        let values = Values::F32(to_torch(&values[slot.range()], &slot.shape));
        Entry { name: slot.name.clone(), shape: torch_shape(&slot.shape), values }
    };
    let theta = graph.theta.iter().map(|slot| of(slot, &model.weights.theta));
    let state = graph.state.iter().map(|slot| of(slot, &model.weights.state));
    let counts = graph.state.iter().filter_map(|slot| {
        let name = format!("{}{COUNT}", slot.name.strip_suffix(VARIANCE)?);
        Some(Entry { name, shape: vec![], values: Values::I64(vec![0]) })
    });
    theta.chain(state).chain(counts).collect()
}

#[cfg(test)]
mod tests {
    use super::super::Spec;
    use super::*;
    use crate::shape::Shape;

    /// The entries of PyTorch's `state_dict`, of the same networks with 10 classes.
    #[test]
    fn there_are_as_many_entries_as_in_pytorch() {
        for (name, expected) in [("wrn-16-1", 82), ("preactresnet18", 102)] {
            let image = Shape { height: 8, width: 8, channels: 3 };
            let spec = Spec { architecture: name.parse().unwrap(), image, classes: 10, normalise: None };
            let weights = spec.graph().init(0).into();
            let entries = entries(&Model { spec, weights });
            assert_eq!(entries.len(), expected, "{name}");
            assert!(entries.iter().all(|entry| entry.values.len() == entry.shape.iter().product::<usize>()));
        }
    }
}
