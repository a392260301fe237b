//! Convolution of batches of NHWC images: forward, and the gradients of their inputs and of the weight.
//!
//! [`convolution`] chooses the algorithm for a shape: `winograd` for most 3x3 kernels of stride 1, `direct` for
//! everything else.

mod algorithm;
mod direct;
mod shape;
mod sharing;
mod winograd;

use std::sync::Arc;

pub use algorithm::{Addend, Convolution, Finish, Load};
use direct::Direct;
pub use shape::ConvShape;
pub use sharing::share;
use winograd::winograd;

/// The fastest algorithm for images of a shape.
pub fn convolution(shape: ConvShape) -> Arc<dyn Convolution> {
    winograd(&shape).unwrap_or_else(|| Arc::new(Direct::new(shape)))
}

#[cfg(test)]
mod tests {
    use super::winograd::{Four, Two, Winograd};
    use super::*;
    use crate::kernels::{Level, padded, pointwise};
    use crate::rng;

    const BATCH: usize = 5;

    fn random(purpose: &str, len: usize) -> Vec<f32> {
        let mut stream = rng::stream(5, purpose, 0, 0);
        (0..len).map(|_| stream.between(-1.0, 1.0)).collect()
    }

    /// A batch of one shape; the channels that fill whole vectors are zero.
    fn images(purpose: &str, [height, width]: [usize; 2], channels: usize) -> Vec<f32> {
        let pitch = padded(channels);
        let mut values = random(purpose, BATCH * height * width * pitch);
        values.chunks_exact_mut(pitch).for_each(|pixel| pixel[channels..].fill(0.0));
        values
    }

    /// Output, input gradient onto something, weight gradient onto something, and what is finished of both images.
    fn results(way: &dyn Convolution, shape: &ConvShape, level: Level) -> [Vec<f32>; 4] {
        let ConvShape { height, width, cin, pitch, cout, kernel, .. } = *shape;
        let weight = random("weight", kernel * kernel * cin * cout);
        let side = [height, width];
        let (input, gradient) = (images("input", side, cin), images("gradient", side, cout));
        let load = |batch: &[f32], i: usize, to: &mut crate::kernels::image::Bordered| {
            pointwise::load_image(&batch[i * batch.len() / BATCH..][..batch.len() / BATCH], to);
        };
        let (input, gradient) =
            (|i: usize, to: &mut _| load(&input, i, to), |i: usize, to: &mut _| load(&gradient, i, to));

        let addend = random("addend", BATCH * height * width * padded(cout));
        let mut output = vec![0.0; addend.len()];
        let mut packed = vec![f32::NAN; way.packed_len()];
        let mut finished = vec![0.0; BATCH];
        let work = |i: usize, image: &mut [f32], result: &mut [f32]| result[0] = i as f32 + image[0];
        way.pack_forward(level, &weight, &mut packed);
        let finish = Finish { results: &mut finished, work: &work };
        way.forward(level, &input, &packed, Addend::Batch(&addend), &mut output, finish);

        let mut of_input = random("before", BATCH * height * width * pitch);
        let mut packed = vec![f32::NAN; way.packed_backward_len()];
        way.pack_backward(level, &weight, &mut packed);
        way.backward(level, &gradient, &packed, Addend::Output, &mut of_input, Finish::nothing());

        let mut of_weight = random("start", weight.len());
        way.weight_gradient(level, &Arc::default(), BATCH, &input, &gradient, &mut of_weight);
        [output, of_input, of_weight, finished]
    }

    fn check(way: &dyn Convolution, shape: &ConvShape, error: f32) {
        let direct = results(&Direct::new(*shape), shape, Level::Portable);
        let ours = results(way, shape, Level::Portable);
        for (what, (a, b)) in ["output", "input", "weight", "finished"].iter().zip(ours.iter().zip(&direct)) {
            let largest = b.iter().fold(1f32, |max, b| max.max(b.abs()));
            for (a, b) in a.iter().zip(b) {
                assert!((a - b).abs() <= error * largest, "{way:?} {what}: {a} {b}");
            }
        }
        for level in Level::available() {
            for threads in [1, 2, 3, 7] {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                let others = pool.install(|| results(way, shape, level));
                assert!(others == ours, "{way:?}: other bits at {level:?} with {threads} threads");
            }
        }
    }

    #[test]
    fn winograd_agrees_with_the_direct_sums() {
        for (height, width, cin, cout) in
            [(2, 2, 1, 1), (4, 10, 16, 16), (8, 6, 20, 40), (14, 14, 64, 17), (7, 9, 33, 48), (3, 5, 130, 80)]
        {
            let shape = ConvShape { height, width, cin, pitch: padded(cin), cout, kernel: 3, stride: 1 };
            check(&Winograd::<Two>::new(shape), &shape, 3e-6);
            check(&Winograd::<Four>::new(shape), &shape, 1e-5);
            check(&Direct::new(shape), &shape, 0.0);
        }
    }

    /// Sums in f64 of one image with as many channels in as out.
    fn exact(side: usize, channels: usize, weight: &[f32], input: &[f32]) -> Vec<f64> {
        let mut output = vec![0.0; input.len()];
        for (pixel, sums) in output.chunks_exact_mut(channels).enumerate() {
            for tap in 0..9 {
                let (y, x) = (pixel / side + tap / 3, pixel % side + tap % 3);
                if !(1..=side).contains(&y) || !(1..=side).contains(&x) {
                    continue;
                }
                for ci in 0..channels {
                    let value = f64::from(input[((y - 1) * side + x - 1) * channels + ci]);
                    let weights = &weight[(tap * channels + ci) * channels..][..channels];
                    sums.iter_mut().zip(weights).for_each(|(sum, &w)| *sum += value * f64::from(w));
                }
            }
        }
        output
    }

    /// The root mean square of the difference, relative to that of the values.
    fn error(of: impl Iterator<Item = f64>, exact: &[f64]) -> f64 {
        let error: f64 = of.zip(exact).map(|(of, exact)| (of - exact).powi(2)).sum();
        (error / exact.iter().map(|exact| exact.powi(2)).sum::<f64>()).sqrt()
    }

    /// Weights as He draws them, inputs as after ReLU. `cargo test --release larger_tiles -- --nocapture` prints the errors.
    #[test]
    fn the_larger_tiles_cost_less_than_a_factor_of_three_in_accuracy() {
        for (side, channels) in [(8, 64), (4, 512)] {
            let (height, width, cin, pitch, cout) = (side, side, channels, channels, channels);
            let shape = ConvShape { height, width, cin, pitch, cout, kernel: 3, stride: 1 };
            let mut stream = rng::stream(7, "error", 0, 0);
            let std = (2.0 / (9 * channels) as f32).sqrt();
            let weight: Vec<f32> = (0..9 * channels * channels).map(|_| std * stream.normal()).collect();
            let input: Vec<f32> = (0..side * side * channels).map(|_| stream.normal().max(0.0)).collect();
            let expected = exact(side, channels, &weight, &input);
            let of = |way: &dyn Convolution| {
                let (mut packed, mut output) = (vec![0.0; way.packed_len()], vec![0.0; input.len()]);
                way.pack_forward(Level::current(), &weight, &mut packed);
                let load = |_: usize, to: &mut _| pointwise::load_image(&input, to);
                let (nothing, finish) = (Addend::Nothing, Finish::nothing());
                way.forward(Level::current(), &load, &packed, nothing, &mut output, finish);
                error(output.iter().map(|&value| f64::from(value)), &expected)
            };
            let direct = of(&Direct::new(shape));
            let (two, four) = (of(&Winograd::<Two>::new(shape)), of(&Winograd::<Four>::new(shape)));
            let rounded = |values: &[f32]| -> Vec<f32> {
                values.iter().map(|&value| half::bf16::from_f32(value).to_f32()).collect()
            };
            let bf16 = exact(side, channels, &rounded(&weight), &rounded(&input));
            let bf16 = error(bf16.into_iter().map(|sum| half::bf16::from_f64(sum).to_f64()), &expected);
            println!("{channels} channels: {direct:.1e} {two:.1e} {four:.1e}, bf16 {bf16:.1e}");
            assert!(two < direct && direct < four && four < 3.0 * direct && four < bf16 / 1000.0);
        }
    }

    #[test]
    fn the_algorithm_depends_on_the_shape() {
        let name = |side: usize, channels: usize, kernel: usize, stride: usize| {
            let (height, width, cin, cout) = (side, side, channels, channels);
            let shape = ConvShape { height, width, cin, pitch: padded(cin), cout, kernel, stride };
            let name = format!("{:?}", convolution(shape));
            ["Four", "Two", "Direct"].into_iter().find(|way| name.contains(way)).unwrap()
        };
        assert_eq!([4, 7, 8, 32].map(|side| name(side, 64, 3, 1)), ["Four"; 4]);
        assert_eq!([2, 3, 6].map(|side| name(side, 64, 3, 1)), ["Two"; 3]);
        assert_eq!(
            [name(32, 16, 3, 1), name(1, 512, 3, 1), name(8, 64, 3, 2), name(8, 64, 1, 1)],
            ["Two", "Direct", "Direct", "Direct"]
        );
    }
}
