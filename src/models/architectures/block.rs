//! The residual block with pre-activation (He et al. 2016, "Identity Mappings in Deep Residual Networks"), which wide
//! residual networks and PreActResNets consist of.

use crate::nn::graph::{Graph, Id};

/// conv(ReLU(BN(conv(ReLU(BN(x)))))) + shortcut. A shortcut that changes the shape is a 1x1 convolution of the
/// activated input, in the slot `<name>.<shortcut>`. Otherwise it is x itself.
pub(super) fn pre_activation(
    g: &mut Graph,
    name: &str,
    shortcut: &str,
    x: Id,
    channels: usize,
    stride: usize,
) -> Id {
    let same = stride == 1 && g.shape(x).channels == channels;
    let o = g.batch_norm(&format!("{name}.bn1"), x);
    let o = g.relu(o);
    let y = g.conv(&format!("{name}.conv1"), o, channels, 3, stride);
    let y = g.batch_norm(&format!("{name}.bn2"), y);
    let y = g.relu(y);
    let y = g.conv(&format!("{name}.conv2"), y, channels, 3, 1);
    let shortcut = if same { x } else { g.conv(&format!("{name}.{shortcut}"), o, channels, 1, stride) };
    g.add(shortcut, y)
}
