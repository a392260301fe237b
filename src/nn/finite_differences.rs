//! Finite differences in f64, for tests of gradients.

use candle_core::{Device, Tensor, Var};

const STEP: f64 = 1e-5;

/// The slope of a loss along value `i` of `at`.
pub(crate) fn slope(at: &Tensor, i: usize, mut loss: impl FnMut(&Tensor) -> Tensor) -> f64 {
    let mut moved = |by| {
        let mut values = flat(at);
        values[i] += by;
        let moved = Tensor::from_vec(values, at.shape(), &Device::Cpu).unwrap();
        loss(&moved).to_scalar::<f64>().unwrap()
    };
    (moved(STEP) - moved(-STEP)) / (2.0 * STEP)
}

/// Compares the gradient of a loss at `at` with every `stride`-th slope.
pub(crate) fn assert_gradient(at: &Tensor, stride: usize, mut loss: impl FnMut(&Tensor) -> Tensor) {
    let var = Var::from_tensor(at).unwrap();
    let gradient = flat(loss(&var).backward().unwrap().get(&var).unwrap());
    let largest = gradient.iter().map(|slope| slope.abs()).fold(0.0, f64::max);
    assert!(largest > 0.0, "the loss is flat");
    for i in (0..gradient.len()).step_by(stride) {
        let slope = slope(at, i, &mut loss);
        assert!((slope - gradient[i]).abs() < 1e-5 * largest, "{i}: {slope} instead of {}", gradient[i]);
    }
}

fn flat(tensor: &Tensor) -> Vec<f64> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}
