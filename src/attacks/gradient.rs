//! Gradients with respect to images, for attacks that use a model.

use candle_core::{Result, Tensor, Var};

/// The gradient of a scalar `loss` with respect to the images, in their shape. Empty if the loss does not depend on
/// them.
///
/// # Errors
/// Those of `loss`.
pub(super) fn gradient(images: &Tensor, loss: impl FnOnce(&Tensor) -> Result<Tensor>) -> Result<Tensor> {
    let images = Var::from_tensor(images)?;
    let gradients = loss(images.as_tensor())?.backward()?;
    gradients.get(&images).map_or_else(|| images.zeros_like(), |gradient| Ok(gradient.clone()))
}

#[cfg(test)]
pub(super) mod tests {
    use candle_core::Device;

    use super::*;
    use crate::models::Weights;
    use crate::nn::graph::Graph;
    use crate::nn::loss::cross_entropy;
    use crate::nn::{Backend, Network};
    use crate::rng::stream;
    use crate::shape::Shape;
    use crate::train::Frozen;

    /// A network for 16x16 RGB images in 10 classes with two layers of weights, untrained.
    pub(crate) fn tiny() -> Frozen {
        let (mut graph, x) = Graph::new(Shape { height: 16, width: 16, channels: 3 });
        let x = graph.conv("conv", x, 16, 3, 1);
        let x = graph.batch_norm("bn", x);
        let x = graph.relu(x);
        let x = graph.global_avg_pool(x);
        graph.logits = graph.linear("fc", x, 10);
        let network = Network::new(graph, &Backend::default()).unwrap();
        let weights = Weights::from(network.graph().init(1));
        Frozen::new(network, &weights).unwrap()
    }

    #[test]
    fn the_gradient_is_the_slope_of_the_loss() {
        let (model, dims) = (tiny(), (2, 16, 16, 3));
        let mut stream = stream(1, "test", 0, 0);
        let mut draw = |low, high| {
            let values: Vec<f32> = (0..2 * 16 * 16 * 3).map(|_| stream.between(low, high)).collect();
            Tensor::from_vec(values, dims, &Device::Cpu).unwrap()
        };
        let (images, direction) = (draw(0.2, 0.8), draw(-1.0, 1.0));
        let loss = |images: &Tensor| cross_entropy(&model.forward(images)?.logits, &[3, 4]);
        let number = |tensor: Tensor| tensor.to_scalar::<f32>().unwrap();
        let along = (gradient(&images, loss).unwrap() * &direction).unwrap().sum_all().unwrap();
        let at = |step: f64| number(loss(&(&images + (&direction * step).unwrap()).unwrap()).unwrap());
        let slope = (at(1e-2) - at(-1e-2)) / 2e-2;
        assert!((number(along.clone()) / slope - 1.0).abs() < 0.02, "{along} instead of {slope}");
    }
}
