//! The description of a network: a list of layers in the order of the forward pass.
//!
//! A file of `models` builds a [`Graph`], and a backend (the kernels, or candle's own operations) reads it. The graph
//! has shapes and the names of parameters. Its only numbers are those of the normalization of images.
//!
//! Activations are NHWC. All trainable parameters live in one flat vector `theta`, all running statistics in another,
//! `state`; a [`Slot`] is the place of a named tensor in one of them.

use super::Normalise;
use crate::rng;
use crate::shape::Shape;

/// The index of a node, and of its activation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Id(pub usize);

/// The initial values of a tensor of `theta`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Init {
    /// N(0, `std`^2).
    Normal {
        /// Standard deviation.
        std: f32,
    },
    /// U(-`bound`, `bound`).
    Uniform {
        /// Half the width of the interval.
        bound: f32,
    },
    /// The same value everywhere.
    Constant(f32),
}

/// A named tensor inside `theta` or `state`.
#[derive(Clone, Debug, PartialEq)]
pub struct Slot {
    /// Its name in PyTorch's `state_dict` (`block1.layer.0.bn1.weight`).
    pub name: String,
    /// Shape in our layout: convolutions are (kernel row, kernel column, in, out), linear layers (in, out).
    pub shape: Vec<usize>,
    /// Index of its first value.
    pub offset: usize,
    /// Its initial values.
    pub init: Init,
}

impl Slot {
    /// Number of values.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether it holds no values.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The range of its values.
    pub fn range(&self) -> std::ops::Range<usize> {
        self.offset..self.offset + self.len()
    }
}

/// One layer. Indices named `weight`, `bias`, `mean`, `variance` point into [`Graph::theta`] or [`Graph::state`].
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// The image batch.
    Input,
    /// Convolution without bias, padded by `kernel / 2`.
    Conv {
        /// Input.
        x: Id,
        /// Slot of the weight, (kernel, kernel, in, out).
        weight: usize,
        /// 1 or 3.
        kernel: usize,
        /// 1 or 2.
        stride: usize,
    },
    /// Batch normalization: eps 1e-5, momentum 0.1, running variance from the unbiased batch variance.
    BatchNorm {
        /// Input.
        x: Id,
        /// Slot of the scale (gamma).
        weight: usize,
        /// Slot of the shift (beta).
        bias: usize,
        /// State slot of the running mean.
        mean: usize,
        /// State slot of the running variance.
        variance: usize,
    },
    /// max(x, 0).
    Relu {
        /// Input.
        x: Id,
    },
    /// Sum of two activations of the same shape.
    Add {
        /// One summand.
        a: Id,
        /// The other.
        b: Id,
    },
    /// Mean over rows and columns; the result is 1x1.
    GlobalAvgPool {
        /// Input.
        x: Id,
    },
    /// Fully connected layer on a 1x1 activation.
    Linear {
        /// Input.
        x: Id,
        /// Slot of the weight, (in, out).
        weight: usize,
        /// Slot of the bias, (out).
        bias: usize,
    },
}

/// A layer and the shape of its activation.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Its operation.
    pub op: Op,
    /// Shape of its activation.
    pub shape: Shape,
}

/// The epsilon of batch normalization, PyTorch's default.
pub const BN_EPSILON: f32 = 1e-5;
/// The weight of a new batch in the running statistics, PyTorch's default.
pub const BN_MOMENTUM: f32 = 0.1;

/// A network as a list of layers; nodes only read nodes before them.
#[derive(Clone, Debug, PartialEq)]
pub struct Graph {
    /// The normalization of images before the first layer.
    pub normalise: Option<Normalise>,
    /// Layers in forward order; the first is [`Op::Input`].
    pub nodes: Vec<Node>,
    /// Trainable tensors in the order of `theta`.
    pub theta: Vec<Slot>,
    /// Running statistics in the order of `state`.
    pub state: Vec<Slot>,
    /// Activations whose attention maps (sum over channels of squares) the network also returns.
    pub taps: Vec<Id>,
    /// The node of the logits.
    pub logits: Id,
}

fn place(slots: &mut Vec<Slot>, name: String, shape: Vec<usize>, init: Init) -> usize {
    let offset = slots.last().map_or(0, |slot| slot.range().end);
    slots.push(Slot { name, shape, offset, init });
    slots.len() - 1
}

impl Graph {
    /// Starts a network that reads images of `shape`.
    pub fn new(shape: Shape) -> (Self, Id) {
        let input = Node { op: Op::Input, shape };
        let (nodes, logits) = (vec![input], Id(0));
        let graph = Self { normalise: None, nodes, theta: vec![], state: vec![], taps: vec![], logits };
        (graph, Id(0))
    }

    /// Shape of the activation `id`.
    pub fn shape(&self, id: Id) -> Shape {
        self.nodes[id.0].shape
    }

    /// Number of trainable values.
    pub fn theta_len(&self) -> usize {
        self.theta.last().map_or(0, |slot| slot.range().end)
    }

    /// Number of running statistics.
    pub fn state_len(&self) -> usize {
        self.state.last().map_or(0, |slot| slot.range().end)
    }

    /// Number of classes.
    pub fn classes(&self) -> usize {
        self.shape(self.logits).channels
    }

    fn push(&mut self, op: Op, shape: Shape) -> Id {
        self.nodes.push(Node { op, shape });
        Id(self.nodes.len() - 1)
    }

    /// Adds a convolution without bias to `channels`, padded by `kernel / 2`; He initialization by fan-out.
    pub fn conv(&mut self, name: &str, x: Id, channels: usize, kernel: usize, stride: usize) -> Id {
        let Shape { height, width, channels: cin } = self.shape(x);
        let std = (2.0 / (kernel * kernel * channels) as f32).sqrt();
        let shape = vec![kernel, kernel, cin, channels];
        let weight = place(&mut self.theta, format!("{name}.weight"), shape, Init::Normal { std });
        let (height, width) = (height.div_ceil(stride), width.div_ceil(stride));
        self.push(Op::Conv { x, weight, kernel, stride }, Shape { height, width, channels })
    }

    /// Adds a batch normalization.
    pub fn batch_norm(&mut self, name: &str, x: Id) -> Id {
        let shape = self.shape(x);
        let one = |value| (vec![shape.channels], Init::Constant(value));
        let mut theta =
            |part: &str, (dims, init)| place(&mut self.theta, format!("{name}.{part}"), dims, init);
        let (weight, bias) = (theta("weight", one(1.0)), theta("bias", one(0.0)));
        let mut state =
            |part: &str, (dims, init)| place(&mut self.state, format!("{name}.{part}"), dims, init);
        let (mean, variance) = (state("running_mean", one(0.0)), state("running_var", one(1.0)));
        self.push(Op::BatchNorm { x, weight, bias, mean, variance }, shape)
    }

    /// Adds max(x, 0).
    pub fn relu(&mut self, x: Id) -> Id {
        self.push(Op::Relu { x }, self.shape(x))
    }

    /// Adds the sum of two activations of the same shape.
    pub fn add(&mut self, a: Id, b: Id) -> Id {
        debug_assert_eq!(self.shape(a), self.shape(b));
        self.push(Op::Add { a, b }, self.shape(a))
    }

    /// Adds the mean over rows and columns.
    pub fn global_avg_pool(&mut self, x: Id) -> Id {
        let channels = self.shape(x).channels;
        self.push(Op::GlobalAvgPool { x }, Shape { height: 1, width: 1, channels })
    }

    /// Adds a fully connected layer to `channels`, with PyTorch's default initialization of its weight.
    pub fn linear(&mut self, name: &str, x: Id, channels: usize) -> Id {
        let cin = self.shape(x).len();
        let init = Init::Uniform { bound: 1.0 / (cin as f32).sqrt() };
        let weight = place(&mut self.theta, format!("{name}.weight"), vec![cin, channels], init);
        let bias = place(&mut self.theta, format!("{name}.bias"), vec![channels], Init::Constant(0.0));
        self.push(Op::Linear { x, weight, bias }, Shape { height: 1, width: 1, channels })
    }

    /// Draws initial parameters and running statistics by the slots.
    ///
    /// Each slot has its own stream (`"init"`, index = its number), so the values of one do not depend on the rest.
    pub fn init(&self, seed: u64) -> (Vec<f32>, Vec<f32>) {
        let draw_all = |slots: &[Slot]| {
            slots.iter().enumerate().flat_map(|(index, slot)| draw(slot, seed, index as u64)).collect()
        };
        (draw_all(&self.theta), draw_all(&self.state))
    }

    /// The name of a layer in messages: its operation, its parameters' name if it has any, and its position.
    pub(super) fn name(&self, id: Id) -> String {
        let (op, weight) = match self.nodes[id.0].op {
            Op::Input => ("input", None),
            Op::Conv { weight, .. } => ("conv", Some(weight)),
            Op::BatchNorm { weight, .. } => ("batch_norm", Some(weight)),
            Op::Relu { .. } => ("relu", None),
            Op::Add { .. } => ("add", None),
            Op::GlobalAvgPool { .. } => ("global_avg_pool", None),
            Op::Linear { weight, .. } => ("linear", Some(weight)),
        };
        let of = |slot: usize| format!(" `{}`", self.theta[slot].name.trim_end_matches(".weight"));
        format!("{op}{} (layer {})", weight.map(of).unwrap_or_default(), id.0)
    }
}

fn draw(slot: &Slot, seed: u64, index: u64) -> Vec<f32> {
    let mut stream = rng::stream(seed, "init", 0, index);
    let mut value = || match slot.init {
        Init::Normal { std } => std * stream.normal(),
        Init::Uniform { bound } => stream.between(-bound, bound),
        Init::Constant(value) => value,
    };
    (0..slot.len()).map(|_| value()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tiny() -> Graph {
        let (mut graph, x) = Graph::new(Shape { height: 4, width: 4, channels: 3 });
        let x = graph.conv("conv", x, 64, 3, 1);
        let x = graph.batch_norm("bn", x);
        let x = graph.global_avg_pool(x);
        graph.logits = graph.linear("fc", x, 10);
        graph
    }

    #[test]
    fn init_follows_the_slots() {
        let graph = tiny();
        let (theta, state) = graph.init(1);
        assert_eq!(theta.len(), graph.theta_len());
        assert_eq!(state, [vec![0.0; 64], vec![1.0; 64]].concat());

        let slots = &graph.theta;
        let conv = &theta[slots[0].range()];
        let variance = conv.iter().map(|w| f64::from(w * w)).sum::<f64>() / conv.len() as f64;
        let expected = 2.0 / (9.0 * 64.0);
        assert!((variance / expected - 1.0).abs() < 0.15, "{variance} instead of {expected}");
        assert!(theta[slots[1].range()].iter().all(|&gamma| gamma == 1.0));
        let fc = &theta[slots[3].range()];
        assert!(fc.iter().all(|w| w.abs() <= 0.125) && fc.iter().any(|w| w.abs() > 0.12));
    }

    #[test]
    fn init_depends_on_the_seed_alone() {
        assert_eq!(tiny().init(5), tiny().init(5));
        assert_ne!(tiny().init(5).0, tiny().init(6).0);
    }
}
