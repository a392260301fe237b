//! Exported models in PyTorch itself. It is not everybody's, so these tests run on request:
//!
//! ```sh
//! ARGD_PIPE_PYTHON=/where/torch/is/bin/python cargo test --release --test pytorch -- --ignored
//! ```
//!
//! With `ARGD_PIPE_CHECKPOINT`, a WRN-16-1 in a PyTorch file is imported and exported again, too.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]
#![expect(clippy::print_stdout, reason = "the figures are what one runs these tests for")]

use std::env;
use std::fs;
use std::path::Path;
use std::process::Command;

use argd_pipe::models::{Format, Model, Spec, export, import, names};
use argd_pipe::nn::{Backend, Forward, Mode, Network};
use argd_pipe::rng;
use argd_pipe::shape::Shape;
use candle_core::{Device, Tensor};

const IMAGE: Shape = Shape { height: 32, width: 32, channels: 3 };
const IMAGES: usize = 16;
const CLASSES: usize = 10;

fn random(purpose: &str, len: usize, low: f32, high: f32) -> Vec<f32> {
    let mut stream = rng::stream(5, purpose, 0, 0);
    (0..len).map(|_| stream.between(low, high)).collect()
}

fn spec(name: &str) -> Spec {
    Spec { architecture: name.parse().unwrap(), image: IMAGE, classes: CLASSES, normalise: None }
}

/// A network with parameters near their initial values, and the running statistics of a few batches.
fn model(name: &str) -> Model {
    let spec = spec(name);
    let (mut theta, state) = spec.graph().init(11);
    let jitter = random("jitter", theta.len(), -0.05, 0.05);
    theta.iter_mut().zip(jitter).for_each(|(value, jitter)| *value += jitter);
    let mut model = Model { spec, weights: (theta, state).into() };
    for batch in 0..10 {
        let images = random(&format!("batch {batch}"), IMAGES * IMAGE.len(), 0.0, 1.0);
        model.weights.state = forward(&model, &images, Mode::Train).state.unwrap().to_vec1().unwrap();
    }
    model
}

fn forward(model: &Model, images: &[f32], mode: Mode) -> Forward {
    let images = Tensor::from_slice(images, (IMAGES, 32, 32, 3), &Device::Cpu).unwrap();
    let vector = |values: &[f32]| Tensor::from_slice(values, values.len(), &Device::Cpu).unwrap();
    let (theta, state) = (vector(&model.weights.theta), vector(&model.weights.state));
    let network = Network::new(model.graph(), &Backend::default()).unwrap();
    network.forward(&theta, &state, &images, mode).unwrap()
}

fn logits_in_pytorch(python: &str, name: &str, weights: &Path, images: &[f32]) -> Vec<f32> {
    let folder = weights.parent().unwrap();
    let (input, output) = (folder.join("images"), folder.join("logits"));
    fs::write(&input, images.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<_>>()).unwrap();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/pytorch/logits.py");
    let mut command = Command::new(python);
    command.arg(script).arg(name).args([weights, &input, &output]);
    let done = command.output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let bytes = fs::read(&output).unwrap();
    bytes.as_chunks().0.iter().map(|&value| f32::from_le_bytes(value)).collect()
}

/// Exports `model` in both formats and compares what PyTorch makes of it with what we do.
fn agrees(model: &Model, name: &str, python: &str) {
    let folder = tempfile::tempdir().unwrap();
    let images = random("images", IMAGES * IMAGE.len(), 0.0, 1.0);
    let ours: Vec<f32> = forward(model, &images, Mode::Eval).logits.flatten_all().unwrap().to_vec1().unwrap();
    for (file, format) in [("model.pth", Format::PyTorch), ("model.safetensors", Format::Safetensors)] {
        let weights = folder.path().join(file);
        export(model, &weights, format).unwrap();
        let theirs = logits_in_pytorch(python, name, &weights, &images);
        assert_eq!(ours.len(), theirs.len());
        let far = ours.iter().zip(&theirs).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        let size = ours.iter().fold(0.0, |size: f32, logit| size.max(logit.abs()));
        println!("{name}, {file}: logits up to {size:.2} agree within {far:.1e}");
        assert!(far < 1e-4 * size.min(1.0), "{name}, {file}: {far}");
    }
}

#[test]
#[ignore = "needs PyTorch: set ARGD_PIPE_PYTHON"]
fn exported_models_have_the_same_logits_in_pytorch() {
    let python = env::var("ARGD_PIPE_PYTHON").unwrap();
    for name in names() {
        agrees(&model(name), name, &python);
    }
    if let Ok(checkpoint) = env::var("ARGD_PIPE_CHECKPOINT") {
        let model = import(Path::new(&checkpoint), spec("wrn-16-1")).unwrap();
        agrees(&model, "wrn-16-1", &python);
    }
}
