//! Networks and losses: the functions that models and defenses are written in.
//!
//! A [`Network`] is one differentiable function of a flat parameter vector and a batch of images, so that a caller
//! can put any candle expression where the parameters go. No file here knows data sets, files or training.

pub mod batch_norm;
mod fast;
#[cfg(test)]
pub(crate) mod finite_differences;
pub mod graph;
pub mod loss;
mod normalise;
mod real;
pub mod reference;
pub mod rowwise;

use std::sync::Arc;

use candle_core::{Result, Tensor};

pub use crate::kernels::Level;
use crate::rng;
use fast::Engine;
use graph::{Graph, Init, Slot};

pub use normalise::Normalise;

/// How batch normalisation gets its statistics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// From the batch; new running statistics are returned.
    Train,
    /// From the running statistics in `state`.
    Eval,
}

/// What computes the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Numerics {
    /// The project's own CPU kernels (f32), at a level that the processor has. All levels give the same bits.
    Kernels(Level),
    /// candle's own operations: slow, any float type and device; what the kernels are checked against.
    Reference,
}

/// What a network returns for a batch of B images.
#[derive(Clone, Debug)]
pub struct Forward {
    /// Class scores before the softmax, (B, classes).
    pub logits: Tensor,
    /// Per tap of the graph, the sum over channels of the activation's squares, (B, height, width).
    pub attention: Vec<Tensor>,
    /// The new running statistics, without gradient history; only in [`Mode::Train`].
    pub state: Option<Tensor>,
}

/// A graph and what computes it.
#[derive(Clone, Debug)]
pub struct Network {
    graph: Arc<Graph>,
    /// None in reference numerics, and for a graph that the kernels do not cover.
    engine: Option<Arc<Engine>>,
}

impl Network {
    /// Makes a network that the kernels compute, at the best level of this processor.
    pub fn new(graph: Graph) -> Self {
        Self::with_numerics(graph, Numerics::Kernels(Level::current()))
    }

    /// Makes a network and says what computes it. A graph that the kernels do not cover runs on candle's operations.
    pub fn with_numerics(graph: Graph, numerics: Numerics) -> Self {
        let graph = Arc::new(graph);
        let engine = match numerics {
            Numerics::Kernels(level) => Engine::new(Arc::clone(&graph), level).ok().map(Arc::new),
            Numerics::Reference => None,
        };
        Self { graph, engine }
    }

    /// Whether the kernels compute it, rather than candle's operations.
    pub fn runs_on_kernels(&self) -> bool {
        self.engine.is_some()
    }

    /// The layers.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// Computes logits and attention maps of `images`, (B, height, width, channels) in [0, 1].
    ///
    /// `theta` (all trainable values) and `images` may carry gradient history; candle's autograd then
    /// differentiates through the network. `state` holds the running statistics.
    ///
    /// # Errors
    ///
    /// Shapes or types that do not fit the graph.
    pub fn forward(&self, theta: &Tensor, state: &Tensor, images: &Tensor, mode: Mode) -> Result<Forward> {
        let normalised =
            self.graph.normalise.as_ref().map(|normalise| normalise.apply(images)).transpose()?;
        let images = normalised.as_ref().unwrap_or(images);
        match &self.engine {
            Some(engine) => engine.forward(theta, state, images, mode),
            None => reference::forward(&self.graph, theta, state, images, mode),
        }
    }

    /// Draws initial parameters and running statistics, as the graph's slots say.
    ///
    /// Each slot has its own stream (`"init"`, index = its number), so the values of one do not depend on the rest.
    pub fn init(&self, seed: u64) -> (Vec<f32>, Vec<f32>) {
        let draw_all = |slots: &[Slot]| {
            slots.iter().enumerate().flat_map(|(index, slot)| draw(slot, seed, index as u64)).collect()
        };
        (draw_all(&self.graph.theta), draw_all(&self.graph.state))
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
    use crate::shape::Shape;

    fn tiny() -> Network {
        let (mut graph, x) = Graph::new(Shape { height: 4, width: 4, channels: 3 });
        let x = graph.conv("conv", x, 64, 3, 1);
        let x = graph.batch_norm("bn", x);
        let x = graph.global_avg_pool(x);
        graph.logits = graph.linear("fc", x, 10);
        Network::new(graph)
    }

    #[test]
    fn init_follows_the_slots() {
        let network = tiny();
        let (theta, state) = network.init(1);
        assert_eq!(theta.len(), network.graph().theta_len());
        assert_eq!(state, [vec![0.0; 64], vec![1.0; 64]].concat());

        let slots = &network.graph().theta;
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
