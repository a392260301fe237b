//! A pass through a network: its mode and its outputs.

use candle_core::Tensor;

/// The source of the statistics of batch normalization.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// From the batch; new running statistics are returned.
    Train,
    /// From the running statistics in `state`.
    Eval,
}

/// The outputs of a network for a batch of B images.
#[derive(Clone, Debug)]
pub struct Forward {
    /// Class scores before the softmax, (B, classes).
    pub logits: Tensor,
    /// Per tap of the graph, the sum over channels of the activation's squares, (B, height, width).
    pub attention: Vec<Tensor>,
    /// The new running statistics, without gradient history; only in [`Mode::Train`].
    pub state: Option<Tensor>,
}
