//! The objective of a defense, on a WRN-10-1 and images of 8x8, in f64.

use candle_core::{Device, Tensor};

use crate::models::Architecture;
use crate::nn::finite_differences::assert_gradient;
use crate::nn::{Backend, Forward, Mode, Network};
use crate::shape::Shape;
use crate::train::{Frozen, Objective, Step, Term};

/// An objective with the inputs of its terms.
pub(crate) struct Setup<O> {
    network: Network,
    /// The student's values.
    pub theta: Tensor,
    state: Tensor,
    /// 4 images.
    pub images: Tensor,
    pub objective: O,
}

const LABELS: [u32; 4] = [0, 2, 1, 2];

impl<O: Objective> Setup<O> {
    /// Sets up an objective that gets a teacher of the student's architecture.
    pub fn new(objective: impl FnOnce(Frozen) -> O) -> Self {
        let shape = Shape { height: 8, width: 8, channels: 3 };
        let graph = "wrn-10-1".parse::<Architecture>().unwrap().graph(shape, 3);
        let network = Network::new(graph, &Backend::candle()).unwrap();
        let (theta, state) = network.graph().init(1);
        let (teacher_theta, teacher_state) = network.graph().init(2);
        let teacher =
            Frozen { network: network.clone(), theta: wide(teacher_theta), state: wide(teacher_state) };
        let pixel = |i: u32| 0.5 + 0.5 * (f64::from(i) * 0.37 + f64::from(i / 192)).sin();
        let pixels = (0..4 * 192).map(pixel).collect();
        let images = Tensor::from_vec(pixels, (4, 8, 8, 3), &Device::Cpu).unwrap();
        Self { network, theta: wide(theta), state: wide(state), images, objective: objective(teacher) }
    }

    /// First values of the objective's own parameters.
    pub fn own(&self) -> Tensor {
        wide(self.objective.parameters())
    }

    pub fn forward(&self, theta: &Tensor) -> Forward {
        self.network.forward(theta, &self.state, &self.images, Mode::Train).unwrap()
    }

    pub fn terms(&mut self, theta: &Tensor, parameters: &Tensor) -> Vec<Term> {
        let forward = self.forward(theta);
        let step = Step { images: &self.images, labels: &LABELS, forward: &forward, parameters };
        self.objective.terms(&step).unwrap()
    }

    pub fn loss(&mut self, theta: &Tensor, parameters: &Tensor) -> Tensor {
        let terms = self.terms(theta, parameters);
        terms.into_iter().map(|(_, term)| term).reduce(|sum, term| (sum + term).unwrap()).unwrap()
    }

    /// Compares the loss's gradients with finite differences.
    pub fn assert_gradients(&mut self) {
        let (theta, own) = (self.theta.clone(), self.own());
        assert_gradient(&theta, 3571, |theta| self.loss(theta, &own));
        if own.elem_count() > 0 {
            assert_gradient(&own, 31, |own| self.loss(&theta, own));
        }
    }
}

fn wide(values: Vec<f32>) -> Tensor {
    let values: Vec<f64> = values.into_iter().map(f64::from).collect();
    Tensor::new(values, &Device::Cpu).unwrap()
}

pub(crate) fn scalar(tensor: &Tensor) -> f64 {
    tensor.to_scalar().unwrap()
}

pub(crate) fn assert_close(found: f64, expected: f64) {
    assert!((found / expected - 1.0).abs() < 1e-9, "{found} instead of {expected}");
}
