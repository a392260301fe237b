//! Losses that every defense shares, as differentiable candle expressions of any float type.

use candle_core::{D, Result, Tensor};

/// Cross entropy of `logits` (B, classes) with `labels` (B), the mean over the batch.
///
/// -1/B sum_b (z_b,y - max z_b - log sum_k exp(z_b,k - max z_b)): the maximum keeps the exponentials finite.
///
/// # Errors
///
/// A label that is not a class, or a number of labels that is not B.
pub fn cross_entropy(logits: &Tensor, labels: &[u32]) -> Result<Tensor> {
    let log_probabilities = log_softmax(logits)?;
    let labels = Tensor::new(labels, logits.device())?.unsqueeze(1)?;
    log_probabilities.gather(&labels, 1)?.mean_all()?.neg()
}

/// log softmax over the last dimension.
///
/// # Errors
///
/// A tensor without dimensions or values.
pub fn log_softmax(logits: &Tensor) -> Result<Tensor> {
    // The maximum cancels out of the result, so no gradient needs to flow through it.
    let max = logits.detach().max_keepdim(D::Minus1)?;
    let shifted = logits.broadcast_sub(&max)?;
    let log_sum = shifted.exp()?.sum_keepdim(D::Minus1)?.log()?;
    shifted.broadcast_sub(&log_sum)
}

/// softmax over the last dimension.
///
/// # Errors
///
/// A tensor without dimensions or values.
pub fn softmax(logits: &Tensor) -> Result<Tensor> {
    log_softmax(logits)?.exp()
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
        let p = softmax(&logits).unwrap().to_vec2::<f64>().unwrap();
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
