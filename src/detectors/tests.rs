//! Both detectors on a network with a known backdoor.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use serde_json::json;

use super::*;
use crate::data::Dataset;
use crate::files::Folder;
use crate::models::Weights;
use crate::nn::graph::Graph;
use crate::nn::{Backend, Network};
use crate::shape::Shape;
use crate::train::Silent;

const SHAPE: Shape = Shape { height: 4, width: 4, channels: 1 };

/// Class 0 unless images are bright on average (class 1) or a single pixel is white (class 2, the backdoor): scores
/// are 1, 4 mean(x) and 100 mean(max(x - 0.4, 0)).
pub(super) fn backdoored() -> (Network, Weights) {
    let (mut graph, x) = Graph::new(Shape { height: 4, width: 4, channels: 1 });
    let x = graph.conv("conv", x, 2, 1, 1);
    let x = graph.batch_norm("bn", x);
    let x = graph.relu(x);
    let x = graph.global_avg_pool(x);
    graph.logits = graph.linear("fc", x, 3);
    let (conv, gamma, beta) = ([1.0, 1.0], [1.0, 1.0], [0.0, -0.4]);
    let (fc, bias) = ([0.0, 4.0, 0.0, 0.0, 0.0, 100.0], [1.0, 0.0, 0.0]);
    let theta = [&conv[..], &gamma, &beta, &fc, &bias].concat();
    (Network::new(graph, &Backend::default()).unwrap(), Weights { theta, state: vec![0.0, 0.0, 1.0, 1.0] })
}

/// Dark images; with the trigger, one pixel is white.
fn images(n: usize, trigger: bool) -> Images {
    let mut pixels: Vec<u8> = (0..n * SHAPE.len()).map(|i| (i * 7 % 30) as u8).collect();
    if trigger {
        pixels.chunks_exact_mut(SHAPE.len()).for_each(|image| image[5] = 255);
    }
    Images::new(SHAPE, pixels, vec![0; n]).unwrap()
}

fn detect(detector: Value, attacked: bool, stop: bool) -> Result<Finding, TrainError> {
    detect_in(tempfile::tempdir().unwrap().path(), detector, attacked, stop)
}

/// Runs a detector with a folder for finished parts.
fn detect_in(folder: &Path, detector: Value, attacked: bool, stop: bool) -> Result<Finding, TrainError> {
    let detector: AnyDetector = serde_json::from_value(detector).unwrap();
    let (network, weights) = backdoored();
    let classes = ["dark", "bright", "target"].map(str::to_owned).to_vec();
    let dataset = Dataset::new(classes, images(40, false), images(20, false)).unwrap();
    let stop = AtomicBool::new(stop);
    let case = Case {
        suspect: Frozen::new(network, &weights).unwrap(),
        samples: Arc::new(TrainView::new(Arc::new(dataset), None, None).unwrap()),
        attacked: attacked.then(|| Attacked { images: images(20, true), target: Some(2) }),
        session: Session { seed: 3, observer: &Silent(&stop), checkpoints: &Folder::open(folder).unwrap() },
    };
    detector.get().detect(&case)
}

#[test]
fn neural_cleanse_finds_the_smallest_trigger_of_each_class() {
    let finding = detect(json!({"method": "neural-cleanse", "batch": 10}), true, false).unwrap();
    let class = |class: usize, field: &str| finding.details["classes"][class][field].clone();
    let norm = |of| class(of, "norm").as_f64().unwrap();
    // One pixel is enough for the backdoor; a quarter of full white must be spread thinly for class 1.
    assert!((0.4..1.6).contains(&norm(2)), "{}", norm(2));
    assert!((2.5..9.0).contains(&norm(1)), "{}", norm(1));
    assert!((0..3).all(|of| class(of, "converged") == json!(true)));
    assert_eq!(class(2, "name"), json!("target"));
    assert_eq!(finding.metrics["target_flagged"], json!(0), "three classes have no outlier");
    assert_eq!((&finding.metrics["flagged"], &finding.metrics["flags"]), (&json!("none"), &json!(0)));
    assert_eq!(finding.evidence.len(), 2);
}

#[test]
fn strip_tells_the_trigger_from_clean_images() {
    for superimpose in ["sum", "blend"] {
        let with =
            json!({"method": "strip", "superimpose": superimpose, "alpha": 0.9, "overlays": 8, "frr": 5});
        let finding = detect(with, true, false).unwrap();
        assert_eq!((&finding.metrics["auroc"], &finding.metrics["far"]), (&json!(100.0), &json!(0.0)));
        assert!(finding.metrics["frr"].as_f64().unwrap() <= 20.0, "{:?}", finding.metrics);
        let entropy = |of: &str| finding.details["entropy"][of]["mean"].as_f64().unwrap();
        assert!(
            entropy("triggered") < entropy("clean") && (entropy("clean") - entropy("known")).abs() < 0.05
        );
    }
    let alone = detect(json!({"method": "strip", "overlays": 2, "images": 5}), false, false).unwrap();
    assert_eq!(alone.metrics.keys().collect::<Vec<_>>(), ["entropy_clean", "frr", "n_clean"]);
    assert_eq!(alone.metrics["n_clean"], json!(5));
}

#[test]
fn the_seed_decides_and_a_stop_is_obeyed() {
    for method in ["neural-cleanse", "strip"] {
        let run = || detect(json!({"method": method}), true, false).unwrap();
        let (one, two) = (run(), run());
        assert_eq!((one.metrics, one.details), (two.metrics, two.details));
        assert!(matches!(detect(json!({"method": method}), true, true), Err(TrainError::Stopped)));
    }
}

#[test]
fn neural_cleanse_goes_on_after_the_last_class_that_it_finished() {
    let folder = tempfile::tempdir().unwrap();
    let run = |stop| detect_in(folder.path(), json!({"method": "neural-cleanse", "epochs": 9}), false, stop);
    let first = run(false).unwrap();
    assert_eq!(run(true).unwrap().details, first.details, "nothing is left to stop");
    let part = folder.path().join("reversal-1.part");
    let mut bytes = std::fs::read(&part).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&part, bytes).unwrap();
    assert!(matches!(run(true), Err(TrainError::Stopped)), "a damaged part is searched for again");
    assert_eq!(run(false).unwrap().details, first.details);
}

#[test]
fn unknown_fields_are_refused() {
    let parse = |value| serde_json::from_value::<AnyDetector>(value).map_err(|error| error.to_string());
    assert!(parse(json!({"method": "strip", "epochs": 3})).unwrap_err().contains("unknown field `epochs`"));
    assert!(parse(json!({"method": "abs"})).unwrap_err().contains("unknown variant `abs`"));
}
