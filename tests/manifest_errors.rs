//! What users see for each kind of mistake in a manifest: every file in `bad_manifests` with its rendered errors.
//!
//! A line `# --set path=value` in a file is an override. Parameters of stages of the kind `erase` are checked against
//! a schema that has one field of each kind that stages use.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use argd_pipe::manifest::{Diagnostic, Draft, Errors, LoadError, Manifest, Override, schema};
use miette::{GraphicalReportHandler, GraphicalTheme};
use schemars::JsonSchema;

/// Parameters with a field of each kind; only its schema is used.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[allow(dead_code)]
struct Params {
    /// Share of the training images that are known to be clean.
    #[schemars(extend("exclusiveMinimum" = 0), range(max = 1))]
    ratio: f64,
    /// Passes over the clean images.
    #[schemars(default = "ten")]
    epochs: u32,
    /// Images per step.
    #[schemars(default = "sixty_four", range(min = 1))]
    batch: usize,
    /// Whether the momentum is Nesterov's.
    #[schemars(default)]
    nesterov: bool,
    /// Epochs after which the learning rate drops.
    #[schemars(default)]
    milestones: Vec<u32>,
    /// The architecture.
    model: Option<String>,
    /// The learning rate.
    #[schemars(range(min = 0, max = 1))]
    lr: Option<f64>,
    /// How many classes there are.
    classes: Option<u8>,
    /// The momentum.
    momentum: Option<f64>,
    /// How the backdoor is erased.
    method: Option<Method>,
    /// The shape of the trigger.
    pattern: Option<Pattern>,
}

fn ten() -> u32 {
    10
}

fn sixty_four() -> usize {
    64
}

/// A choice of parameters by a tag.
#[derive(JsonSchema)]
#[schemars(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
#[allow(dead_code)]
enum Method {
    /// Plain fine-tuning.
    Finetune,
    /// Neural attention distillation.
    Nad {
        /// The weight of the distillation.
        #[schemars(range(min = 0))]
        beta: Option<f64>,
    },
    /// Attention relation graph distillation.
    Argd {
        /// The weight of the relations.
        #[schemars(range(min = 0))]
        beta: Option<f64>,
        /// The weight of the nodes.
        #[schemars(range(min = 0))]
        gamma: Option<f64>,
    },
}

/// A choice of words.
#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
#[allow(dead_code)]
enum Pattern {
    /// One square.
    Square,
    /// A chequered square.
    Grid,
}

fn folder() -> PathBuf {
    Path::new(file!()).with_file_name("bad_manifests")
}

/// Loads a manifest and checks the parameters of every task that it describes.
fn check(name: &str, text: &str, overrides: &[Override]) -> Result<(), Errors> {
    let manifest = Manifest::parse(name, text, overrides)?;
    let schema = schemars::schema_for!(Params).to_value();
    let mut errors: Vec<Diagnostic> = vec![];
    for stage in manifest.stages.iter().filter(|stage| stage.kind.value == "erase") {
        for cell in manifest.cells() {
            match manifest.instantiate(stage, &cell) {
                Ok(with) => {
                    errors.extend(schema::check(&with, &schema, &format!("stages.{}.with", stage.name)))
                }
                Err(Errors(more)) => errors.extend(more),
            }
        }
    }
    Errors::check(errors)
}

fn rendered(errors: &Errors) -> String {
    let handler = GraphicalReportHandler::new_themed(GraphicalTheme::unicode_nocolor()).with_width(100);
    let mut text = String::new();
    for error in &errors.0 {
        assert!(handler.render_report(&mut text, error).is_ok(), "{}", error.line());
    }
    text.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

#[test]
fn every_mistake_is_shown_with_its_place_and_its_remedy() {
    let mut paths: Vec<PathBuf> =
        fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(paths.len() > 60, "{} files", paths.len());
    for path in paths {
        let text = fs::read_to_string(&path).unwrap();
        let overrides: Vec<Override> = text
            .lines()
            .filter_map(|line| line.strip_prefix("# --set "))
            .map(|set| set.parse().unwrap())
            .collect();
        let stem = path.file_stem().unwrap().to_str().unwrap();
        let errors = check(&format!("{stem}.yaml"), &text, &overrides).expect_err(stem);
        insta::assert_snapshot!(stem, rendered(&errors));
    }
}

#[test]
fn a_file_that_cannot_be_read_says_which_and_why() {
    let folder = tempfile::tempdir().unwrap();
    let missing = Draft::load(&folder.path().join("none.yaml"), &[]).unwrap_err();
    assert!(matches!(&missing, LoadError::Io { error, .. } if error.kind() == std::io::ErrorKind::NotFound));
    assert!(missing.to_string().contains("none.yaml"), "{missing}");

    let binary = folder.path().join("model.pt");
    fs::write(&binary, [b'a', 0xff, b'b']).unwrap();
    assert!(matches!(Draft::load(&binary, &[]), Err(LoadError::NotText { offset: 1, .. })));

    let large = folder.path().join("large.yaml");
    fs::write(&large, vec![b'#'; (1 << 20) + 1]).unwrap();
    assert!(matches!(Draft::load(&large, &[]), Err(LoadError::TooLarge { .. })));
}

#[test]
fn a_matrix_of_many_cells_and_many_exceptions_is_answered_at_once() {
    let values = |count: usize| (0..count).map(|value| value.to_string()).collect::<Vec<_>>().join(", ");
    let excluded: String =
        (0..40_000).map(|n| format!("    - {{a: {}, b: {}}}\n", n % 300, n / 300)).collect();
    let text = format!(
        "name: m\nmatrix:\n  a: [{}]\n  b: [{}]\n  exclude:\n{excluded}stages: {{s: {{kind: split, with: {{ratio: \"${{matrix.a}}${{matrix.b}}\"}}}}}}\n",
        values(300),
        values(300)
    );
    let started = Instant::now();
    let manifest = Draft::parse("m.yaml", text, &[]).finish().unwrap();
    assert_eq!(manifest.cells().len(), 90_000 - 40_000);
    assert!(started.elapsed() < Duration::from_secs(2), "it took {:?}", started.elapsed());
}
