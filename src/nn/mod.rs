//! Networks and losses: the functions that models and defenses use.
//!
//! A [`Network`] is one differentiable function of a flat parameter vector and a batch of images, so that a caller
//! can put any candle expression where the parameters go. No file here knows data sets, files or training.

mod backend;
pub mod batch_norm;
mod fast;
#[cfg(test)]
pub(crate) mod finite_differences;
pub mod graph;
pub mod loss;
mod normalise;
mod pass;
mod real;
pub mod reference;
pub mod rowwise;

use std::sync::Arc;

use candle_core::{Device, Result, Tensor};

pub use crate::kernels::Level;
use fast::Engine;
use graph::Graph;

pub use backend::Backend;
pub use normalise::Normalise;
pub use pass::{Forward, Mode};

/// A graph and its backend.
#[derive(Clone, Debug)]
pub struct Network {
    graph: Arc<Graph>,
    backend: Backend,
    /// The kernels prepared for the graph; `None` if candle computes it.
    engine: Option<Arc<Engine>>,
}

impl Network {
    /// Makes a network that `backend` computes.
    ///
    /// # Errors
    ///
    /// An operation of the graph that the kernels do not support, by name. There is no fallback: its numerics would
    /// differ from those in the keys.
    pub fn new(graph: Graph, backend: &Backend) -> Result<Self> {
        let (graph, backend) = (Arc::new(graph), backend.clone());
        let engine = match backend {
            Backend::Kernels(level) => Some(Arc::new(Engine::new(Arc::clone(&graph), level)?)),
            Backend::Candle(_) => None,
        };
        Ok(Self { graph, backend, engine })
    }

    /// The backend.
    pub fn backend(&self) -> &Backend {
        &self.backend
    }

    /// The device of its input tensors.
    pub fn device(&self) -> &Device {
        self.backend.device()
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
    /// Shapes or types that do not match the graph.
    pub fn forward(&self, theta: &Tensor, state: &Tensor, images: &Tensor, mode: Mode) -> Result<Forward> {
        let normalised =
            self.graph.normalise.as_ref().map(|normalise| normalise.apply(images)).transpose()?;
        let images = normalised.as_ref().unwrap_or(images);
        match &self.engine {
            Some(engine) => engine.forward(theta, state, images, mode),
            None => reference::forward(&self.graph, theta, state, images, mode),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shape::Shape;

    /// The error of the kernels for a graph that candle's operations compute.
    fn refusal(build: impl Fn(&mut Graph, graph::Id)) -> String {
        let (mut graph, x) = Graph::new(Shape { height: 4, width: 4, channels: 3 });
        build(&mut graph, x);
        assert!(Network::new(graph.clone(), &Backend::candle()).is_ok());
        Network::new(graph, &Backend::default()).unwrap_err().to_string()
    }

    #[test]
    fn what_the_kernels_do_not_cover_is_an_error_that_names_the_operation() {
        let of_images = refusal(|graph, x| {
            let x = graph.batch_norm("bn", x);
            let x = graph.global_avg_pool(x);
            graph.logits = graph.linear("fc", x, 2);
        });
        assert!(of_images.contains("batch_norm `bn` (layer 1)"), "{of_images}");
        let without_pool = refusal(|graph, x| graph.logits = graph.linear("fc", x, 2));
        assert!(without_pool.contains("linear `fc` (layer 1)"), "{without_pool}");
        let without_head = refusal(|graph, x| graph.logits = graph.conv("conv", x, 2, 3, 1));
        assert!(without_head.contains("conv `conv` (layer 1)"), "{without_head}");
    }

    #[test]
    fn a_network_is_where_its_backend_is() {
        let network = |backend: &Backend| {
            let (mut graph, x) = Graph::new(Shape { height: 4, width: 4, channels: 3 });
            let x = graph.global_avg_pool(x);
            graph.logits = graph.linear("fc", x, 2);
            Network::new(graph, backend).unwrap()
        };
        assert!(matches!(network(&Backend::default()).backend(), Backend::Kernels(_)));
        assert!(network(&Backend::candle()).device().is_cpu());
    }
}
