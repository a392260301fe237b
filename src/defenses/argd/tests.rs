use candle_core::{DType, Var};

use super::super::embedding::tests::{golden_maps, golden_parameters};
use super::*;
use crate::models::Architecture;
use crate::nn::graph::Shape;
use crate::nn::{Mode, Network, Numerics};

fn close(found: f64, expected: f64) {
    assert!((found / expected - 1.0).abs() < 1e-9, "{found} instead of {expected}");
}

fn scalar(tensor: Tensor) -> f64 {
    tensor.to_scalar().unwrap()
}

#[test]
fn node_loss_is_the_published_checks() {
    let (student, teacher) = golden_maps();
    // These are given with nine digits only.
    for (l, expected) in [1.67961997e-4, 4.73099503e-5, 6.80845309e-6].into_iter().enumerate() {
        let found = scalar(mean_square(&student[l], &teacher[l]).unwrap());
        assert!((found / expected - 1.0).abs() < 2e-9, "{found} instead of {expected}");
    }
    close(scalar(node_loss(&student, &teacher, &Own::default().node_weights).unwrap()), 0.586090651);
}

#[test]
fn edge_loss_is_the_published_checks() {
    let (student, teacher) = golden_maps();
    let edges = |maps: &[Tensor]| edge(&maps[0], &maps[1]).unwrap().to_vec1::<f64>().unwrap();
    let expected = [[0.91496593, 0.98485415, 0.92794406, 1.0], [0.99173501, 0.98790418, 0.99218945, 1.0]];
    for (found, expected) in
        [edges(&student), edges(&teacher)].iter().flatten().zip(expected.iter().flatten())
    {
        assert!((found - expected).abs() < 1e-8, "{found} instead of {expected}");
    }
    close(scalar(edge_loss(&student, &teacher).unwrap()), 9.789249050e-4);
}

#[test]
fn the_three_terms_sum_to_the_published_total() {
    let (student, teacher) = golden_maps();
    let embedding = Embedding { taps: 3, dim: 128 };
    let node = scalar(node_loss(&student, &teacher, &Own::default().node_weights).unwrap());
    let edge = scalar(edge_loss(&student, &teacher).unwrap());
    let embed = scalar(embedding.loss(&golden_parameters(), &student, &teacher).unwrap());
    close(node + edge + embed, 0.590085868);
}

/// The whole objective on a WRN-10-1 for images of 8x8, in f64.
struct Setup {
    network: Network,
    theta: Tensor,
    state: Tensor,
    images: Tensor,
    objective: Align,
}

const LABELS: [u32; 4] = [0, 2, 1, 2];

fn setup() -> Setup {
    let shape = Shape { height: 8, width: 8, channels: 3 };
    let graph = "wrn-10-1".parse::<Architecture>().unwrap().graph(shape, 3);
    let network = Network::with_numerics(graph, Numerics::Reference);
    let wide = |values: Vec<f32>| Tensor::new(values, &Device::Cpu).unwrap().to_dtype(DType::F64).unwrap();
    let (theta, state) = network.init(1);
    let (teacher_theta, teacher_state) = network.init(2);
    let teacher = Frozen { network: network.clone(), theta: wide(teacher_theta), state: wide(teacher_state) };
    let pixels = (0..4 * 192).map(|i| 0.5 + 0.5 * (f64::from(i) * 0.37 + f64::from(i / 192)).sin()).collect();
    let images = Tensor::from_vec(pixels, (4, 8, 8, 3), &Device::Cpu).unwrap();
    let own = Own { w_edge: 30.0, w_embed: 100.0, embed_dim: 8, train_attention: true, ..Own::default() };
    let embedding = Embedding { taps: TAPS, dim: own.embed_dim };
    let objective = Align { teacher, own, drawn: embedding.draw(3), embedding };
    Setup { network, theta: wide(theta), state: wide(state), images, objective }
}

impl Setup {
    fn terms(&mut self, theta: &Tensor, parameters: &Tensor) -> Vec<Term> {
        let forward = self.network.forward(theta, &self.state, &self.images, Mode::Train).unwrap();
        let step = Step { images: &self.images, labels: &LABELS, forward: &forward, parameters };
        self.objective.terms(&step).unwrap()
    }

    fn loss(&mut self, theta: &Tensor, parameters: &Tensor) -> Tensor {
        let terms = self.terms(theta, parameters);
        terms.into_iter().map(|(_, term)| term).reduce(|sum, term| (sum + term).unwrap()).unwrap()
    }
}

/// `values` with `by` added to entry `i`.
fn moved(values: &Tensor, i: usize, by: f64) -> Tensor {
    let mut values = values.to_vec1::<f64>().unwrap();
    values[i] += by;
    Tensor::new(values, &Device::Cpu).unwrap()
}

#[test]
fn gradients_of_the_whole_loss_agree_with_finite_differences() {
    let mut setup = setup();
    let own = setup.objective.parameters();
    let own = Tensor::new(own, &Device::Cpu).unwrap().to_dtype(DType::F64).unwrap();
    let (theta_var, own_var) = (Var::from_tensor(&setup.theta).unwrap(), Var::from_tensor(&own).unwrap());
    let grads = setup.loss(&theta_var, &own_var).backward().unwrap();
    let theta = setup.theta.clone();
    let step = 1e-5;
    let mut check = |var: &Var, stride: usize, at: &dyn Fn(usize, f64) -> (Tensor, Tensor)| {
        let grad = grads.get(var).unwrap().to_vec1::<f64>().unwrap();
        let scale = grad.iter().map(|slope| slope.abs()).fold(0.0, f64::max);
        for i in (0..grad.len()).step_by(stride) {
            let mut value = |by| {
                let (theta, own) = at(i, by);
                scalar(setup.loss(&theta, &own))
            };
            let slope = (value(step) - value(-step)) / (2.0 * step);
            assert!((slope - grad[i]).abs() < 1e-5 * scale, "{i}: {slope} instead of {}", grad[i]);
        }
    };
    check(&theta_var, 3571, &|i, by| (moved(&theta, i, by), own.clone()));
    check(&own_var, 31, &|i, by| (theta.clone(), moved(&own, i, by)));
}

#[test]
fn terms_are_named_and_weighted() {
    let mut setup = setup();
    let own = Tensor::new(setup.objective.parameters(), &Device::Cpu).unwrap();
    let theta = setup.theta.clone();
    let terms = setup.terms(&theta, &own);
    assert_eq!(terms.iter().map(|(name, _)| *name).collect::<Vec<_>>(), ["ce", "node", "edge", "embed"]);
    setup.objective.own.w_edge = 60.0;
    let doubled = setup.terms(&theta, &own);
    close(scalar(doubled[2].1.clone()), 2.0 * scalar(terms[2].1.clone()));
    close(scalar(doubled[1].1.clone()), scalar(terms[1].1.clone()));
}

#[test]
fn the_embedding_keeps_its_first_values_unless_told_to_train() {
    let mut setup = setup();
    let theta = setup.theta.clone();
    let trained = Tensor::new(setup.objective.parameters(), &Device::Cpu).unwrap();
    let expected = scalar(setup.loss(&theta, &trained));
    setup.objective.own.train_attention = false;
    assert!(setup.objective.parameters().is_empty());
    let none = Tensor::new(Vec::<f32>::new(), &Device::Cpu).unwrap();
    close(scalar(setup.loss(&theta, &none)), expected);
}
