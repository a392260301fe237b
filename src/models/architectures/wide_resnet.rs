//! Wide residual networks for small images (Zagoruyko and Komodakis 2016), pre-activation.
//!
//! Slots have the names of the `state_dict` of the NAD and ARGD reference implementations.

use super::block::pre_activation;
use super::{Architecture, Family, Known, Sizes};
use crate::nn::graph::Graph;
use crate::shape::Shape;

pub(super) const FAMILY: Family = Family {
    form: "wrn-<depth>-<width>",
    sizes: "with depth 10, 16, 22, ... (6n + 4)",
    misnomers: &[],
    known: &[
        Known { name: "wrn-10-1", parameters: 77_850, statistics: 480 },
        Known { name: "wrn-10-2", parameters: 303_706, statistics: 928 },
        Known { name: "wrn-16-1", parameters: 175_066, statistics: 928 },
        Known { name: "wrn-16-2", parameters: 691_674, statistics: 1_824 },
        Known { name: "wrn-40-1", parameters: 563_930, statistics: 2_720 },
        Known { name: "wrn-40-2", parameters: 2_243_546, statistics: 5_408 },
    ],
    names_of: "NAD, ARGD, ABL",
    taps: "the outputs of the three groups: sums, before batch normalization and ReLU",
    check,
    graph,
};

/// The network of the reference implementations.
pub(super) const WRN_16_1: Architecture = Architecture { family: &FAMILY, sizes: [16, 1] };

const MAX_DEPTH: usize = 202;
const MAX_WIDTH: usize = 32;

fn check([depth, width]: Sizes) -> Result<(), String> {
    if !(10..=MAX_DEPTH).contains(&depth) || !(depth - 4).is_multiple_of(6) {
        return Err(format!("the depth must be 10, 16, 22, ... (6n + 4), up to {MAX_DEPTH}"));
    }
    if !(1..=MAX_WIDTH).contains(&width) {
        return Err(format!("the width must be between 1 and {MAX_WIDTH}"));
    }
    Ok(())
}

/// Builds `wrn-<depth>-<width>`: three groups of (depth - 4) / 6 blocks with 16, 32, 64 times `width` channels.
///
/// The taps are the raw outputs of the groups: sums, before any batch normalization or ReLU.
fn graph(image: Shape, classes: usize, [depth, width]: Sizes) -> Graph {
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
        graph(Shape { height: 32, width: 32, channels: 3 }, 10, [16, width])
    }

    /// The entries of the reference's `state_dict` of WRN-16-1, from its documentation, in our layout.
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
        // The reference's 82 entries also count one `num_batches_tracked` for each of the 13 batch normalizations.
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
