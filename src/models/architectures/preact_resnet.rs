//! Residual networks with pre-activation (He et al. 2016, "Identity Mappings in Deep Residual Networks") for small
//! images: the stem keeps the size, and four stages have 64, 128, 256 and 512 channels.
//!
//! Slots have the names of the `state_dict` of BackdoorBench and of the WaNet reference implementation. Unlike the
//! paper's network, theirs and this one have no batch normalization and ReLU between the last sum and the average
//! pool.

use super::block::pre_activation;
use super::{Family, Known};
use crate::nn::graph::Graph;
use crate::shape::Shape;

pub(super) const FAMILY: Family = Family {
    form: "preactresnet18",
    sizes: "",
    misnomers: &[],
    known: &[Known { name: "preactresnet18", parameters: 11_171_146, statistics: 6_784 }],
    names_of: "BackdoorBench, WaNet",
    taps: "the outputs of the last three stages: sums, before batch normalization and ReLU",
    check: |_| Ok(()),
    graph: |image, classes, _| graph(image, classes),
};

/// Blocks of each stage.
const BLOCKS: usize = 2;

/// Builds `preactresnet18`: four stages of two blocks. Its initial weights are those of all networks here: He's normal
/// distribution and zero biases. BackdoorBench uses PyTorch's defaults.
///
/// The taps are the raw outputs of the last three stages: the defenses compare three maps. (BackdoorBench's NAD takes
/// stages 3 and 4 and the pooled output of stage 4, whose map is a single cell and so constant.)
fn graph(image: Shape, classes: usize) -> Graph {
    let (mut g, x) = Graph::new(image);
    let mut x = g.conv("conv1", x, 64, 3, 1);
    for (stage, channels, stride) in [(1, 64, 1), (2, 128, 2), (3, 256, 2), (4, 512, 2)] {
        for index in 0..BLOCKS {
            let name = format!("layer{stage}.{index}");
            let stride = if index == 0 { stride } else { 1 };
            x = pre_activation(&mut g, &name, "shortcut.0", x, channels, stride);
        }
        if stage > 1 {
            g.taps.push(x);
        }
    }
    x = g.global_avg_pool(x);
    g.logits = g.linear("linear", x, classes);
    g
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::graph::{Id, Op};

    fn preactresnet18() -> Graph {
        graph(Shape { height: 32, width: 32, channels: 3 }, 10)
    }

    #[test]
    fn taps_are_the_sums_that_end_the_last_three_stages() {
        let graph = preactresnet18();
        let shapes: Vec<_> = graph.taps.iter().map(|&tap| graph.shape(tap)).collect();
        let shape = |side, channels| Shape { height: side, width: side, channels };
        assert_eq!(shapes, [shape(16, 128), shape(8, 256), shape(4, 512)]);
        assert!(graph.taps.iter().all(|&Id(tap)| matches!(graph.nodes[tap].op, Op::Add { .. })));
    }

    #[test]
    fn only_a_change_of_shape_has_a_shortcut_convolution() {
        let graph = preactresnet18();
        let names = graph.theta.iter().map(|slot| slot.name.as_str());
        let shortcuts: Vec<_> = names.filter(|name| name.contains("shortcut")).collect();
        let expected = [2, 3, 4].map(|stage| format!("layer{stage}.0.shortcut.0.weight"));
        assert_eq!(shortcuts, expected);
    }
}
