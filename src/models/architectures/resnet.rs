//! Residual networks for small images (He et al. 2016, section 4.2), post-activation, with projection shortcuts.
//!
//! The reference implementations call the network of depth 32 "ResNet34". Slots have the names of their `state_dict`.

use super::{Family, Known};
use crate::nn::graph::{Graph, Id};
use crate::shape::Shape;

pub(super) const FAMILY: Family = Family {
    form: "resnet32-cifar",
    sizes: "",
    misnomers: &[("resnet34", "the residual network of depth 32")],
    known: &[Known { name: "resnet32-cifar", parameters: 466_906, statistics: 2_464 }],
    names_of: "NAD, ARGD",
    taps: "the outputs of the three stages, after their ReLU",
    check: |_| Ok(()),
    graph: |image, classes, _| graph(image, classes, 32),
};

/// Builds the network of depth 6n + 2: three stages of n blocks with 16, 32, 64 channels.
///
/// The taps are the stages' outputs, after their ReLU.
fn graph(image: Shape, classes: usize, depth: usize) -> Graph {
    let blocks = (depth - 2) / 6;
    let (mut g, x) = Graph::new(image);
    let mut x = conv_bn(&mut g, ["conv1", "bn1"], x, 16, 3, 1);
    x = g.relu(x);
    for (stage, channels, stride) in [(1, 16, 1), (2, 32, 2), (3, 64, 2)] {
        for index in 0..blocks {
            let name = format!("layer{stage}.{index}");
            x = block(&mut g, &name, x, channels, if index == 0 { stride } else { 1 });
        }
        g.taps.push(x);
    }
    x = g.global_avg_pool(x);
    g.logits = g.linear("fc", x, classes);
    g
}

/// ReLU(BN(conv(ReLU(BN(conv(x))))) + shortcut); a shortcut that changes shape is BN(1x1 convolution).
fn block(g: &mut Graph, name: &str, x: Id, channels: usize, stride: usize) -> Id {
    let part = |part: &str| format!("{name}.{part}");
    let y = conv_bn(g, [&part("conv1"), &part("bn1")], x, channels, 3, stride);
    let y = g.relu(y);
    let y = conv_bn(g, [&part("conv2"), &part("bn2")], y, channels, 3, 1);
    let shortcut = if stride == 1 && g.shape(x).channels == channels {
        x
    } else {
        conv_bn(g, [&part("downsample.0"), &part("downsample.1")], x, channels, 1, stride)
    };
    let sum = g.add(shortcut, y);
    g.relu(sum)
}

fn conv_bn(g: &mut Graph, [conv, bn]: [&str; 2], x: Id, channels: usize, kernel: usize, stride: usize) -> Id {
    let x = g.conv(conv, x, channels, kernel, stride);
    g.batch_norm(bn, x)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn taps_follow_the_last_relu_of_each_stage() {
        let graph = graph(Shape { height: 32, width: 32, channels: 3 }, 10, 32);
        let shapes: Vec<_> = graph.taps.iter().map(|&tap| graph.shape(tap)).collect();
        let shape = |side, channels| Shape { height: side, width: side, channels };
        assert_eq!(shapes, [shape(32, 16), shape(16, 32), shape(8, 64)]);
        for &Id(tap) in &graph.taps {
            assert!(matches!(graph.nodes[tap].op, crate::nn::graph::Op::Relu { .. }));
        }
        let shortcuts: Vec<_> =
            graph.theta.iter().filter(|s| s.name.contains("downsample.0")).map(|s| s.name.as_str()).collect();
        assert_eq!(shortcuts, ["layer2.0.downsample.0.weight", "layer3.0.downsample.0.weight"]);
    }
}
