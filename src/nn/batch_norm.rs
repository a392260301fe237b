//! Batch normalization of vectors by the statistics of their batch, in one pass each way. f32 and f64.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp3, DType, Layout, Result, Shape, Tensor, bail};

use super::graph::BN_EPSILON;
use super::real::{Real, values};

/// gamma (x - mean) / sqrt(variance + 1e-5) + beta for `x` (B, C), `gamma` and `beta` (C); mean and (biased) variance
/// are those of each column.
///
/// # Errors
///
/// Shapes that do not match, and types other than f32 and f64.
pub fn batch_norm(x: &Tensor, gamma: &Tensor, beta: &Tensor) -> Result<Tensor> {
    x.contiguous()?.apply_op3(&gamma.contiguous()?, &beta.contiguous()?, BatchNorm)
}

struct BatchNorm;

/// The gradients of x, gamma and beta, (B + 2, C), from x, gamma and the gradient of the result.
struct Gradient;

impl CustomOp3 for BatchNorm {
    fn name(&self) -> &'static str {
        "batch-norm"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        lx: &Layout,
        gamma: &CpuStorage,
        lg: &Layout,
        beta: &CpuStorage,
        lb: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (rows, columns) = lx.shape().dims2()?;
        if rows == 0 || lg.dims() != [columns] || lb.dims() != [columns] {
            bail!("batch-norm of {:?} with {:?} and {:?}", lx.dims(), lg.dims(), lb.dims());
        }
        let result = match x.dtype() {
            DType::F32 => forward::<f32>(values(x, lx)?, values(gamma, lg)?, values(beta, lb)?),
            DType::F64 => forward::<f64>(values(x, lx)?, values(gamma, lg)?, values(beta, lb)?),
            other => bail!("batch-norm of {other:?}"),
        };
        Ok((result, lx.shape().clone()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        gamma: &Tensor,
        _: &Tensor,
        _: &Tensor,
        result: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let all = x.apply_op3_no_bwd(gamma, &result.contiguous()?, &Gradient)?;
        let rows = x.dim(0)?;
        Ok((Some(all.narrow(0, 0, rows)?), Some(all.get(rows)?), Some(all.get(rows + 1)?)))
    }
}

impl CustomOp3 for Gradient {
    fn name(&self) -> &'static str {
        "batch-norm-gradient"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        lx: &Layout,
        gamma: &CpuStorage,
        lg: &Layout,
        result: &CpuStorage,
        lr: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (rows, columns) = lx.shape().dims2()?;
        let gradients = match x.dtype() {
            DType::F32 => backward::<f32>(values(x, lx)?, values(gamma, lg)?, values(result, lr)?),
            DType::F64 => backward::<f64>(values(x, lx)?, values(gamma, lg)?, values(result, lr)?),
            other => bail!("the gradient of batch-norm of {other:?}"),
        };
        Ok((gradients, (rows + 2, columns).into()))
    }
}

/// Each column's mean and 1 / deviation.
struct Statistics<T> {
    mean: Vec<T>,
    scale: Vec<T>,
}

/// Sums `term(column, value)` over the rows of `x`.
fn sums<T: Real>(x: &[T], columns: usize, term: impl Fn(usize, T) -> T) -> Vec<T> {
    let mut sums = vec![T::zero(); columns];
    for row in x.chunks_exact(columns) {
        let each = sums.iter_mut().zip(row).enumerate();
        each.for_each(|(column, (sum, &x))| *sum += term(column, x));
    }
    sums
}

impl<T: Real> Statistics<T> {
    fn of(x: &[T], columns: usize) -> Self {
        let count = T::from_f64((x.len() / columns) as f64);
        let mean: Vec<T> = sums(x, columns, |_, x| x).into_iter().map(|sum| sum / count).collect();
        let squares = sums(x, columns, |column, x| (x - mean[column]) * (x - mean[column]));
        let scale = |square: T| T::one() / (square / count + T::from_f64(f64::from(BN_EPSILON))).root();
        Self { mean, scale: squares.into_iter().map(scale).collect() }
    }
}

fn forward<T: Real>(x: &[T], gamma: &[T], beta: &[T]) -> CpuStorage {
    let columns = gamma.len();
    let Statistics { mean, scale } = Statistics::of(x, columns);
    let mut y = x.to_vec();
    for row in y.chunks_exact_mut(columns) {
        for (c, y) in row.iter_mut().enumerate() {
            *y = gamma[c] * ((*y - mean[c]) * scale[c]) + beta[c];
        }
    }
    T::to_cpu_storage_owned(y)
}

/// With n = (x - mean) scale: d gamma = sum g n, d beta = sum g, dx = gamma scale (g - mean g - n mean(g n)).
fn backward<T: Real>(x: &[T], gamma: &[T], g: &[T]) -> CpuStorage {
    let columns = gamma.len();
    let count = T::from_f64((x.len() / columns) as f64);
    let Statistics { mean, scale } = Statistics::of(x, columns);
    let normalised = |c: usize, x: T| (x - mean[c]) * scale[c];
    let (mut d_gamma, d_beta) = (vec![T::zero(); columns], sums(g, columns, |_, g| g));
    for (x, g) in x.chunks_exact(columns).zip(g.chunks_exact(columns)) {
        (0..columns).for_each(|c| d_gamma[c] += g[c] * normalised(c, x[c]));
    }
    let mut all = g.to_vec();
    for (to, x) in all.chunks_exact_mut(columns).zip(x.chunks_exact(columns)) {
        for c in 0..columns {
            let centred = to[c] - d_beta[c] / count - normalised(c, x[c]) * (d_gamma[c] / count);
            to[c] = gamma[c] * scale[c] * centred;
        }
    }
    all.extend(d_gamma);
    all.extend(d_beta);
    T::to_cpu_storage_owned(all)
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Var};

    use super::*;
    use crate::rng::stream;

    fn var(shape: &[usize], index: u64) -> Var {
        let mut stream = stream(1, "batch-norm", 0, index);
        let values: Vec<f64> = (0..shape.iter().product()).map(|_| f64::from(stream.normal())).collect();
        Var::from_vec(values, shape, &Device::Cpu).unwrap()
    }

    fn chain(x: &Tensor, gamma: &Tensor, beta: &Tensor) -> Result<Tensor> {
        let centred = x.broadcast_sub(&x.mean_keepdim(0)?)?;
        let deviation = (centred.sqr()?.mean_keepdim(0)? + f64::from(BN_EPSILON))?.sqrt()?;
        centred.broadcast_div(&deviation)?.broadcast_mul(gamma)?.broadcast_add(beta)
    }

    #[test]
    fn values_and_gradients_agree_with_candle() {
        let inputs = [var(&[7, 5], 0), var(&[5], 1), var(&[5], 2)];
        let [x, gamma, beta] = &inputs;
        let weights = var(&[7, 5], 3);
        let results = [batch_norm(x, gamma, beta).unwrap(), chain(x, gamma, beta).unwrap()];
        let [ours, candles] = results.map(|y| {
            let grads = (&y * weights.as_tensor()).unwrap().sum_all().unwrap().backward().unwrap();
            let flat = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1::<f64>().unwrap();
            let gradients = inputs.iter().flat_map(|input| flat(grads.get(input).unwrap()));
            flat(&y).into_iter().chain(gradients).collect::<Vec<_>>()
        });
        assert_eq!(ours.len(), 2 * 35 + 10);
        assert!(ours.iter().zip(&candles).all(|(a, b)| (a - b).abs() < 1e-12), "{ours:?} {candles:?}");
    }

    #[test]
    fn shapes_that_do_not_fit_are_refused() {
        let message = batch_norm(&var(&[2, 3], 0), &var(&[4], 1), &var(&[3], 2)).unwrap_err().to_string();
        assert!(message.contains("batch-norm of [2, 3] with [4] and [3]"), "{message}");
    }
}
