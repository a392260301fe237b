//! Attention maps: normalising, pooling and comparing them. Any float type.
//!
//! A network returns A = sum over channels of the activation's squares, (B, H, W), for each of its taps. What is
//! compared is A / (||A|| + 1e-6), the norm being each image's own.

use candle_core::{Error, Result, Tensor};

/// Added to the norm, as in the reference implementations.
const EPSILON: f64 = 1e-6;
/// Keeps the slope of the square root finite where a map is zero everywhere; too small to change any other value.
const TINY: f64 = 1e-30;

/// Maps (B, H, W) divided by their norms plus 1e-6.
pub(super) fn normalise(map: &Tensor) -> Result<Tensor> {
    map.broadcast_div(&(norm(map)? + EPSILON)?)
}

/// The norm of each image's map, (B, 1, 1).
pub(super) fn norm(map: &Tensor) -> Result<Tensor> {
    (map.sqr()?.sum_keepdim((1, 2))? + TINY)?.sqrt()
}

/// Normalises the maps of all taps, which must be as many as `expected`.
///
/// # Errors
///
/// Another number of taps.
pub(super) fn normalise_all(maps: &[Tensor], expected: usize) -> Result<Vec<Tensor>> {
    if maps.len() != expected {
        let problem = format!("a network with {} attention maps; {expected} are compared", maps.len());
        return Err(Error::Msg(problem));
    }
    maps.iter().map(normalise).collect()
}

/// Adaptive average pooling of maps (B, H, W) to (B, height, width), as PyTorch defines it: cell i of n is the mean
/// over floor(i H / n) .. ceil((i + 1) H / n). To a larger size it repeats cells.
pub(super) fn pool(map: &Tensor, height: usize, width: usize) -> Result<Tensor> {
    let (_, h, w) = map.dims3()?;
    if (h, w) == (height, width) {
        return Ok(map.clone());
    }
    let columns_pooled = pool_last(map, width)?;
    pool_last(&columns_pooled.transpose(1, 2)?, height)?.transpose(1, 2)?.contiguous()
}

/// Pools the last dimension of a (B, R, N) tensor to (B, R, n), as a product with a matrix of means.
fn pool_last(x: &Tensor, n: usize) -> Result<Tensor> {
    let (batch, rows, len) = x.dims3()?;
    let mut means = vec![0f64; len * n];
    for cell in 0..n {
        let (start, end) = (cell * len / n, ((cell + 1) * len).div_ceil(n));
        (start..end).for_each(|i| means[i * n + cell] = 1.0 / (end - start) as f64);
    }
    let means = Tensor::from_vec(means, (len, n), x.device())?.to_dtype(x.dtype())?;
    x.contiguous()?.reshape((batch * rows, len))?.matmul(&means)?.reshape((batch, rows, n))
}

/// Two maps at the smaller of their sizes.
fn aligned(a: &Tensor, b: &Tensor) -> Result<(Tensor, Tensor)> {
    let ((_, ha, wa), (_, hb, wb)) = (a.dims3()?, b.dims3()?);
    let (h, w) = (ha.min(hb), wa.min(wb));
    Ok((pool(a, h, w)?, pool(b, h, w)?))
}

/// The mean of the squared difference, over batch and cells.
pub(super) fn mean_square(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    (a - b)?.sqr()?.mean_all()
}

/// sum_l weights_l mean (student_l - teacher_l)^2 over normalised maps: NAD's distillation and ARGD's nodes.
///
/// Maps of different sizes are compared at the smaller one.
pub(super) fn node_loss(student: &[Tensor], teacher: &[Tensor], weights: &[f64; 3]) -> Result<Tensor> {
    let mut terms = vec![];
    for ((student, teacher), &weight) in student.iter().zip(teacher).zip(weights) {
        let (student, teacher) = aligned(student, teacher)?;
        terms.push((mean_square(&student, &teacher)? * weight)?);
    }
    Tensor::stack(&terms, 0)?.sum_all()
}

/// How far apart two maps of one network are, for each image: the sum of squared differences at the smaller size, at
/// least 1e-12, divided by the largest of the batch. (B)
pub(super) fn edge(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let (a, b) = aligned(a, b)?;
    let distance = (a - b)?.sqr()?.sum((1, 2))?.maximum(1e-12)?;
    distance.broadcast_div(&distance.max_keepdim(0)?)
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Var};

    use super::*;

    fn tensor(values: Vec<f64>, shape: (usize, usize, usize)) -> Tensor {
        Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
    }

    fn values(tensor: &Tensor) -> Vec<f64> {
        tensor.flatten_all().unwrap().to_vec1().unwrap()
    }

    #[test]
    fn pooling_means_and_repeats() {
        let map = tensor((0..16).map(f64::from).collect(), (1, 4, 4));
        assert_eq!(values(&pool(&map, 2, 2).unwrap()), [2.5, 4.5, 10.5, 12.5]);
        assert_eq!(values(&pool(&map, 4, 1).unwrap()), [1.5, 5.5, 9.5, 13.5]);
        let small = tensor(vec![1.0, 2.0, 3.0, 4.0], (1, 2, 2));
        let large = [1.0, 1.0, 2.0, 2.0, 1.0, 1.0, 2.0, 2.0, 3.0, 3.0, 4.0, 4.0, 3.0, 3.0, 4.0, 4.0];
        assert_eq!(values(&pool(&small, 4, 4).unwrap()), large);
    }

    #[test]
    fn cells_overlap_where_sizes_do_not_divide() {
        // PyTorch: adaptive_avg_pool1d([0, 1, 2, 3, 4], 3) = [0.5, 2, 3.5].
        let map = tensor((0..5).map(f64::from).collect(), (1, 1, 5));
        assert_eq!(values(&pool(&map, 1, 3).unwrap()), [0.5, 2.0, 3.5]);
    }

    #[test]
    fn a_map_of_zeros_has_a_finite_gradient() {
        let map = Var::from_tensor(&tensor(vec![0.0; 4], (1, 2, 2))).unwrap();
        let loss = normalise(&map).unwrap().sum_all().unwrap();
        let grads = loss.backward().unwrap();
        assert!(values(grads.get(&map).unwrap()).iter().all(|slope| slope.is_finite()));
    }

    #[test]
    fn the_number_of_maps_is_checked() {
        let maps = [tensor(vec![1.0], (1, 1, 1))];
        assert!(normalise_all(&maps, 3).unwrap_err().to_string().contains("1 attention maps; 3"));
    }
}
