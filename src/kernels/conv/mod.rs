//! Convolution of one NHWC image: forward, and the gradients of its input and its weight.
//!
//! [`convolution`] chooses the algorithm for a shape: `winograd` for most 3x3 kernels of stride 1, `direct` for
//! everything else.

mod algorithm;
mod direct;
mod shape;
mod winograd;

use std::sync::Arc;

pub use algorithm::Convolution;
use direct::Direct;
pub use shape::ConvShape;
use winograd::Winograd;

/// The fastest algorithm for images of a shape.
pub fn convolution(shape: ConvShape) -> Arc<dyn Convolution> {
    if Winograd::fits(&shape) { Arc::new(Winograd::new(shape)) } else { Arc::new(Direct::new(shape)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::image::Bordered;
    use crate::kernels::{Level, padded, pointwise};
    use crate::rng;

    fn random(purpose: &str, len: usize) -> Vec<f32> {
        let mut stream = rng::stream(5, purpose, 0, 0);
        (0..len).map(|_| stream.between(-1.0, 1.0)).collect()
    }

    fn bordered(purpose: &str, shape: [usize; 2], channels: usize) -> Bordered {
        let (mut image, [height, width], pitch) = (Bordered::default(), shape, padded(channels));
        image.reshape(height, width, pitch);
        let mut values = random(purpose, height * width * pitch);
        values.chunks_exact_mut(pitch).for_each(|pixel| pixel[channels..].fill(0.0));
        pointwise::load_image(&values, &mut image);
        image
    }

    /// Output, input gradient onto something, weight gradient.
    fn results(way: &dyn Convolution, shape: &ConvShape, level: Level) -> [Vec<f32>; 3] {
        let ConvShape { height, width, cin, pitch, cout, kernel, .. } = *shape;
        let weight = random("weight", kernel * kernel * cin * cout);
        let (input, gradient) =
            (bordered("input", [height, width], cin), bordered("gradient", [height, width], cout));
        let mut room = vec![];

        let addend = random("addend", height * width * padded(cout));
        let mut output = vec![0.0; addend.len()];
        let mut packed = vec![0.0; way.packed_len()];
        way.pack_forward(&weight, &mut packed);
        way.forward(level, &mut room, &input, &packed, Some(&addend), &mut output);

        let mut of_input = random("before", height * width * pitch);
        let mut packed = vec![0.0; way.packed_backward_len()];
        way.pack_backward(&weight, &mut packed);
        way.backward(level, &mut room, &gradient, &packed, true, &mut of_input);

        let mut packed = vec![0.0; way.packed_len()];
        let mut of_weight = random("start", weight.len());
        way.weight_gradient(level, &mut room, &input, &gradient, &mut packed);
        way.unpack_gradient(&packed, &mut of_weight);
        [output, of_input, of_weight]
    }

    #[test]
    fn winograd_agrees_with_the_direct_sums() {
        for (height, width, cin, cout) in [(2, 2, 1, 1), (4, 10, 16, 16), (8, 6, 20, 40), (14, 14, 64, 17)] {
            let shape = ConvShape { height, width, cin, pitch: padded(cin), cout, kernel: 3, stride: 1 };
            let direct = results(&Direct::new(shape), &shape, Level::Portable);
            let ours = results(&Winograd::new(shape), &shape, Level::Portable);
            for (what, (a, b)) in ["output", "input", "weight"].iter().zip(ours.iter().zip(&direct)) {
                let largest = b.iter().fold(1f32, |max, b| max.max(b.abs()));
                for (a, b) in a.iter().zip(b) {
                    assert!((a - b).abs() <= 3e-6 * largest, "{shape:?} {what}: {a} {b}");
                }
            }
            for level in Level::available() {
                assert_eq!(results(&Winograd::new(shape), &shape, level), ours, "{level:?}");
            }
        }
    }
}
