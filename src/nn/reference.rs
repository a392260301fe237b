//! A network on candle's own differentiable operations: slow, a reference for the kernels, any float type.
//!
//! The kernels are checked against it, and it serves devices without kernels. Internally, activations are NCHW, as
//! candle's convolution needs; inputs and outputs are not. candle cannot differentiate a convolution of stride 2 on
//! images with one odd and one even side; it fails with a shape error.

use candle_core::{D, Result, Tensor};

use super::graph::{BN_EPSILON, BN_MOMENTUM, Graph, Op};
use super::{Forward, Mode};

/// Computes [`super::Network::forward`].
///
/// # Errors
///
/// Shapes or types that do not match the graph.
pub fn forward(
    graph: &Graph,
    theta: &Tensor,
    state: &Tensor,
    images: &Tensor,
    mode: Mode,
) -> Result<Forward> {
    let mut pass = Pass { graph, theta, state, new_state: vec![], mode };
    let mut activations: Vec<Tensor> = Vec::with_capacity(graph.nodes.len());
    for node in &graph.nodes {
        let activation = match node.op {
            Op::Input => images.permute((0, 3, 1, 2))?.contiguous()?,
            Op::Conv { x, weight, kernel, stride } => pass.conv(&activations[x.0], weight, kernel, stride)?,
            Op::BatchNorm { x, weight, bias, mean, variance } => {
                pass.batch_norm(&activations[x.0], [weight, bias], [mean, variance])?
            }
            Op::Relu { x } => relu(&activations[x.0])?,
            Op::Add { a, b } => (&activations[a.0] + &activations[b.0])?,
            Op::GlobalAvgPool { x } => activations[x.0].mean_keepdim((2, 3))?,
            Op::Linear { x, weight, bias } => pass.linear(&activations[x.0], weight, bias)?,
        };
        activations.push(activation);
    }
    let attention = graph.taps.iter().map(|tap| activations[tap.0].sqr()?.sum(1)).collect::<Result<_>>()?;
    let logits = activations.swap_remove(graph.logits.0).flatten_from(1)?;
    Ok(Forward { logits, attention, state: pass.into_state()? })
}

/// The state that the layers of one forward pass share.
struct Pass<'a> {
    graph: &'a Graph,
    theta: &'a Tensor,
    state: &'a Tensor,
    /// New running statistics by state slot.
    new_state: Vec<(usize, Tensor)>,
    mode: Mode,
}

impl Pass<'_> {
    fn theta(&self, slot: usize) -> Result<Tensor> {
        let slot = &self.graph.theta[slot];
        self.theta.narrow(0, slot.offset, slot.len())?.reshape(slot.shape.as_slice())
    }

    fn state(&self, slot: usize) -> Result<Tensor> {
        let slot = &self.graph.state[slot];
        self.state.narrow(0, slot.offset, slot.len())
    }

    fn conv(&self, x: &Tensor, weight: usize, kernel: usize, stride: usize) -> Result<Tensor> {
        let weight = self.theta(weight)?.permute((3, 2, 0, 1))?.contiguous()?;
        x.conv2d(&weight, kernel / 2, stride, 1, 1)
    }

    fn linear(&self, x: &Tensor, weight: usize, bias: usize) -> Result<Tensor> {
        x.flatten_from(1)?.matmul(&self.theta(weight)?)?.broadcast_add(&self.theta(bias)?)
    }

    /// gamma (x - mean) / sqrt(variance + eps) + beta, with the biased variance of the batch.
    fn batch_norm(&mut self, x: &Tensor, affine: [usize; 2], running: [usize; 2]) -> Result<Tensor> {
        let [gamma, beta] = [self.theta(affine[0])?, self.theta(affine[1])?];
        let [mean, variance] = match self.mode {
            Mode::Eval => [self.state(running[0])?, self.state(running[1])?],
            Mode::Train => self.batch_statistics(x, running)?,
        };
        let per_channel = |t: &Tensor| t.reshape((1, t.elem_count(), 1, 1));
        let scale = (gamma / (variance + f64::from(BN_EPSILON))?.sqrt()?)?;
        let centred = x.broadcast_sub(&per_channel(&mean)?)?;
        centred.broadcast_mul(&per_channel(&scale)?)?.broadcast_add(&per_channel(&beta)?)
    }

    /// The mean and the biased variance of each channel; records the new running statistics (with the unbiased
    /// variance).
    fn batch_statistics(&mut self, x: &Tensor, running: [usize; 2]) -> Result<[Tensor; 2]> {
        let mean = x.mean_keepdim((0, 2, 3))?;
        let variance = x.broadcast_sub(&mean)?.sqr()?.mean((0, 2, 3))?;
        let mean = mean.flatten_all()?;
        let n = (x.elem_count() / mean.elem_count()) as f64;
        let unbiased = (variance.detach() * (n / (n - 1.0).max(1.0)))?;
        for (slot, new) in [(running[0], mean.detach()), (running[1], unbiased)] {
            let momentum = f64::from(BN_MOMENTUM);
            let updated = ((self.state(slot)? * (1.0 - momentum))? + (new * momentum)?)?;
            self.new_state.push((slot, updated));
        }
        Ok([mean, variance])
    }

    /// The new running statistics in the order of `state`.
    fn into_state(mut self) -> Result<Option<Tensor>> {
        match self.mode {
            Mode::Eval => Ok(None),
            Mode::Train if self.new_state.is_empty() => Ok(Some(self.state.clone())),
            Mode::Train => {
                self.new_state.sort_by_key(|(slot, _)| *slot);
                let parts: Vec<_> = self.new_state.into_iter().map(|(_, values)| values).collect();
                Tensor::cat(&parts, D::Minus1).map(Some)
            }
        }
    }
}

/// max(x, 0) with slope 0 at 0, as in PyTorch (candle's own has slope 1 there).
fn relu(x: &Tensor) -> Result<Tensor> {
    let positive = x.detach().gt(0.0)?.to_dtype(x.dtype())?;
    x * positive
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, Var};

    use super::super::graph::Id;
    use super::super::{Backend, Network};
    use super::*;
    use crate::shape::Shape;

    const CPU: Device = Device::Cpu;

    /// Every kind of layer, a residual sum and two taps.
    fn network(side: usize) -> Network {
        let (mut graph, x) = Graph::new(Shape { height: side, width: side, channels: 2 });
        let x = graph.conv("a", x, 3, 3, 1);
        let shortcut = graph.conv("shortcut", x, 4, 1, 2);
        let y = graph.batch_norm("bn1", x);
        let y = graph.relu(y);
        let y = graph.conv("b", y, 4, 3, 2);
        let x = graph.add(shortcut, y);
        graph.taps = vec![y, x];
        let x = graph.batch_norm("bn2", x);
        let x = graph.global_avg_pool(x);
        graph.logits = graph.linear("fc", x, 3);
        Network::new(graph, &Backend::candle()).unwrap()
    }

    fn wave(n: usize, frequency: f64) -> Vec<f64> {
        (0..n).map(|i| (i as f64 * frequency).sin()).collect()
    }

    fn inputs(network: &Network) -> (Tensor, Tensor, Tensor) {
        let (p, s) = (network.graph().theta_len(), network.graph().state_len());
        let theta = Tensor::from_vec(wave(p, 0.7), p, &CPU).unwrap();
        let state = Tensor::from_vec(wave(s, 0.9).iter().map(|v| v.abs() + 0.3).collect(), s, &CPU).unwrap();
        let Shape { height, width, channels } = network.graph().shape(Id(0));
        let shape = (3, height, width, channels);
        let images = Tensor::from_vec(wave(3 * height * width * channels, 1.3), shape, &CPU).unwrap();
        (theta, state, images)
    }

    /// A scalar that depends on everything that a forward pass returns.
    fn scalar(forward: &Forward) -> Tensor {
        let maps = forward.attention.iter().enumerate();
        maps.fold(forward.logits.sqr().unwrap().sum_all().unwrap(), |sum, (i, map)| {
            let wave = Tensor::from_vec(wave(map.elem_count(), 0.1 + i as f64), map.shape(), &CPU).unwrap();
            (sum + (map * wave).unwrap().sum_all().unwrap()).unwrap()
        })
    }

    #[test]
    fn gradients_agree_with_finite_differences() {
        for (side, mode) in [(5, Mode::Train), (6, Mode::Train), (5, Mode::Eval)] {
            let network = network(side);
            let (theta, state, images) = inputs(&network);
            let value = |theta: &Tensor, images: &Tensor| {
                let forward = network.forward(theta, &state, images, mode).unwrap();
                scalar(&forward).to_scalar::<f64>().unwrap()
            };
            let (theta_var, images_var) =
                (Var::from_tensor(&theta).unwrap(), Var::from_tensor(&images).unwrap());
            let forward = network.forward(&theta_var, &state, &images_var, mode).unwrap();
            let grads = scalar(&forward).backward().unwrap();
            for (which, var) in [&theta_var, &images_var].into_iter().enumerate() {
                let grad = grads.get(var).unwrap().flatten_all().unwrap().to_vec1::<f64>().unwrap();
                for i in (0..var.elem_count()).step_by(7) {
                    let moved = |by: f64| {
                        let mut values = var.flatten_all().unwrap().to_vec1::<f64>().unwrap();
                        values[i] += by;
                        let moved = Tensor::from_vec(values, var.shape(), &CPU).unwrap();
                        if which == 0 { value(&moved, &images) } else { value(&theta, &moved) }
                    };
                    let (step, expected) = (1e-6, grad[i]);
                    let slope = (moved(step) - moved(-step)) / (2.0 * step);
                    assert!(
                        (slope - expected).abs() < 1e-5 * (1.0 + expected.abs()),
                        "{i}: {slope}, {expected}"
                    );
                }
            }
        }
    }

    #[test]
    fn batch_norm_normalises_by_the_batch_and_updates_by_the_unbiased_variance() {
        let (mut graph, x) = Graph::new(Shape { height: 1, width: 2, channels: 1 });
        graph.logits = graph.batch_norm("bn", x);
        graph.taps = vec![Id(1)];
        let (theta, state) = graph.init(0);
        let (theta, state) = (Tensor::new(theta, &CPU).unwrap(), Tensor::new(state, &CPU).unwrap());
        let images = Tensor::new(vec![1f32, 2.0, 3.0, 6.0], &CPU).unwrap().reshape((2, 1, 2, 1)).unwrap();
        let out = forward(&graph, &theta, &state, &images, Mode::Train).unwrap();

        // Mean 3, biased variance 14/4, unbiased 14/3.
        let logits = out.logits.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let deviation = (3.5f32 + 1e-5).sqrt();
        for (y, x) in logits.iter().zip([1.0, 2.0, 3.0, 6.0]) {
            assert!((y - (x - 3.0) / deviation).abs() < 1e-6);
        }
        let running = out.state.unwrap().to_vec1::<f32>().unwrap();
        assert!(
            (running[0] - 0.3).abs() < 1e-6 && (running[1] - (0.9 + 1.4 / 3.0)).abs() < 1e-6,
            "{running:?}"
        );
    }

    #[test]
    fn shapes_and_taps_are_the_graphs() {
        let network = network(5);
        let (theta, state, images) = inputs(&network);
        let out = network.forward(&theta, &state, &images, Mode::Eval).unwrap();
        assert_eq!(out.logits.dims(), [3, 3]);
        assert_eq!(out.attention.iter().map(Tensor::dims).collect::<Vec<_>>(), [[3, 3, 3], [3, 3, 3]]);
        assert!(out.state.is_none());
        let images = images.to_dtype(DType::F32).unwrap();
        assert!(network.forward(&theta, &state, &images, Mode::Eval).is_err());
    }

    #[test]
    fn relu_has_slope_zero_at_zero() {
        let x = Var::new(&[-1f32, 0.0, 2.0], &CPU).unwrap();
        let grads = relu(&x).unwrap().sum_all().unwrap().backward().unwrap();
        assert_eq!(grads.get(&x).unwrap().to_vec1::<f32>().unwrap(), [0.0, 0.0, 1.0]);
    }
}
