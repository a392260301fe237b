//! One test per component of a key: a change that must change the key, and a change that must not.

use super::kinds::Act;
use super::*;

const TWO: &str = "
name: two
seed: 1
stages:
  upstream: {kind: dataset}
  subject:  {kind: split, needs: {dataset: upstream}}
";

/// The key of the stage `subject` after a run, and how often its kind ran.
fn key(bench: &Bench, yaml: &str) -> String {
    let plan = bench.plan(yaml);
    let seen = bench.run_plan(&plan);
    seen.run.complete().unwrap();
    let mut subjects = plan.tasks().filter(|task| task.kind == "split" || task.kind == "node");
    seen.run.record(subjects.next().unwrap().id()).unwrap().key.to_string()
}

fn assert_changes(change: impl Fn(Bench) -> (Bench, String)) {
    let (bench, yaml) = change(Bench::new());
    assert_ne!(key(&bench, &yaml), key(&Bench::new(), TWO));
}

fn assert_keeps(change: impl Fn(Bench) -> (Bench, String)) {
    let (bench, yaml) = change(Bench::new());
    assert_eq!(key(&bench, &yaml), key(&Bench::new(), TWO));
}

fn with_text(from: &str, to: &str) -> impl Fn(Bench) -> (Bench, String) {
    assert!(TWO.contains(from));
    let yaml = TWO.replace(from, to);
    move |bench| (bench, yaml.clone())
}

fn with_kinds(change: impl Fn(&mut Fake)) -> impl Fn(Bench) -> (Bench, String) {
    move |mut bench| {
        bench.kinds.iter_mut().for_each(&change);
        (bench, TWO.to_owned())
    }
}

/// If this fails, every cache is invalid. Find the change, unless it is that of the class of numerics.
#[test]
fn a_key_is_frozen() {
    assert_eq!(key(&Bench::new(), TWO), "782002b95f522f136aa27110e1e47df46706051d23e446d321c5f63e6a094828");
}

#[test]
fn names_are_not_in() {
    assert_keeps(with_text("name: two", "name: other"));
    assert_keeps(with_text("subject: ", "renamed: "));
}

#[test]
fn the_kind_is_in() {
    let swapped = |bench: Bench| {
        let yaml = TWO.replace("kind: split, needs: {dataset: upstream}", "kind: node");
        (bench, yaml)
    };
    assert_changes(swapped);
}

#[test]
fn the_version_is_in() {
    assert_changes(with_kinds(|kind| kind.version += u32::from(kind.kind == "split")));
    assert_keeps(with_kinds(|kind| kind.version += u32::from(kind.kind == "erase")));
}

#[test]
fn parameters_are_in_after_defaults() {
    assert_changes(with_text("{dataset: upstream}", "{dataset: upstream}, with: {ratio: 0.5}"));
    assert_keeps(with_text("{dataset: upstream}", "{dataset: upstream}, with: {ratio: 1}"));
    assert_keeps(with_text("{dataset: upstream}", "{dataset: upstream}, with: {seeded: true, ratio: 1.0}"));
}

#[test]
fn the_content_of_inputs_is_in_but_not_how_they_were_computed() {
    assert_changes(with_text("dataset}", "dataset, with: {text: other}}"));
    let constant =
        |text: &str| TWO.replace("dataset}", &format!("dataset, with: {{constant: true, text: {text}}}}}"));
    let bench = Bench::new();
    assert_eq!(key(&bench, &constant("one")), key(&bench, &constant("two")));
}

#[test]
fn the_port_is_in() {
    let yaml = |port: &str| {
        format!(
            "
name: ports
stages:
  m: {{kind: train, needs: {{dataset: d}}}}
  d: {{kind: dataset}}
  subject: {{kind: node, needs: {{{port}: m}}}}
"
        )
    };
    let bench = Bench::new();
    assert_ne!(key(&bench, &yaml("a")), key(&bench, &yaml("b")));
}

#[test]
fn outside_files_are_in_by_content_and_not_by_path() {
    let bench = Bench::new();
    let key_of_file = |name: &str, content: &str| {
        let path = bench.folder.path().join(name);
        fs::write(&path, content).unwrap();
        key(&bench, &format!("name: file\nstages: {{a: {{kind: node, with: {{file: {}}}}}}}", path.display()))
    };
    let first = key_of_file("a.bin", "pixels");
    assert_eq!(key_of_file("moved.bin", "pixels"), first);
    assert_ne!(key_of_file("b.bin", "other pixels"), first);
    let folder = bench.folder.path().join("folder");
    fs::create_dir(&folder).unwrap();
    let first = key_of_file("folder/a.png", "pixels");
    let in_folder = |bench: &Bench| {
        key(
            bench,
            &format!("name: file\nstages: {{a: {{kind: node, with: {{file: {}}}}}}}", folder.display()),
        )
    };
    let whole = in_folder(&bench);
    assert_ne!(whole, first);
    fs::write(folder.join("b.png"), "more").unwrap();
    assert_ne!(in_folder(&bench), whole);
}

#[test]
fn the_seed_is_in_if_the_stage_depends_on_it() {
    let seeded = |seed: u64, seeded: bool| {
        format!("name: s\nseed: {seed}\nstages: {{a: {{kind: node, with: {{seeded: {seeded}}}}}}}")
    };
    let bench = Bench::new();
    assert_ne!(key(&bench, &seeded(1, true)), key(&bench, &seeded(2, true)));
    assert_eq!(key(&bench, &seeded(1, false)), key(&bench, &seeded(2, false)));
    let axis = "name: s\nmatrix: {seed: [2]}\nstages: {a: {kind: node}}";
    assert_eq!(key(&bench, axis), key(&bench, &seeded(2, true)), "an axis equals the manifest's seed");
}

#[test]
fn the_class_of_numerics_is_in_and_threads_and_jobs_are_not() {
    assert_changes(|bench| (Bench { backend: Backend::candle(), ..bench }, TWO.to_owned()));
    let settings = Settings { jobs: 4, threads: 7, memory: None, fail_fast: false };
    assert_keeps(|bench| (Bench { settings, ..bench }, TWO.to_owned()));
}

#[test]
fn a_record_keeps_the_components() {
    let bench = Bench::new();
    let plan = bench.plan(TWO);
    let seen = bench.run_plan(&plan);
    let record = |name| seen.run.record(named(&plan, name)).unwrap();
    let upstream = record("upstream").output("dataset").unwrap().to_string();
    let expected = serde_json::json!({
        "encoding": 1,
        "kind": "split",
        "version": 1,
        "params": {"text": "", "ratio": 1.0, "seeded": true, "constant": false},
        "inputs": {"dataset": upstream},
        "numerics": "cpu/f32/kernels-3",
        "seed": 1,
    });
    assert_eq!(record("subject").components, expected);
    bench.lab.set("split", Act::Fail);
    assert_eq!(bench.run_plan(&plan).counts(), [0, 2, 0, 0, 0]);
}
