//! Each kernel on one thread: convolutions of 64 images in every shape of WRN-16-1 and PreActResNet-18, and the rest on
//! one image in every shape of WRN-16-1.
//!
//! `cargo bench --bench kernels`: "elem/s" are floating-point operations a second, as the sum is written down (a
//! multiply-add counts two), so a fast algorithm may show more than the processor has; "B/s" are the bytes that a
//! kernel reads and writes.

use std::hint::black_box;
use std::sync::Arc;

use argd_pipe::kernels::conv::{Addend, ConvShape, Finish, convolution};
use argd_pipe::kernels::image::Bordered;
use argd_pipe::kernels::pointwise::{self, GradientParts, View};
use argd_pipe::kernels::{Level, padded};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

/// (side of the input, channels in, channels out, kernel, stride)
const CONVOLUTIONS: [(usize, usize, usize, usize, usize); 15] = [
    (32, 3, 16, 3, 1),
    (32, 16, 16, 3, 1),
    (16, 32, 32, 3, 1),
    (8, 64, 64, 3, 1),
    (32, 16, 32, 3, 2),
    (16, 32, 64, 3, 2),
    (32, 16, 32, 1, 2),
    (16, 32, 64, 1, 2),
    (32, 64, 64, 3, 1),
    (16, 128, 128, 3, 1),
    (8, 256, 256, 3, 1),
    (4, 512, 512, 3, 1),
    (32, 64, 128, 3, 2),
    (16, 128, 256, 3, 2),
    (8, 256, 512, 3, 2),
];

/// Images of a batch.
const BATCH: usize = 64;

/// (side, channels)
const ACTIVATIONS: [(usize, usize); 3] = [(32, 16), (16, 32), (8, 64)];

fn values(len: usize) -> Vec<f32> {
    (0..len).map(|i| (i * 37 % 101) as f32 / 101.0 - 0.5).collect()
}

fn convolutions(c: &mut Criterion) {
    if let Err(error) = rayon::ThreadPoolBuilder::new().num_threads(1).build_global() {
        panic!("{error}");
    }
    let (level, pool) = (Level::current(), Arc::default());
    let mut group = c.benchmark_group("convolution");
    for (side, cin, cout, kernel, stride) in CONVOLUTIONS {
        let pitch = if cin < 16 { cin } else { padded(cin) };
        let shape = ConvShape { height: side, width: side, cin, pitch, cout, kernel, stride };
        let conv = convolution(shape);
        let name = format!("{kernel}x{kernel}/{stride} {cin}-{cout} on {side}x{side}");
        let (inputs, outputs) = (side * side * pitch, (side / stride).pow(2) * padded(cout));
        let (inputs, outputs) = (values(BATCH * inputs), values(BATCH * outputs));
        let input = |i: usize, to: &mut Bordered| {
            pointwise::load_image(&inputs[i * inputs.len() / BATCH..][..inputs.len() / BATCH], to);
        };
        let gradient = |i: usize, to: &mut Bordered| {
            pointwise::load_image(&outputs[i * outputs.len() / BATCH..][..outputs.len() / BATCH], to);
        };
        let weight = values(kernel * kernel * cin * cout);
        group.throughput(Throughput::Elements((BATCH * shape.flops()) as u64));

        let (mut packed, mut to) = (vec![0.0; conv.packed_len()], vec![0.0; outputs.len()]);
        conv.pack_forward(level, &weight, &mut packed);
        group.bench_function(BenchmarkId::new("forward", &name), |b| {
            let mut forward = || {
                conv.forward(level, &input, &packed, Addend::Nothing, &mut to, Finish::nothing());
            };
            b.iter(&mut forward);
        });
        let mut packed = vec![0.0; conv.packed_backward_len()];
        let mut to = vec![0.0; BATCH * side * side * padded(pitch)];
        conv.pack_backward(level, &weight, &mut packed);
        group.bench_function(BenchmarkId::new("input gradient", &name), |b| {
            let mut backward = || {
                conv.backward(level, &gradient, &packed, Addend::Nothing, &mut to, Finish::nothing());
            };
            b.iter(&mut backward);
        });
        let mut to = vec![0.0; weight.len()];
        group.bench_function(BenchmarkId::new("weight gradient", &name), |b| {
            b.iter(|| conv.weight_gradient(level, &pool, BATCH, &input, &gradient, &mut to));
        });
    }
    group.finish();
}

fn between_convolutions(c: &mut Criterion) {
    let level = Level::current();
    let mut group = c.benchmark_group("activation");
    for (side, channels) in ACTIVATIONS {
        let name = format!("{channels} of {side}x{side}");
        let (x, gradient) = (values(side * side * channels), values(side * side * channels));
        let (scale, shift) = (values(channels), values(channels));
        let view = View { affine: Some((&scale, &shift)), relu: true };
        let (mut to, mut sums) = (Bordered::default(), vec![0.0; 2 * channels]);
        to.reshape(side, side, channels, [1, 1]);
        let (mut map, mut output) = (vec![0.0; side * side], vec![0.0; x.len()]);
        let bytes = |images: usize| Throughput::Bytes((images * 4 * side * side * channels) as u64);

        group.throughput(bytes(2));
        group.bench_function(BenchmarkId::new("load (batch norm, ReLU)", &name), |b| {
            b.iter(|| pointwise::load(level, black_box(&x), channels, view, &mut to));
        });
        group.throughput(bytes(1));
        group.bench_function(BenchmarkId::new("batch statistics", &name), |b| {
            b.iter(|| pointwise::statistics(level, black_box(&x), channels, &mut sums));
        });
        group.bench_function(BenchmarkId::new("attention map", &name), |b| {
            b.iter(|| pointwise::attention(level, black_box(&x), channels, true, &mut map));
        });
        group.bench_function(BenchmarkId::new("average pool", &name), |b| {
            b.iter(|| pointwise::average(level, black_box(&x), channels, view, &mut sums[..channels]));
        });
        group.throughput(bytes(3));
        group.bench_function(BenchmarkId::new("residual sum", &name), |b| {
            b.iter(|| {
                pointwise::add_views(
                    level,
                    black_box(&x),
                    view,
                    &gradient,
                    View::PLAIN,
                    channels,
                    &mut output,
                );
            });
        });
        group.throughput(bytes(4));
        group.bench_function(BenchmarkId::new("gradient of batch norm", &name), |b| {
            b.iter(|| {
                let norm = Some((&gradient[..], [&scale[..], &shift[..], &scale[..]]));
                let parts = GradientParts { plain: Some(&gradient), norm, attention: None };
                pointwise::settle(level, parts, black_box(&x), channels, &mut output);
            });
        });
        group.throughput(bytes(3));
        group.bench_function(BenchmarkId::new("gradient of ReLU, and its sums", &name), |b| {
            b.iter(|| {
                output.copy_from_slice(&gradient);
                pointwise::gate_and_sum(level, &mut output, black_box(&x), channels, view, &shift, &mut sums);
            });
        });
    }
    group.finish();
}

criterion_group! {
    name = kernels;
    config = Criterion::default().sample_size(20).measurement_time(std::time::Duration::from_secs(1));
    targets = convolutions, between_convolutions
}
criterion_main!(kernels);
