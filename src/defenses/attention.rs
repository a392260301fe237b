//! Attention maps: normalization, pooling and comparison. Any float type.
//!
//! A network returns A = sum over channels of the activation's squares, (B, H, W), for each of its taps. Defenses
//! compare A / (||A|| + 1e-6), with the norm of each image.

use candle_core::{Error, Result, Tensor};

use crate::nn::rowwise::{pool, scale_to_unit, square_distance};

/// Added to the norm, as in the reference implementations.
const EPSILON: f64 = 1e-6;

/// Maps (B, H, W) divided by their norms plus 1e-6.
pub(super) fn normalise(map: &Tensor) -> Result<Tensor> {
    scale_to_unit(map, 0.0, EPSILON)
}

/// Normalizes the maps of all taps, whose number must be `expected`.
///
/// # Errors
///
/// Another number of taps.
pub(super) fn normalise_all(maps: &[Tensor], expected: usize) -> Result<Vec<Tensor>> {
    if maps.len() != expected {
        let problem = format!("the network has {} attention maps, expected {expected}", maps.len());
        return Err(Error::Msg(problem));
    }
    maps.iter().map(normalise).collect()
}

/// Two maps, pooled to the smaller size.
fn aligned(a: &Tensor, b: &Tensor) -> Result<(Tensor, Tensor)> {
    let ((_, ha, wa), (_, hb, wb)) = (a.dims3()?, b.dims3()?);
    let (h, w) = (ha.min(hb), wa.min(wb));
    Ok((pool(a, h, w)?, pool(b, h, w)?))
}

/// The mean of the squared difference, over batch and cells.
pub(super) fn mean_square(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    square_distance(a, b)?.sum_all()? / a.elem_count() as f64
}

/// sum_l weights_l mean (student_l - teacher_l)^2 over normalized maps: NAD's distillation and ARGD's nodes.
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

/// The distance of two maps of one network, for each image: the sum of squared differences at the smaller size, at
/// least 1e-12, divided by the largest of the batch. (B)
pub(super) fn edge(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let (a, b) = aligned(a, b)?;
    let distance = square_distance(&a, &b)?.maximum(1e-12)?;
    distance.broadcast_div(&distance.max_keepdim(0)?)
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    fn tensor(values: Vec<f64>, shape: (usize, usize, usize)) -> Tensor {
        Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
    }

    #[test]
    fn maps_of_different_sizes_meet_at_the_smaller_one() {
        let large = tensor((1..=9).map(f64::from).collect(), (1, 3, 3));
        let small = tensor(vec![0.0, 1.0, 2.0, 3.0], (1, 2, 2));
        let values = |map: &Tensor| map.flatten_all().unwrap().to_vec1::<f64>().unwrap();
        for (a, b) in [(&large, &small), (&small, &large)] {
            let (a, b) = aligned(a, b).unwrap();
            assert_eq!((a.dims(), b.dims()), (&[1, 2, 2][..], &[1, 2, 2][..]));
            let mut found = [values(&a), values(&b)];
            found.sort_by(|a, b| a[0].total_cmp(&b[0]));
            // Means of 1 2 4 5, of 2 3 5 6, of 4 5 7 8 and of 5 6 8 9.
            assert_eq!(found, [[0.0, 1.0, 2.0, 3.0], [3.0, 4.0, 6.0, 7.0]]);
        }
        // (9 + 9 + 16 + 16) / 4, of the first map alone.
        let maps = |map: &Tensor| vec![map.clone(), small.clone(), small.clone()];
        let loss = node_loss(&maps(&large), &maps(&small), &[2.0, 3.0, 5.0]).unwrap();
        assert_eq!(loss.to_scalar::<f64>().unwrap(), 25.0);
    }

    #[test]
    fn a_wider_map_and_a_higher_one_meet_at_the_shorter_sides() {
        let wide = tensor(vec![1.0, 3.0, 5.0, 7.0], (1, 1, 4));
        let high = tensor(vec![1.0, 2.0, 5.0, 6.0], (1, 2, 2));
        let (wide, high) = aligned(&wide, &high).unwrap();
        assert_eq!(wide.to_vec3::<f64>().unwrap(), [[[2.0, 6.0]]]);
        assert_eq!(high.to_vec3::<f64>().unwrap(), [[[3.0, 4.0]]]);
    }

    #[test]
    fn the_number_of_maps_is_checked() {
        let maps = [tensor(vec![1.0], (1, 1, 1))];
        assert!(normalise_all(&maps, 3).unwrap_err().to_string().contains("1 attention maps, expected 3"));
    }
}
