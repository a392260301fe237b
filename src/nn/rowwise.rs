//! Functions of each image's own values, computed in one pass and differentiated by hand.
//!
//! Defenses compare small maps. As chains of candle operations, these cost more overhead than arithmetic. A function
//! here sees one image at a time (a *row* of its tensors). So threads share the images, and no sum depends on the
//! number of threads. f32 and f64. The formulas are checked against candle's operations.

use std::ops::Range;

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp2, CustomOp3, DType, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use super::real::{Real, values};

/// Scales each map of (B, ...) to x / (max(||x||, floor) + epsilon), where ||x|| = sqrt(sum x^2 + 1e-30): the small
/// constant keeps the gradient of an all-zero map finite, and is far below the rounding of other maps.
///
/// # Errors
///
/// A type other than f32 and f64.
pub fn scale_to_unit(maps: &Tensor, floor: f64, epsilon: f64) -> Result<Tensor> {
    of_one(Unit { floor, epsilon }, maps)
}

/// Means over the cells of (B, h, w) that meet a cell of (B, height, width), like PyTorch's `adaptive_avg_pool2d`.
///
/// # Errors
///
/// Other ranks, and types other than f32 and f64.
pub fn pool(maps: &Tensor, height: usize, width: usize) -> Result<Tensor> {
    let (_, h, w) = maps.dims3()?;
    if (h, w) == (height, width) {
        return Ok(maps.clone());
    }
    of_one(Pool::new((h, w), (height, width)), maps)
}

/// Sums of the squared differences of each row: (B, ...) and (B, ...) to (B).
///
/// # Errors
///
/// Different shapes, and types other than f32 and f64.
pub fn square_distance(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    of_two(SquareDistance, a, b)
}

/// Products of each row's vectors: (B, n, m, d) and (B, m, d) to (B, n, m), summed over d.
///
/// # Errors
///
/// Shapes that do not match, and types other than f32 and f64.
pub fn dot(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let (_, _, _, length) = a.dims4()?;
    of_two(Dot { length }, a, b)
}

/// One of two arguments.
#[derive(Clone, Copy, PartialEq)]
enum Argument {
    First,
    Second,
}

/// A differentiable function of a row of `a` and the same row of `b`.
trait Rowwise: Clone + Send + Sync + 'static {
    const NAME: &'static str;

    /// The shape of a row of the result, from those of the arguments; `None` if they do not match.
    fn shape(&self, a: &[usize], b: &[usize]) -> Option<Vec<usize>>;

    /// Computes a row.
    fn value<T: Real>(&self, a: &[T], b: &[T], result: &mut [T]);

    /// Computes the gradient of an argument, `to`, from that of the result. `to` is zero before.
    fn gradient<T: Real>(&self, of: Argument, a: &[T], b: &[T], result: &[T], to: &mut [T]);
}

fn of_two<F: Rowwise>(function: F, a: &Tensor, b: &Tensor) -> Result<Tensor> {
    a.contiguous()?.apply_op2(&b.contiguous()?, Value(function))
}

/// A function of `a` only.
fn of_one<F: Rowwise>(function: F, a: &Tensor) -> Result<Tensor> {
    let nothing = Tensor::zeros((a.dim(0)?, 0), a.dtype(), a.device())?;
    of_two(function, a, &nothing)
}

struct Value<F>(F);

struct Gradient<F> {
    function: F,
    of: Argument,
}

impl<F: Rowwise> Value<F> {
    fn shape(&self, a: &Layout, b: &Layout) -> Result<Vec<usize>> {
        let (a, b) = (a.dims(), b.dims());
        let fitting = match (a.split_first(), b.split_first()) {
            (Some((n, a)), Some((m, b))) if n == m => {
                self.0.shape(a, b).map(|row| [&[*n], &row[..]].concat())
            }
            _ => None,
        };
        let Some(shape) = fitting else { bail!("{} of tensors of shapes {a:?} and {b:?}", F::NAME) };
        Ok(shape)
    }

    fn gradient(&self, of: Argument, a: &Tensor, b: &Tensor, result: &Tensor) -> Result<Option<Tensor>> {
        let tensor = if of == Argument::First { a } else { b };
        if !tensor.track_op() {
            return Ok(None);
        }
        let gradient = Gradient { function: self.0.clone(), of };
        a.apply_op3_no_bwd(b, &result.contiguous()?, &gradient).map(Some)
    }
}

impl<F: Rowwise> CustomOp2 for Value<F> {
    fn name(&self) -> &'static str {
        F::NAME
    }

    fn cpu_fwd(
        &self,
        a: &CpuStorage,
        la: &Layout,
        b: &CpuStorage,
        lb: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        fn rows<T: Real>(function: &impl Rowwise, a: &[T], b: &[T], shape: &[usize]) -> CpuStorage {
            let (rows, mut result) = (shape[0], vec![T::zero(); shape.iter().product()]);
            let row = result.len() / rows;
            result.par_chunks_exact_mut(row).with_min_len(at_once(a, rows)).enumerate().for_each(
                |(i, result)| {
                    function.value(row_of(a, rows, i), row_of(b, rows, i), result);
                },
            );
            T::to_cpu_storage_owned(result)
        }
        let shape = self.shape(la, lb)?;
        let result = match a.dtype() {
            DType::F32 => rows::<f32>(&self.0, values(a, la)?, values(b, lb)?, &shape),
            DType::F64 => rows::<f64>(&self.0, values(a, la)?, values(b, lb)?, &shape),
            other => bail!("{} of {other:?}", F::NAME),
        };
        Ok((result, shape.into()))
    }

    fn bwd(
        &self,
        a: &Tensor,
        b: &Tensor,
        _: &Tensor,
        result: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let of = |argument| self.gradient(argument, a, b, result);
        Ok((of(Argument::First)?, of(Argument::Second)?))
    }
}

impl<F: Rowwise> CustomOp3 for Gradient<F> {
    fn name(&self) -> &'static str {
        F::NAME
    }

    fn cpu_fwd(
        &self,
        a: &CpuStorage,
        la: &Layout,
        b: &CpuStorage,
        lb: &Layout,
        g: &CpuStorage,
        lg: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        fn rows<T: Real>(
            op: &Gradient<impl Rowwise>,
            a: &[T],
            b: &[T],
            g: &[T],
            shape: &Shape,
        ) -> CpuStorage {
            let (rows, mut result) = (shape.dims()[0], vec![T::zero(); shape.elem_count()]);
            let row = result.len() / rows;
            result.par_chunks_exact_mut(row).with_min_len(at_once(a, rows)).enumerate().for_each(
                |(i, to)| {
                    op.function.gradient(
                        op.of,
                        row_of(a, rows, i),
                        row_of(b, rows, i),
                        row_of(g, rows, i),
                        to,
                    );
                },
            );
            T::to_cpu_storage_owned(result)
        }
        let shape = if self.of == Argument::First { la.shape() } else { lb.shape() };
        let result = match a.dtype() {
            DType::F32 => rows::<f32>(self, values(a, la)?, values(b, lb)?, values(g, lg)?, shape),
            DType::F64 => rows::<f64>(self, values(a, la)?, values(b, lb)?, values(g, lg)?, shape),
            other => bail!("the gradient of {} of {other:?}", F::NAME),
        };
        Ok((result, shape.clone()))
    }
}

/// The least number of rows for another thread.
fn at_once<T>(values: &[T], rows: usize) -> usize {
    const WORTHWHILE: usize = 1 << 14;
    (WORTHWHILE * rows / values.len().max(1)).max(1)
}

/// Row `i` of `rows`.
fn row_of<T>(values: &[T], rows: usize, i: usize) -> &[T] {
    let length = values.len() / rows;
    &values[i * length..(i + 1) * length]
}

/// Sums `term` over the pairs of `a` and `b`: eight sums side by side, for vector registers, and then their sum.
fn sum<T: Real>(a: &[T], b: &[T], term: impl Fn(T, T) -> T) -> T {
    const LANES: usize = 8;
    let mut sums = [T::zero(); LANES];
    let (a, b) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let rest = a.remainder().iter().zip(b.remainder());
    for (a, b) in a.zip(b) {
        for lane in 0..LANES {
            sums[lane] += term(a[lane], b[lane]);
        }
    }
    let rest = rest.fold(T::zero(), |sum, (&a, &b)| sum + term(a, b));
    sums.into_iter().fold(rest, |sum, lane| sum + lane)
}

#[derive(Clone)]
struct Unit {
    floor: f64,
    epsilon: f64,
}

impl Unit {
    /// The norm of `x`, the divisor, and whether the divisor depends on `x`.
    fn scale<T: Real>(&self, x: &[T]) -> (T, T, bool) {
        let norm = (sum(x, x, |x, _| x * x) + T::from_f64(1e-30)).root();
        let floor = T::from_f64(self.floor);
        let (depends, at_least) = if norm > floor { (true, norm) } else { (false, floor) };
        (norm, at_least + T::from_f64(self.epsilon), depends)
    }
}

impl Rowwise for Unit {
    const NAME: &'static str = "scale-to-unit";

    fn shape(&self, a: &[usize], _: &[usize]) -> Option<Vec<usize>> {
        Some(a.to_vec())
    }

    fn value<T: Real>(&self, x: &[T], _: &[T], result: &mut [T]) {
        let (_, scale, _) = self.scale(x);
        result.iter_mut().zip(x).for_each(|(y, &x)| *y = x / scale);
    }

    // With y = x / s: dL/dx = g / s - x <g, x> / (s^2 ||x||).
    fn gradient<T: Real>(&self, _: Argument, x: &[T], _: &[T], g: &[T], to: &mut [T]) {
        let (norm, scale, depends) = self.scale(x);
        let along = sum(g, x, |g, x| g * x) / (scale * scale * norm);
        let along = if depends { along } else { T::zero() };
        to.iter_mut().zip(x).zip(g).for_each(|((to, &x), &g)| *to = g / scale - x * along);
    }
}

/// Pools columns, then rows: a mean over a rectangle is a mean of means.
#[derive(Clone)]
struct Pool {
    /// Columns of an argument.
    width: usize,
    /// For each row of the result, the rows that it averages.
    rows: Vec<Range<usize>>,
    /// For each column of the result, the columns that it averages.
    columns: Vec<Range<usize>>,
}

impl Pool {
    fn new(from: (usize, usize), to: (usize, usize)) -> Self {
        let reach = |from: usize, to: usize| {
            (0..to).map(|i| i * from / to..((i + 1) * from).div_ceil(to)).collect::<Vec<_>>()
        };
        Self { width: from.1, rows: reach(from.0, to.0), columns: reach(from.1, to.1) }
    }
}

/// 1 / the number of cells in `range`.
fn share<T: Real>(range: &Range<usize>) -> T {
    T::one() / T::from_f64(range.len() as f64)
}

impl Rowwise for Pool {
    const NAME: &'static str = "pool";

    fn shape(&self, _: &[usize], _: &[usize]) -> Option<Vec<usize>> {
        Some(vec![self.rows.len(), self.columns.len()])
    }

    fn value<T: Real>(&self, x: &[T], _: &[T], result: &mut [T]) {
        let width = self.columns.len();
        let mut pooled = Vec::with_capacity(x.len() / self.width * width);
        for row in x.chunks_exact(self.width) {
            let mean = |range: &Range<usize>| {
                row[range.clone()].iter().fold(T::zero(), |sum, &x| sum + x) * share(range)
            };
            pooled.extend(self.columns.iter().map(mean));
        }
        for (to, range) in result.chunks_exact_mut(width).zip(&self.rows) {
            for row in pooled.chunks_exact(width).take(range.end).skip(range.start) {
                to.iter_mut().zip(row).for_each(|(to, &x)| *to += x * share(range));
            }
        }
    }

    fn gradient<T: Real>(&self, _: Argument, _: &[T], _: &[T], g: &[T], to: &mut [T]) {
        let width = self.columns.len();
        let mut pooled = vec![T::zero(); to.len() / self.width * width];
        for (g, range) in g.chunks_exact(width).zip(&self.rows) {
            for row in pooled.chunks_exact_mut(width).take(range.end).skip(range.start) {
                row.iter_mut().zip(g).for_each(|(to, &g)| *to += g * share(range));
            }
        }
        for (to, g) in to.chunks_exact_mut(self.width).zip(pooled.chunks_exact(width)) {
            for (range, &g) in self.columns.iter().zip(g) {
                let share = g * share(range);
                to[range.clone()].iter_mut().for_each(|to| *to += share);
            }
        }
    }
}

#[derive(Clone)]
struct SquareDistance;

impl Rowwise for SquareDistance {
    const NAME: &'static str = "square-distance";

    fn shape(&self, a: &[usize], b: &[usize]) -> Option<Vec<usize>> {
        (a == b).then(Vec::new)
    }

    fn value<T: Real>(&self, a: &[T], b: &[T], result: &mut [T]) {
        result[0] = sum(a, b, |a, b| (a - b) * (a - b));
    }

    fn gradient<T: Real>(&self, of: Argument, a: &[T], b: &[T], g: &[T], to: &mut [T]) {
        let twice = g[0] + g[0];
        let slope = if of == Argument::First { twice } else { T::zero() - twice };
        to.iter_mut().zip(a).zip(b).for_each(|((to, &a), &b)| *to = slope * (a - b));
    }
}

#[derive(Clone)]
struct Dot {
    length: usize,
}

impl Rowwise for Dot {
    const NAME: &'static str = "dot";

    fn shape(&self, a: &[usize], b: &[usize]) -> Option<Vec<usize>> {
        (a.len() == 3 && a[1..] == *b).then(|| a[..2].to_vec())
    }

    fn value<T: Real>(&self, a: &[T], b: &[T], result: &mut [T]) {
        let vectors = a.chunks_exact(self.length).zip(b.chunks_exact(self.length).cycle());
        result.iter_mut().zip(vectors).for_each(|(y, (a, b))| *y = sum(a, b, |a, b| a * b));
    }

    fn gradient<T: Real>(&self, of: Argument, a: &[T], b: &[T], g: &[T], to: &mut [T]) {
        match of {
            Argument::First => {
                let vectors = to.chunks_exact_mut(self.length).zip(b.chunks_exact(self.length).cycle());
                for ((to, b), &g) in vectors.zip(g) {
                    to.iter_mut().zip(b).for_each(|(to, &b)| *to = g * b);
                }
            }
            Argument::Second => {
                for (a, g) in a.chunks_exact(b.len()).zip(g.chunks_exact(b.len() / self.length)) {
                    let vectors = to.chunks_exact_mut(self.length).zip(a.chunks_exact(self.length));
                    for ((to, a), &g) in vectors.zip(g) {
                        to.iter_mut().zip(a).for_each(|(to, &a)| *to += g * a);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{D, Device, Var};

    use super::*;
    use crate::rng::stream;

    fn var(shape: &[usize], index: u64) -> Var {
        let mut stream = stream(1, "rowwise", 0, index);
        let values: Vec<f64> = (0..shape.iter().product()).map(|_| f64::from(stream.normal())).collect();
        Var::from_vec(values, shape, &Device::Cpu).unwrap()
    }

    fn flat(tensor: &Tensor) -> Vec<f64> {
        tensor.flatten_all().unwrap().to_vec1().unwrap()
    }

    /// Compares a function with candle's chain: values, and the gradients of a weighted sum.
    fn same(inputs: &[&Var], ours: impl Fn() -> Result<Tensor>, chain: impl Fn() -> Result<Tensor>) {
        let both = [ours().unwrap(), chain().unwrap()];
        let weights = var(both[0].dims(), 9);
        let gradients = both.each_ref().map(|result| {
            let grads = (result * weights.as_tensor()).unwrap().sum_all().unwrap().backward().unwrap();
            inputs.iter().flat_map(|input| flat(grads.get(input).unwrap())).collect::<Vec<_>>()
        });
        let close =
            |a: &[f64], b: &[f64]| a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-12);
        assert_eq!(both[0].dims(), both[1].dims());
        assert!(close(&flat(&both[0]), &flat(&both[1])), "values");
        assert!(close(&gradients[0], &gradients[1]), "gradients");
    }

    #[test]
    fn scaling_agrees_with_candle() {
        let x = var(&[3, 5, 7], 0);
        for (floor, epsilon) in [(0.0, 1e-6), (1e-12, 0.0), (100.0, 0.5)] {
            let chain = || {
                let norm = (x.sqr()?.sum_keepdim((1, 2))? + 1e-30)?.sqrt()?;
                x.broadcast_div(&(norm.maximum(floor)? + epsilon)?)
            };
            same(&[&x], || scale_to_unit(&x, floor, epsilon), chain);
        }
    }

    #[test]
    fn a_map_of_zeros_has_a_finite_gradient() {
        let map = Var::zeros((1, 2, 2), DType::F32, &Device::Cpu).unwrap();
        let grads = scale_to_unit(&map, 0.0, 1e-6).unwrap().sum_all().unwrap().backward().unwrap();
        let slopes: Vec<f32> = grads.get(&map).unwrap().flatten_all().unwrap().to_vec1().unwrap();
        assert!(slopes.iter().all(|slope| slope.is_finite()));
    }

    #[test]
    fn pooling_agrees_with_candle() {
        let x = var(&[2, 6, 4], 0);
        let chain = || x.unsqueeze(1)?.avg_pool2d((3, 2))?.squeeze(1);
        same(&[&x], || pool(&x, 2, 2), chain);
    }

    #[test]
    fn cells_repeat_and_overlap_where_sizes_do_not_divide() {
        // PyTorch: adaptive_avg_pool1d([0, 1, 2, 3, 4], 3) = [0.5, 2, 3.5].
        let row = Tensor::from_vec(vec![0f64, 1.0, 2.0, 3.0, 4.0], (1, 1, 5), &Device::Cpu).unwrap();
        assert_eq!(flat(&pool(&row, 1, 3).unwrap()), [0.5, 2.0, 3.5]);
        let pair = Tensor::from_vec(vec![1f64, 2.0], (1, 1, 2), &Device::Cpu).unwrap();
        assert_eq!(flat(&pool(&pair, 2, 4).unwrap()), [1.0, 1.0, 2.0, 2.0, 1.0, 1.0, 2.0, 2.0]);
    }

    #[test]
    fn distances_agree_with_candle() {
        let (a, b) = (var(&[3, 3, 5], 0), var(&[3, 3, 5], 1));
        same(&[&a, &b], || square_distance(&a, &b), || (a.as_tensor() - b.as_tensor())?.sqr()?.sum((1, 2)));
    }

    #[test]
    fn dots_agree_with_candle() {
        let (a, b) = (var(&[2, 3, 4, 9], 0), var(&[2, 4, 9], 1));
        same(&[&a, &b], || dot(&a, &b), || a.broadcast_mul(&b.unsqueeze(1)?)?.sum(D::Minus1));
    }

    #[test]
    fn shapes_that_do_not_fit_are_refused() {
        let message = square_distance(&var(&[2, 3], 0), &var(&[2, 4], 1)).unwrap_err().to_string();
        assert!(message.contains("square-distance of tensors of shapes [2, 3] and [2, 4]"), "{message}");
    }
}
