//! Stage kinds that write their parameters and inputs, and count their runs.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use std::{fs, thread};

use schemars::{JsonSchema, Schema, schema_for};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::stages::{
    Artifact, Bound, Context, Input, Need, Observer, Outcome, Output, ParamError, Progress, Stage, StageError,
};

/// The behavior of a kind when it runs. It does not enter the key.
#[derive(Clone, Copy, PartialEq)]
pub enum Act {
    Fail,
    Panic,
    /// Reports progress until it is stopped.
    UntilStopped,
    /// Writes bytes that depend on how often it has run.
    Waver,
    /// Takes this many milliseconds.
    Slow(u64),
}

/// The shared state of a test's kinds: the runs and the behavior of each.
#[derive(Default)]
pub struct Lab {
    ran: Mutex<Vec<&'static str>>,
    acts: Mutex<HashMap<&'static str, Act>>,
    /// What happens elsewhere while a stage with an outside file runs.
    meanwhile: Mutex<Option<Box<dyn FnMut() + Send>>>,
}

impl Lab {
    pub fn set(&self, kind: &'static str, act: Act) {
        self.acts.lock().unwrap().insert(kind, act);
    }

    pub fn meanwhile(&self, act: impl FnMut() + Send + 'static) {
        *self.meanwhile.lock().unwrap() = Some(Box::new(act));
    }

    pub fn heal(&self) {
        self.meanwhile.lock().unwrap().take();
        self.acts.lock().unwrap().clear();
    }

    /// The sorted kinds that ran since the last call, with their numbers of runs.
    pub fn ran(&self) -> Vec<(&'static str, usize)> {
        let mut ran = std::mem::take(&mut *self.ran.lock().unwrap());
        ran.sort_unstable();
        ran.chunk_by(|a, b| a == b).map(|same| (same[0], same.len())).collect()
    }
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Params {
    /// Any text.
    pub text: String,
    #[schemars(range(min = 0.0, max = 1.0))]
    pub ratio: f64,
    /// Whether the outputs depend on the seed.
    pub seeded: bool,
    /// Whether the outputs are always the same.
    pub constant: bool,
    /// An outside file to read.
    #[serde(skip_serializing)]
    pub file: Option<PathBuf>,
}

impl Default for Params {
    fn default() -> Self {
        Self { text: String::new(), ratio: 1.0, seeded: true, constant: false, file: None }
    }
}

#[derive(Clone)]
pub struct Fake {
    pub kind: &'static str,
    pub version: u32,
    pub inputs: &'static [Input],
    pub outputs: &'static [Output],
    pub lab: Arc<Lab>,
}

impl Stage for Fake {
    fn kind(&self) -> &'static str {
        self.kind
    }

    fn version(&self) -> u32 {
        self.version
    }

    fn about(&self) -> &'static str {
        "a test"
    }

    fn inputs(&self) -> &'static [Input] {
        self.inputs
    }

    fn outputs(&self) -> &'static [Output] {
        self.outputs
    }

    fn schema(&self) -> Schema {
        schema_for!(Params)
    }

    fn bind(&self, with: &Value) -> Result<Box<dyn Bound>, Vec<ParamError>> {
        let params: Params = serde_json::from_value(with.clone())
            .map_err(|error| vec![ParamError { path: vec![], message: error.to_string(), help: None }])?;
        if params.text == "forbidden" {
            return Err(vec![ParamError {
                path: vec!["text".into()],
                message: "this text is forbidden".into(),
                help: None,
            }]);
        }
        Ok(Box::new(BoundFake { fake: self.clone(), params }))
    }
}

struct BoundFake {
    fake: Fake,
    params: Params,
}

impl Bound for BoundFake {
    fn params(&self) -> Value {
        serde_json::to_value(&self.params).unwrap()
    }

    fn seeded(&self) -> bool {
        self.params.seeded
    }

    fn needs(&self) -> Vec<Need> {
        let need = Need { port: "poison", parameter: "text" };
        (self.params.text == "picky").then_some(need).into_iter().collect()
    }

    fn makes(&self, output: &Output) -> bool {
        self.params.text != "single" || output.name != "two"
    }

    fn sources(&self) -> Vec<PathBuf> {
        self.params.file.iter().cloned().collect()
    }

    fn classes(&self) -> Option<usize> {
        None
    }

    fn check_classes(&self, _classes: usize) -> Vec<ParamError> {
        vec![]
    }

    fn advice(&self, _stage: &str) -> Option<String> {
        None
    }

    fn run(&self, context: &mut Context<'_>) -> Result<Outcome, StageError> {
        let Fake { kind, version, outputs, lab, .. } = &self.fake;
        lab.ran.lock().unwrap().push(kind);
        let act = lab.acts.lock().unwrap().get(kind).copied();
        let runs = lab.ran.lock().unwrap().len();
        match act {
            Some(Act::Fail) => return Err(StageError::Failed("the test makes it fail".into())),
            Some(Act::Panic) => panic!("the test makes it panic"),
            Some(Act::UntilStopped) => return until_stopped(context),
            Some(Act::Slow(milliseconds)) => thread::sleep(Duration::from_millis(milliseconds)),
            Some(Act::Waver) | None => {}
        }
        if let (Some(_), Some(act)) = (&self.params.file, &mut *lab.meanwhile.lock().unwrap()) {
            act();
        }
        // Reading the inputs shows that they exist. `work` is empty and private.
        let inputs: Vec<(String, String)> = context
            .inputs
            .iter()
            .map(|(name, path)| (name.clone(), blake3::hash(&fs::read(path).unwrap()).to_string()))
            .collect();
        assert_eq!(fs::read_dir(context.work).unwrap().count(), 0);
        let wavering = if act == Some(Act::Waver) { runs } else { 0 };
        let content = match self.params.constant {
            true => json!("constant"),
            false => json!([kind, version, self.params(), context.seed, inputs, wavering]),
        };
        let mut outcome = Outcome::default();
        for output in outputs.iter().filter(|output| self.makes(output)) {
            if *kind == "split" && output.name == "dataset" {
                outcome.passed_on.push(("dataset", "dataset"));
                continue;
            }
            fs::write(context.output(output.name), format!("{} {content}", output.name)).unwrap();
        }
        if *kind == "evaluate" {
            let hash = blake3::hash(content.to_string().as_bytes());
            outcome.metrics.insert("acc".into(), (f64::from(hash.as_bytes()[0]) / 2.56).into());
            outcome.metrics.insert("n_clean".into(), 2000.into());
        }
        Ok(outcome)
    }
}

fn until_stopped(context: &mut Context<'_>) -> Result<Outcome, StageError> {
    for epoch in 0.. {
        context.observer.progress(&Progress { epoch, ..Progress::default() });
        if context.stopped() {
            fs::write(context.partial.path().join("checkpoint"), epoch.to_string()).unwrap();
            break;
        }
        thread::sleep(Duration::from_millis(1));
    }
    Err(StageError::Stopped)
}

const fn input(name: &'static str, takes: Artifact, required: bool) -> Input {
    Input { name, takes, also: &[], required, about: "an input" }
}

const fn images() -> Input {
    let also = &[("indices", Artifact::Indices)];
    Input { name: "dataset", takes: Artifact::Dataset, also, required: true, about: "images" }
}

const fn output(name: &'static str, makes: Artifact) -> Output {
    Output { name, makes, about: "an output" }
}

const DATASET: &[Output] = &[output("dataset", Artifact::Dataset)];
const OVERLAY: &[Output] = &[output("overlay", Artifact::Overlay), output("trigger", Artifact::Trigger)];
const SPLIT: &[Output] = &[output("dataset", Artifact::Dataset), output("indices", Artifact::Indices)];
const MODEL: &[Output] = &[output("model", Artifact::Model)];
const TWO_MODELS: &[Output] = &[output("one", Artifact::Model), output("two", Artifact::Model)];
const MODEL_AND_CURVE: &[Output] = &[output("model", Artifact::Model), output("two", Artifact::Curve)];
const REPORT: &[Output] = &[output("report", Artifact::Report)];

const FROM_CURVE: &[Input] = &[input("curve", Artifact::Curve, true)];
const FROM_IMAGES: &[Input] = &[images()];
const TRAIN: &[Input] = &[images(), input("poison", Artifact::Overlay, false)];
const FINETUNE: &[Input] = &[input("model", Artifact::Model, true), images()];
const ERASE: &[Input] =
    &[input("student", Artifact::Model, true), input("teacher", Artifact::Model, true), images()];
const EVALUATE: &[Input] = &[
    input("model", Artifact::Model, true),
    images(),
    input("trigger", Artifact::Trigger, false),
    input("baseline", Artifact::Report, false),
];
const NODE: &[Input] = &[
    input("a", Artifact::Model, false),
    input("b", Artifact::Model, false),
    input("c", Artifact::Model, false),
];

/// Kinds with the ports of the real ones, and four more: `node` takes up to 3 models, `twins` makes 2 models, `connect`
/// makes a model and, unless its text is `single`, a curve, and `point` takes the curve.
pub fn fakes(lab: &Arc<Lab>) -> Vec<Fake> {
    let fake = |kind, inputs, outputs| Fake { kind, version: 1, inputs, outputs, lab: Arc::clone(lab) };
    vec![
        fake("dataset", &[], DATASET),
        fake("poison", FROM_IMAGES, OVERLAY),
        fake("train", TRAIN, MODEL),
        fake("split", FROM_IMAGES, SPLIT),
        fake("finetune", FINETUNE, MODEL),
        fake("erase", ERASE, MODEL),
        fake("evaluate", EVALUATE, REPORT),
        fake("node", NODE, MODEL),
        fake("twins", &[], TWO_MODELS),
        fake("connect", &[], MODEL_AND_CURVE),
        fake("point", FROM_CURVE, MODEL),
    ]
}

/// The kinds of a test, in the form of the registry.
pub fn registry(fakes: Vec<Fake>) -> Vec<Box<dyn Stage>> {
    fakes.into_iter().map(|fake| Box::new(fake) as Box<dyn Stage>).collect()
}
