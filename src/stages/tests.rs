//! Stages of several kinds, one after the other.

pub(crate) mod run;

use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;

use serde_json::{Map, Value, json};

use self::run::{run, run_observed, warnings_of};
use super::kind::boxed;
use super::kinds::dataset::DatasetStage;
use super::kinds::detect::DetectStage;
use super::kinds::erase::EraseStage;
use super::kinds::evaluate::EvaluateStage;
use super::kinds::finetune::FinetuneStage;
use super::kinds::point::PointStage;
use super::kinds::poison::PoisonStage;
use super::kinds::split::SplitStage;
use super::kinds::train::TrainStage;
use super::*;
use crate::files::Folder;
use crate::files::tensors::TensorFile;
use crate::models::Model;
use crate::nn::Backend;
use crate::train::{SILENT, der};

/// A folder with a folder for each stage that has run.
struct Lab(tempfile::TempDir);

impl Lab {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// A data set of 10 classes, a poisoned part, a trigger and a clean split.
    fn with_data() -> Self {
        let lab = Self::new();
        lab.run::<DatasetStage>("images", json!({"source": "synthetic", "train": 60, "test": 40}), &[])
            .unwrap();
        let images = [("dataset", "images/dataset")];
        lab.run::<PoisonStage>("poisoned", json!({"attack": "badnets", "rate": 0.5}), &images).unwrap();
        lab.run::<SplitStage>("clean", json!({"ratio": 0.5}), &images).unwrap();
        lab
    }

    /// The same with a backdoored model.
    fn with_model() -> Self {
        let lab = Self::with_data();
        lab.train("backdoored").unwrap();
        lab
    }

    fn path(&self, file: &str) -> PathBuf {
        self.0.path().join(file)
    }

    /// Runs a stage in a folder of its own; inputs are (port, stage/output).
    fn run<K: Kind>(&self, stage: &str, with: Value, inputs: &[(&str, &str)]) -> Result<Outcome, StageError> {
        let folder = self.path(stage);
        std::fs::create_dir_all(&folder).unwrap();
        let inputs: Vec<_> = inputs.iter().map(|(port, file)| (*port, self.path(file))).collect();
        let inputs: Vec<_> = inputs.iter().map(|(port, file)| (*port, file.to_str().unwrap())).collect();
        run::<K>(with, &inputs, &folder)
    }

    fn train(&self, stage: &str) -> Result<Outcome, StageError> {
        let inputs = [("dataset", "images/dataset"), ("poison", "poisoned/overlay")];
        self.run::<TrainStage>(stage, json!({"model": "wrn-10-1", "epochs": 1}), &inputs)
    }

    fn evaluate(&self, model: &str, more: &[(&str, &str)]) -> Result<Outcome, StageError> {
        let model_file = format!("{model}/model");
        let mut inputs = vec![("model", model_file.as_str()), ("dataset", "images/dataset")];
        inputs.extend(more);
        self.run::<EvaluateStage>(&format!("report of {model}"), json!({}), &inputs)
    }

    fn report(&self, stage: &str) -> Map<String, Value> {
        serde_json::from_slice(&self.bytes(&format!("{stage}/report"))).unwrap()
    }

    fn bytes(&self, file: &str) -> Vec<u8> {
        std::fs::read(self.path(file)).unwrap()
    }
}

/// A model's file and the clean split.
fn on_split<'a>(port: &'a str, model: &'a str) -> [(&'a str, &'a str); 3] {
    [(port, model), ("dataset", "images/dataset"), ("dataset.indices", "clean/indices")]
}

#[test]
fn a_chain_of_all_stages_ends_in_metrics() {
    let lab = Lab::with_model();
    let trigger = ("trigger", "poisoned/trigger");
    let before = lab.evaluate("backdoored", &[trigger]).unwrap();
    let short = json!({"epochs": 1, "batch": 16});
    let outcome = lab.run::<FinetuneStage>("teacher", short, &on_split("model", "backdoored/model")).unwrap();
    assert_eq!(Value::Object(outcome.metrics), json!({"images": 30, "parameters": 77_850}));

    for method in ["nad", "argd"] {
        let mut inputs = on_split("student", "backdoored/model").to_vec();
        inputs.push(("teacher", "teacher/model"));
        let with = json!({"method": method, "epochs": 1, "batch": 16});
        lab.run::<EraseStage>(method, with, &inputs).unwrap();
        let after = lab.evaluate(method, &[trigger, ("baseline", "report of backdoored/report")]).unwrap();
        for metrics in [&before.metrics, &after.metrics] {
            assert_eq!(metrics["n_clean"], json!(40));
            assert_eq!(metrics["n_excl_target"], json!(36));
            assert_eq!(metrics["n_triggered"], json!(36));
            let percent = |name: &str| metrics[name].as_f64().unwrap();
            assert!(
                ["acc", "acc_excl_target", "asr", "ra"]
                    .map(percent)
                    .iter()
                    .all(|p| (0.0..=100.0).contains(p))
            );
        }
        let number = |metrics: &Map<String, Value>, name: &str| metrics[name].as_f64().unwrap();
        let pair = |name: &str| (number(&before.metrics, name), number(&after.metrics, name));
        assert_eq!(number(&after.metrics, "der"), der(pair("acc"), pair("asr")));
        let mut report = lab.report(&format!("report of {method}"));
        let by_class = ["acc_by_class", "asr_by_class"].map(|name| report.remove(name).unwrap());
        assert_eq!(report, after.metrics);
        assert_eq!(by_class.map(|of| of.as_object().unwrap().len()), [10, 9], "no ASR on the target class");
    }
}

#[test]
fn the_same_seed_trains_the_same_bytes() {
    let lab = Lab::with_model();
    lab.train("again").unwrap();
    assert_eq!(lab.bytes("backdoored/model"), lab.bytes("again/model"));
}

#[test]
fn the_method_finetune_is_the_stage_finetune_and_needs_no_teacher() {
    let lab = Lab::with_model();
    let with = |method: Value| {
        let mut with = json!({"epochs": 1});
        with.as_object_mut().unwrap().extend(method.as_object().unwrap().clone());
        with
    };
    let stage = on_split("model", "backdoored/model");
    lab.run::<FinetuneStage>("stage", with(json!({})), &stage).unwrap();
    let method = on_split("student", "backdoored/model");
    lab.run::<EraseStage>("method", with(json!({"method": "finetune"})), &method).unwrap();
    assert_eq!(lab.bytes("stage/model"), lab.bytes("method/model"));

    let needs = |method| boxed::<EraseStage>().bind(&json!({"method": method})).unwrap().needs();
    let teacher = Need { port: "teacher", parameter: "method" };
    assert_eq!(["finetune", "nad", "mcr"].map(needs), [vec![], vec![teacher], vec![teacher]]);
}

#[test]
fn points_of_a_curve_are_models_and_one_is_the_repaired_model() {
    let lab = Lab::with_model();
    let short = json!({"epochs": 1, "batch": 16});
    lab.run::<FinetuneStage>("teacher", short, &on_split("model", "backdoored/model")).unwrap();
    let mut inputs = on_split("student", "backdoored/model").to_vec();
    inputs.push(("teacher", "teacher/model"));
    let with = json!({"method": "mcr", "t": 0.3, "epochs": 1, "batch": 16});
    let outcome = lab.run::<EraseStage>("repaired", with, &inputs).unwrap();
    assert_eq!(outcome.metrics["t"], json!(0.3));

    let point = |t: f64| {
        let stage = format!("point {t}");
        lab.run::<PointStage>(&stage, json!({"t": t}), &on_split("curve", "repaired/curve")).unwrap();
        lab.bytes(&format!("{stage}/model"))
    };
    assert_eq!(point(0.3), lab.bytes("repaired/model"));
    let ends = [(0.0, "backdoored/model"), (1.0, "teacher/model")];
    for (t, end) in ends {
        // The ends have the models' parameters and the running statistics of the clean images.
        point(t);
        let [point, end] =
            [format!("point {t}/model"), end.to_owned()].map(|file| Model::load(&lab.path(&file)).unwrap());
        assert_eq!(point.weights.theta, end.weights.theta);
        assert_ne!(point.weights.state, end.weights.state);
    }
    let method = json!({"method": "finetune", "epochs": 1});
    lab.run::<EraseStage>("tuned", method, &on_split("student", "backdoored/model")).unwrap();
    assert!(!lab.path("tuned/curve").exists());
}

#[test]
fn a_teacher_trained_from_scratch_on_the_clean_split_teaches_any_student() {
    let lab = Lab::with_model();
    let images = [("dataset", "images/dataset"), ("dataset.indices", "clean/indices")];
    let with = json!({"model": "wrn-10-2", "epochs": 1, "batch": 16, "augment": {}});
    let outcome = lab.run::<TrainStage>("scratch", with, &images).unwrap();
    assert_eq!(outcome.metrics["images"], json!(30));
    let mut inputs = on_split("student", "backdoored/model").to_vec();
    inputs.push(("teacher", "scratch/model"));
    for method in ["nad", "argd"] {
        let with = json!({"method": method, "epochs": 1, "batch": 16});
        let outcome = lab.run::<EraseStage>(method, with, &inputs).unwrap();
        assert_eq!(outcome.metrics["parameters"], json!(77_850));
    }
}

#[test]
fn without_a_trigger_only_accuracy_is_measured() {
    let lab = Lab::with_model();
    let outcome = lab.evaluate("backdoored", &[]).unwrap();
    assert_eq!(outcome.metrics.keys().collect::<Vec<_>>(), ["acc", "n_clean"]);
    let connected = [("trigger", "poisoned/trigger"), ("baseline", "report of backdoored/report")];
    let message = lab.evaluate("backdoored", &connected).unwrap_err().to_string();
    assert!(message.contains("evaluated without a trigger"), "{message}");
}

#[test]
fn a_source_specific_trigger_is_measured_on_its_source_and_elsewhere() {
    let lab = Lab::with_model();
    let rule = json!({"rule": "source_specific", "source": 1, "rate": 0.5, "rate_of": "source_class"});
    let mut with = json!({"attack": "badnets"});
    with.as_object_mut().unwrap().extend(rule.as_object().unwrap().clone());
    lab.run::<PoisonStage>("specific", with, &[("dataset", "images/dataset")]).unwrap();
    let metrics = lab.evaluate("backdoored", &[("trigger", "specific/trigger")]).unwrap().metrics;
    let count = |name: &str| metrics[name].as_u64().unwrap();
    assert_eq!(["n_clean", "n_excl_target", "n_triggered", "n_elsewhere"].map(count), [40, 4, 4, 32]);
    let percent = |name: &str| metrics[name].as_f64().unwrap();
    assert!((0.0..=100.0).contains(&(percent("asr_elsewhere") + percent("ra_elsewhere"))));
}

#[test]
fn a_requirement_marks_its_evaluation_and_those_with_it_as_baseline() {
    let lab = Lab::with_model();
    let inputs = [
        ("model", "backdoored/model"),
        ("dataset", "images/dataset"),
        ("trigger", "poisoned/trigger"),
        ("baseline", "before/report"),
    ];
    let valid = |stage: &str, require: Value, inputs: &[(&str, &str)]| {
        let outcome = lab.run::<EvaluateStage>(stage, json!({"require": require}), inputs);
        outcome.unwrap().metrics.get("valid").cloned()
    };
    for (of_before, expected) in [(">= 0", true), ("> 100", false)] {
        assert_eq!(valid("before", json!({"asr": of_before}), &inputs[..3]), Some(json!(expected)));
        assert_eq!(valid("after", json!({}), &inputs), Some(json!(expected)));
        assert_eq!(valid("after", json!({"acc": "<= 100"}), &inputs), Some(json!(expected)));
        assert_eq!(valid("after", json!({"acc": "> 100"}), &inputs), Some(json!(false)));
    }
    assert_eq!(valid("plain", json!({}), &inputs[..3]), None);
    let without = lab.run::<EvaluateStage>("plain", json!({"require": {"asr": ">= 95"}}), &inputs[..2]);
    let message = without.unwrap_err().to_string();
    assert!(message.contains("`asr`, which was not measured; connect `trigger`"), "{message}");
}

#[test]
fn detectors_write_a_report_and_evidence() {
    const STRIP: [&str; 7] =
        ["auroc", "entropy_clean", "entropy_triggered", "far", "frr", "n_clean", "n_triggered"];
    let lab = Lab::with_model();
    let mut inputs = on_split("model", "backdoored/model").to_vec();
    inputs.push(("trigger", "poisoned/trigger"));
    let with = json!({"method": "neural-cleanse", "epochs": 1});
    let outcome = lab.run::<DetectStage>("cleansed", with, &inputs).unwrap();
    assert!(outcome.metrics["anomaly_index"].is_f64() && outcome.metrics["flagged"].is_string());
    let mut report = lab.report("cleansed");
    assert_eq!(report.remove("classes").unwrap().as_array().unwrap().len(), 10);
    assert_eq!(report, outcome.metrics);
    let mut evidence = TensorFile::open(&lab.path("cleansed/evidence")).unwrap();
    assert_eq!(evidence.f32::<3>("masks").unwrap().0, [10, 32, 32]);
    assert_eq!(evidence.f32::<4>("patterns").unwrap().0, [10, 32, 32, 3]);

    let with = json!({"method": "strip", "overlays": 2, "images": 10});
    let outcome = lab.run::<DetectStage>("strip", with, &inputs).unwrap();
    assert_eq!(outcome.metrics.keys().collect::<Vec<_>>(), STRIP);
    let mut evidence = TensorFile::open(&lab.path("strip/evidence")).unwrap();
    assert_eq!(evidence.f32::<1>("triggered").unwrap().0, [10]);
}

#[test]
fn a_detection_on_a_model_whose_backdoor_failed_is_not_valid() {
    let lab = Lab::with_model();
    let model =
        [("model", "backdoored/model"), ("dataset", "images/dataset"), ("trigger", "poisoned/trigger")];
    let inputs = [&model[..], &[("baseline", "before/report")]].concat();
    for (asr, expected) in [(">= 0", true), ("> 100", false)] {
        lab.run::<EvaluateStage>("before", json!({"require": {"asr": asr}}), &model).unwrap();
        let with = json!({"method": "strip", "overlays": 2, "images": 5});
        let outcome = lab.run::<DetectStage>("found", with, &inputs).unwrap();
        assert_eq!(outcome.metrics["valid"], json!(expected));
        assert_eq!(lab.report("found")["valid"], json!(expected));
    }
}

#[test]
fn unlearning_changes_the_model_only_if_a_trigger_is_flagged() {
    let lab = Lab::with_model();
    let erase = |stage: &str, threshold: f64| {
        let reverse = json!({"epochs": 1, "threshold": threshold});
        let with = json!({"method": "neural-cleanse", "epochs": 1, "reverse": reverse});
        lab.run::<EraseStage>(stage, with, &on_split("student", "backdoored/model")).unwrap();
        lab.bytes(&format!("{stage}/model"))
    };
    assert_eq!(erase("none flagged", 1e9), lab.bytes("backdoored/model"));
    assert_ne!(erase("all small flagged", 0.0), lab.bytes("backdoored/model"));
}

#[test]
fn a_defense_that_changes_nothing_is_warned_about() {
    let lab = Lab::with_model();
    let warnings = |with: Value| {
        let inputs = on_split("student", "backdoored/model").map(|(port, file)| (port, lab.path(file)));
        let inputs: Vec<_> = inputs.iter().map(|(port, path)| (*port, path.to_str().unwrap())).collect();
        std::fs::create_dir_all(lab.path("unchanged")).unwrap();
        warnings_of::<EraseStage>(with, &inputs, &lab.path("unchanged"))
    };
    let anp = warnings(json!({"method": "anp", "iterations": 1, "threshold": 0.0})).concat();
    assert!(anp.starts_with("the defense changed nothing (pruned 0 of "), "{anp}");
    assert_eq!(warnings(json!({"method": "finetune", "epochs": 1})), [""; 0]);
}

#[test]
fn a_model_with_another_number_of_classes_is_refused() {
    let lab = Lab::with_model();
    let with = json!({"source": "synthetic", "train": 60, "test": 20, "classes": 3});
    lab.run::<DatasetStage>("three", with, &[]).unwrap();
    let inputs = [("model", "backdoored/model"), ("dataset", "three/dataset")];
    let message = lab.run::<EvaluateStage>("report", json!({}), &inputs).unwrap_err().to_string();
    let expected =
        "`model` reads images of 32x32x3 in 10 classes, `dataset` has images of 32x32x3 in 3 classes";
    assert!(message.starts_with(expected), "{message}");
}

#[test]
fn with_a_trigger_every_epoch_is_tested_and_the_model_is_the_same() {
    #[derive(Default)]
    struct Tests(Mutex<Vec<Progress>>);
    impl Observer for Tests {
        fn progress(&self, progress: &Progress) {
            self.0.lock().unwrap().extend((!progress.tests.is_empty()).then(|| progress.clone()));
        }
        fn note(&self, _: &str) {}
    }
    let lab = Lab::with_model();
    let path = |file: &str| lab.path(file).to_str().unwrap().to_owned();
    let (model, images, trigger) =
        (path("backdoored/model"), path("images/dataset"), path("poisoned/trigger"));
    let (with, tests) = (json!({"epochs": 2, "batch": 16}), Tests::default());
    let inputs = [("model", model.as_str()), ("dataset", images.as_str())];
    for (folder, more) in [("untested", None), ("tested", Some(("trigger", trigger.as_str())))] {
        std::fs::create_dir_all(lab.path(folder)).unwrap();
        let inputs: Vec<_> = inputs.into_iter().chain(more).collect();
        run_observed::<FinetuneStage>(with.clone(), &inputs, &lab.path(folder), &tests).unwrap();
    }
    assert_eq!(lab.bytes("untested/model"), lab.bytes("tested/model"));

    let tests = tests.0.into_inner().unwrap();
    let at: Vec<_> = tests.iter().map(|progress| (progress.epoch, progress.step)).collect();
    assert_eq!(at, [(0, 0), (1, 0), (2, 0)]);
    for (model, progress) in [("backdoored", &tests[0]), ("tested", &tests[2])] {
        let metrics = lab.evaluate(model, &[("trigger", "poisoned/trigger")]).unwrap().metrics;
        let expected = ["acc", "asr", "ra"].map(|name| (name, metrics[name].as_f64().unwrap()));
        assert_eq!(progress.tests, expected.map(|(name, percent)| (name.into(), percent)));
    }
}

#[test]
fn a_stopped_stage_writes_a_checkpoint_and_no_model() {
    let lab = Lab::with_data();
    let (work, partial) = (lab.path("work"), lab.path("partial"));
    std::fs::create_dir_all(&work).unwrap();
    let checkpoints = Folder::create(&partial).unwrap();
    let stopped = boxed::<TrainStage>().bind(&json!({"model": "wrn-10-1"})).unwrap().run(&mut Context {
        seed: 1,
        inputs: [("dataset".to_owned(), lab.path("images/dataset"))].into(),
        work: &work,
        partial: &checkpoints,
        backend: &Backend::default(),
        observer: &SILENT,
        stop: &AtomicBool::new(true),
    });
    assert!(matches!(stopped, Err(StageError::Stopped)));
    assert_eq!(std::fs::read_dir(work).unwrap().count(), 0);
    assert_eq!(std::fs::read_dir(partial).unwrap().count(), 1);
}

#[test]
fn parameters_are_bound_with_the_references_defaults() {
    let bound = boxed::<TrainStage>().bind(&json!({"epochs": 3})).unwrap().params();
    assert_eq!(
        (&bound["epochs"], &bound["model"], &bound["batch"]),
        (&json!(3), &json!("wrn-16-1"), &json!(64))
    );
    assert_eq!(bound["augment"]["crop_padding"], json!(0));
    let bound = boxed::<EraseStage>().bind(&json!({"method": "nad"})).unwrap().params();
    assert_eq!(
        (&bound["betas"], &bound["augment"]["crop_padding"]),
        (&json!([500.0, 1000.0, 1000.0]), &json!(4))
    );

    let wrong = |stage: Box<dyn Stage>, with| stage.bind(&with).err().unwrap().remove(0);
    let schedule = json!({"schedule": [{"epoch": 1, "lr": 0.1}]});
    assert_eq!(wrong(boxed::<TrainStage>(), schedule.clone()).path, ["schedule"]);
    assert_eq!(wrong(boxed::<FinetuneStage>(), schedule).path, ["schedule"]);
    assert!(wrong(boxed::<TrainStage>(), json!({"model": "wrn-9-1"})).message.contains("6n + 4"));
    assert!(wrong(boxed::<EvaluateStage>(), json!({"x": 1})).message.contains("unknown field `x`"));
}
