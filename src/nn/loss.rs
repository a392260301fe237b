//! Losses that all defenses share, as differentiable candle expressions of any float type.

use candle_core::{Result, Tensor};
use candle_nn::loss;

/// Cross entropy of `logits` (B, classes) with `labels` (B), the mean over the batch.
///
/// # Errors
///
/// A label that is not a class, or a number of labels that is not B.
pub fn cross_entropy(logits: &Tensor, labels: &[u32]) -> Result<Tensor> {
    loss::cross_entropy(logits, &Tensor::new(labels, logits.device())?)
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Var};

    use super::*;

    fn var<const N: usize>(rows: &[[f64; 3]; N]) -> Var {
        Var::from_slice(rows.as_flattened(), (N, 3), &Device::Cpu).unwrap()
    }

    #[test]
    fn cross_entropy_is_the_mean_of_minus_log_p() {
        let logits = var(&[[0.0, 2f64.ln(), 4f64.ln()], [1.0, 1.0, 1.0]]);
        let loss = cross_entropy(&logits, &[1, 0]).unwrap().to_scalar::<f64>().unwrap();
        let expected = (-(2f64 / 7.0).ln() - (1f64 / 3.0).ln()) / 2.0;
        assert!((loss - expected).abs() < 1e-12);
    }

    #[test]
    fn its_gradient_is_softmax_minus_one_hot_over_b() {
        let logits = var(&[[0.3, -1.0, 2.0], [5.0, 4.0, -3.0]]);
        let loss = cross_entropy(&logits, &[2, 1]).unwrap();
        let grad = loss.backward().unwrap().get(&logits).unwrap().to_vec2::<f64>().unwrap();
        let p = candle_nn::ops::softmax(&logits, 1).unwrap().to_vec2::<f64>().unwrap();
        for (row, label) in [(0, 2), (1, 1)] {
            for k in 0..3 {
                let expected = (p[row][k] - f64::from(u8::from(k == label))) / 2.0;
                assert!((grad[row][k] - expected).abs() < 1e-12);
            }
        }
    }

    #[test]
    fn large_logits_stay_finite() {
        let logits = Tensor::new(&[[1000f32, -1000.0, 0.0]], &Device::Cpu).unwrap();
        let loss = |label| cross_entropy(&logits, &[label]).unwrap().to_scalar::<f32>().unwrap();
        assert_eq!(loss(0), 0.0);
        assert_eq!(loss(1), 2000.0);
    }

    #[test]
    fn a_label_that_is_no_class_is_an_error() {
        assert!(cross_entropy(&var(&[[0.0; 3]]), &[3]).is_err());
    }
}
