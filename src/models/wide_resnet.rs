//! Wide residual networks for small images (Zagoruyko and Komodakis 2016), pre-activation.
//!
//! Slots are named as the `state_dict` of the NAD and ARGD reference implementations names them.

use super::block::pre_activation;
use crate::nn::graph::Graph;
use crate::shape::Shape;

/// Builds `wrn-<depth>-<width>`: three groups of (depth - 4) / 6 blocks with 16, 32, 64 times `width` channels.
///
/// The taps are the raw outputs of the groups: sums, before any batch normalisation or ReLU.
pub(super) fn graph(image: Shape, classes: usize, depth: usize, width: usize) -> Graph {
    let blocks = (depth - 4) / 6;
    let (mut g, x) = Graph::new(image);
    let mut x = g.conv("conv1", x, 16, 3, 1);
    for (group, channels, stride) in [(1, 16 * width, 1), (2, 32 * width, 2), (3, 64 * width, 2)] {
        for layer in 0..blocks {
            let name = format!("block{group}.layer.{layer}");
            let stride = if layer == 0 { stride } else { 1 };
            x = pre_activation(&mut g, &name, "convShortcut", x, channels, stride);
        }
        g.taps.push(x);
    }
    x = g.batch_norm("bn1", x);
    x = g.relu(x);
    x = g.global_avg_pool(x);
    g.logits = g.linear("fc", x, classes);
    g
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::nn::graph::Id;

    fn wrn_16(width: usize) -> Graph {
        graph(Shape { height: 32, width: 32, channels: 3 }, 10, 16, width)
    }

    /// The entries of the reference's `state_dict` of WRN-16-1, written down from its documentation, in our layout.
    fn reference_entries() -> BTreeMap<String, Vec<usize>> {
        let mut entries = BTreeMap::new();
        let mut put = |key: String, shape: &[usize]| assert!(entries.insert(key, shape.to_vec()).is_none());
        let bn = |put: &mut dyn FnMut(String, &[usize]), name: &str, channels: usize| {
            for part in ["weight", "bias", "running_mean", "running_var"] {
                put(format!("{name}.{part}"), &[channels]);
            }
        };
        put("conv1.weight".into(), &[3, 3, 3, 16]);
        for (group, cin, c) in [("block1", 16, 16), ("block2", 16, 32), ("block3", 32, 64)] {
            for layer in 0..2 {
                let name = format!("{group}.layer.{layer}");
                let cin = if layer == 0 { cin } else { c };
                bn(&mut put, &format!("{name}.bn1"), cin);
                put(format!("{name}.conv1.weight"), &[3, 3, cin, c]);
                bn(&mut put, &format!("{name}.bn2"), c);
                put(format!("{name}.conv2.weight"), &[3, 3, c, c]);
            }
        }
        put("block2.layer.0.convShortcut.weight".into(), &[1, 1, 16, 32]);
        put("block3.layer.0.convShortcut.weight".into(), &[1, 1, 32, 64]);
        bn(&mut put, "bn1", 64);
        put("fc.weight".into(), &[64, 10]);
        put("fc.bias".into(), &[10]);
        entries
    }

    #[test]
    fn slots_are_the_entries_of_the_reference() {
        let graph = wrn_16(1);
        let slots: BTreeMap<_, _> = graph
            .theta
            .iter()
            .chain(&graph.state)
            .map(|slot| (slot.name.clone(), slot.shape.clone()))
            .collect();
        assert_eq!(slots, reference_entries());
        // The reference's 82 entries also count one `num_batches_tracked` for each of the 13 batch normalisations.
        assert_eq!(slots.len() + 13, 82);
    }

    #[test]
    fn taps_are_the_sums_that_end_the_groups() {
        let graph = wrn_16(2);
        let shapes: Vec<_> = graph.taps.iter().map(|&tap| graph.shape(tap)).collect();
        let shape = |side, channels| Shape { height: side, width: side, channels };
        assert_eq!(shapes, [shape(32, 32), shape(16, 64), shape(8, 128)]);
        for &Id(tap) in &graph.taps {
            assert!(matches!(graph.nodes[tap].op, crate::nn::graph::Op::Add { .. }));
        }
    }

    #[test]
    fn only_a_change_of_channels_has_a_shortcut_convolution() {
        let shortcuts =
            |width| wrn_16(width).theta.iter().filter(|s| s.name.contains("convShortcut")).count();
        assert_eq!((shortcuts(1), shortcuts(2)), (2, 3));
    }
}
