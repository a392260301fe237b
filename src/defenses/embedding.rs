//! ARGD's graph embedding: cross-layer attention between the maps of student and teacher. Any float type.
//!
//! With maps l = 1..n of each network and their means m_l, per image: query q_t = BN(w_t m_t) of the teacher, key k_s
//! = ReLU(BN(w_s m_s)) of the student, K_s,t = BN(W k_s)_t, a_t,s = softmax_s((<K_s,t, q_t> + <P_t, P_s>) / sqrt(d)),
//! loss = sum_t mean_images sum_s a_t,s mean_cells (v_s,t - v_t)^2, where v_t is the teacher's squared map and v_s,t
//! the student's, pooled to its size, both scaled to norm 1. The reference adds biases before the batch
//! normalizations. They cancel, so they are omitted.

use candle_core::{D, Result, Tensor};
use candle_nn::ops::softmax;

use crate::nn::batch_norm::batch_norm;
use crate::nn::rowwise::{dot, pool, scale_to_unit, square_distance};
use crate::rng::{Stream, stream};

/// The sizes of the embedding; its parameters are one flat vector.
#[derive(Clone, Copy, Debug)]
pub(super) struct Embedding {
    /// The number of maps of each network, n.
    pub taps: usize,
    /// The length of queries and keys, d.
    pub dim: usize,
}

/// A linear layer without bias, and the batch normalization after it.
struct Layer {
    weight: Tensor,
    gamma: Tensor,
    beta: Tensor,
}

/// The parameters as tensors.
struct Parameters {
    /// Teacher's maps to queries: (n, d) each.
    query: Layer,
    /// Student's maps to keys: (n, d) each.
    key: Layer,
    /// Keys to one key per target: (d, n d), (n d), (n d).
    per_target: Layer,
    /// Position vectors of the teacher's maps, (n, d).
    teacher_place: Tensor,
    /// Position vectors of the student's maps, (n, d).
    student_place: Tensor,
}

impl Embedding {
    /// Draws initial values: PyTorch's default for linear layers, Xavier normal for positions.
    pub fn draw(self, seed: u64) -> Vec<f32> {
        let Self { taps: n, dim: d } = self;
        let part = |index, len, mut value: Box<dyn FnMut(&mut Stream) -> f32>| {
            let mut stream = stream(seed, "attention", 0, index);
            (0..len).map(|_| value(&mut stream)).collect::<Vec<_>>()
        };
        let linear = |index, inputs: usize, len| {
            let bound = 1.0 / (inputs as f32).sqrt();
            part(index, len, Box::new(move |stream| stream.between(-bound, bound)))
        };
        let place = |index| {
            let std = (2.0 / (n + d) as f32).sqrt();
            part(index, n * d, Box::new(move |stream| std * stream.normal()))
        };
        let batch_norm = |len| [vec![1.0; len], vec![0.0; len]].concat();
        [
            [linear(0, 1, n * d), batch_norm(n * d)].concat(),
            [linear(1, 1, n * d), batch_norm(n * d)].concat(),
            [linear(2, d, d * n * d), batch_norm(n * d)].concat(),
            place(3),
            place(4),
        ]
        .concat()
    }

    /// The loss of the student's normalized maps compared with the teacher's, each (B, H, W).
    ///
    /// # Errors
    ///
    /// `parameters` does not have the length of [`Embedding::draw`].
    pub fn loss(self, parameters: &Tensor, student: &[Tensor], teacher: &[Tensor]) -> Result<Tensor> {
        Tensor::stack(&self.terms(parameters, student, teacher)?, 0)?.sum_all()
    }

    /// The terms of the loss: one for each of the teacher's maps.
    ///
    /// # Errors
    ///
    /// Those of [`Embedding::loss`].
    pub fn terms(self, parameters: &Tensor, student: &[Tensor], teacher: &[Tensor]) -> Result<Vec<Tensor>> {
        let attention = self.attention(parameters, student, teacher)?;
        let mut terms = vec![];
        for (t, teacher) in teacher.iter().enumerate() {
            let (_, height, width) = teacher.dims3()?;
            let target = unit(&teacher.sqr()?)?;
            let mut errors = vec![];
            for student in student {
                let value = unit(&pool(&student.sqr()?, height, width)?)?;
                errors.push((square_distance(&value, &target)? / (height * width) as f64)?);
            }
            let weighted = (Tensor::stack(&errors, 1)? * attention.narrow(1, t, 1)?.squeeze(1)?)?;
            terms.push(weighted.sum(1)?.mean_all()?);
        }
        Ok(terms)
    }

    /// The attention of each target t to each of the student's maps s, (B, t, s); sums to 1 over s.
    fn attention(self, parameters: &Tensor, student: &[Tensor], teacher: &[Tensor]) -> Result<Tensor> {
        let Self { taps: n, dim: d } = self;
        let (student, teacher) = (means(student)?, means(teacher)?);
        let batch = student.dim(0)?;
        let parameters = self.split(&parameters.to_dtype(student.dtype())?)?;

        let query = parameters.query.per_map(&teacher)?.reshape((batch, n, d))?;
        let key = parameters.key.per_map(&student)?.relu()?.reshape((batch * n, d))?;
        let key = parameters.per_target.dense(&key)?.reshape((batch, n, n, d))?;
        let matched = dot(&key, &query)?;
        let places = parameters.student_place.matmul(&parameters.teacher_place.t()?)?;
        let scores = (matched.broadcast_add(&places)? / (d as f64).sqrt())?;
        softmax(&scores.transpose(1, 2)?.contiguous()?, D::Minus1)
    }

    fn split(self, flat: &Tensor) -> Result<Parameters> {
        let Self { taps: n, dim: d } = self;
        let mut offset = 0;
        let mut take = |shape: &[usize]| {
            let len = shape.iter().product();
            offset += len;
            flat.narrow(0, offset - len, len)?.reshape(shape)
        };
        let mut layer = |weight: &[usize]| {
            Ok::<_, candle_core::Error>(Layer {
                weight: take(weight)?,
                gamma: take(&[n * d])?,
                beta: take(&[n * d])?,
            })
        };
        Ok(Parameters {
            query: layer(&[n, d])?,
            key: layer(&[n, d])?,
            per_target: layer(&[d, n * d])?,
            teacher_place: take(&[n, d])?,
            student_place: take(&[n, d])?,
        })
    }
}

impl Layer {
    /// Maps one number per map, (B, n), to one vector per map, side by side in (B, n d).
    fn per_map(&self, means: &Tensor) -> Result<Tensor> {
        let product = means.unsqueeze(2)?.broadcast_mul(&self.weight)?;
        batch_norm(&product.flatten_from(1)?, &self.gamma, &self.beta)
    }

    /// Maps vectors, (rows, d), to longer vectors, (rows, n d).
    fn dense(&self, x: &Tensor) -> Result<Tensor> {
        batch_norm(&x.matmul(&self.weight)?, &self.gamma, &self.beta)
    }
}

/// The mean of each image's maps, (B, n).
fn means(maps: &[Tensor]) -> Result<Tensor> {
    let means = maps.iter().map(|map| map.mean((1, 2))).collect::<Result<Vec<_>>>()?;
    Tensor::stack(&means, 1)
}

/// Maps scaled to norm 1, or left at zero.
fn unit(map: &Tensor) -> Result<Tensor> {
    scale_to_unit(map, 1e-12, 0.0)
}

#[cfg(test)]
pub(super) mod tests {
    use candle_core::{DType, Device};

    use super::super::attention::normalise;
    use super::*;

    const EMBEDDING: Embedding = Embedding { taps: 3, dim: 128 };

    /// The published check's features, summed over channels: sines for the student, cosines for the teacher.
    pub(crate) fn golden_maps() -> (Vec<Tensor>, Vec<Tensor>) {
        let maps = |width: usize, value: &dyn Fn(f64, f64, f64, f64, f64) -> f64| {
            let map = |l: usize| {
                let (channels, side) = (width << l, 32 >> l);
                let cell = |b: usize, h: usize, w: usize| {
                    let [l, b, h, w] = [l, b, h, w].map(|index| index as f64);
                    (0..channels).map(|c| value(l, b, c as f64, h, w).powi(2)).sum::<f64>()
                };
                let cells = (0..4).flat_map(|b| (0..side * side).map(move |i| cell(b, i / side, i % side)));
                let map = Tensor::from_vec(cells.collect(), (4, side, side), &Device::Cpu).unwrap();
                normalise(&map).unwrap()
            };
            (0..3).map(map).collect()
        };
        let student = |l: f64, b: f64, c: f64, h: f64, w: f64| {
            (0.1 * (l + 1.0) + 0.37 * b + 0.11 * c + 0.05 * h * (1.0 + 0.1 * b) + 0.03 * w).sin()
        };
        let teacher = |l: f64, b: f64, c: f64, h: f64, w: f64| {
            (0.2 * (l + 1.0) - 0.21 * b + 0.07 * c + 0.04 * h - 0.06 * w * (1.0 + 0.1 * b)).cos()
        };
        (maps(16, &student), maps(32, &teacher))
    }

    /// The published check's parameters.
    pub(crate) fn golden_parameters() -> Tensor {
        let (n, d) = (3, 128);
        let per_map = |shift: usize| {
            let weight = (0..n * d).map(|k| ((k % d + k / d + shift) % 7) as f64 / 3.0 - 1.0);
            weight.collect::<Vec<_>>()
        };
        let dense =
            (0..d * n * d).map(|k| (((3 * (k % (n * d)) + 5 * (k / (n * d))) % 11) as f64 - 5.0) / 50.0);
        let place = |scale: f64, period: usize| {
            let value =
                move |k: usize| scale * (k / d + 1) as f64 * ((k % d % period) as f64 - (period / 2) as f64);
            (0..n * d).map(value).collect::<Vec<_>>()
        };
        let batch_norm = [vec![1.0; n * d], vec![0.0; n * d]].concat();
        let flat = [
            per_map(3),
            batch_norm.clone(),
            per_map(0),
            batch_norm.clone(),
            dense.collect(),
            batch_norm,
            place(0.01, 5),
            place(0.02, 3),
        ]
        .concat();
        Tensor::new(flat, &Device::Cpu).unwrap()
    }

    #[test]
    fn attention_and_loss_are_the_published_checks() {
        let (student, teacher) = golden_maps();
        let attention = EMBEDDING.attention(&golden_parameters(), &student, &teacher).unwrap();
        let expected = [
            [0.34277318, 0.32907929, 0.32814752],
            [0.32625615, 0.33675775, 0.3369861],
            [0.33337715, 0.33331179, 0.33331106],
        ];
        let first = attention.to_vec3::<f64>().unwrap().swap_remove(0);
        for (found, expected) in first.iter().flatten().zip(expected.iter().flatten()) {
            assert!((found - expected).abs() < 1e-8, "{found} instead of {expected}");
        }
        let loss = EMBEDDING.loss(&golden_parameters(), &student, &teacher).unwrap();
        let loss = loss.to_scalar::<f64>().unwrap();
        assert!((loss / 3.016291516e-3 - 1.0).abs() < 1e-9, "{loss}");
    }

    #[test]
    fn drawn_parameters_fit_and_depend_on_the_seed_alone() {
        let drawn = EMBEDDING.draw(7);
        assert_eq!(drawn, EMBEDDING.draw(7));
        assert_ne!(drawn, EMBEDDING.draw(8));
        assert_eq!(drawn.len(), golden_parameters().elem_count());
        let (student, teacher) = golden_maps();
        let parameters = Tensor::new(drawn, &Device::Cpu).unwrap();
        let loss = EMBEDDING.loss(&parameters, &student, &teacher).unwrap();
        assert_eq!(loss.dtype(), DType::F64);
        assert!(loss.to_scalar::<f64>().unwrap().is_finite());
    }
}
