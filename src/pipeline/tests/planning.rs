//! The tasks of a manifest, and the errors of wrong ones.

use std::time::{Duration, Instant};

use super::*;

#[test]
fn a_stage_is_instantiated_once_per_combination_of_the_axes_it_uses() {
    let plan = Bench::new().plan(SWEEP);
    let count = |stage| plan.of_stage(stage).count();
    assert_eq!(
        plan.stages().iter().map(|stage| count(stage)).collect::<Vec<_>>(),
        [1, 1, 1, 4, 4, 12, 1, 12]
    );
    assert_eq!(plan.len(), SWEEP_TASKS);
    let erased: Vec<String> = plan.of_stage("erased").map(|task| task.label.to_string()).collect();
    assert_eq!(erased[0], "erased@clean_ratio=0.01,defense=finetune");
    assert_eq!(erased[4], "erased@clean_ratio=0.05,defense=nad");
    let teacher = plan.task(named(&plan, "teacher@clean_ratio=0.05"));
    assert_eq!(teacher.label.axes, [("clean_ratio".to_owned(), "0.05".to_owned())]);
    let needs: Vec<String> = teacher.needs().map(|id| plan.task(id).label.to_string()).collect();
    assert_eq!(needs, ["backdoored", "clean@clean_ratio=0.05"]);
}

#[test]
fn a_port_takes_the_parts_that_its_producer_has() {
    let plan = Bench::new().plan(SWEEP);
    let artifacts = |name: &str, port: &str| {
        let task = plan.task(named(&plan, name));
        task.inputs.iter().find(|connection| connection.port == port).unwrap().artifacts.clone()
    };
    let pairs = |pairs: &[(&str, &'static str)]| -> Vec<(String, &'static str)> {
        pairs.iter().map(|&(input, output)| (input.to_owned(), output)).collect()
    };
    assert_eq!(artifacts("backdoored", "dataset"), pairs(&[("dataset", "dataset")]));
    assert_eq!(
        artifacts("teacher@clean_ratio=0.01", "dataset"),
        pairs(&[("dataset", "dataset"), ("dataset.indices", "indices")])
    );
}

#[test]
fn tasks_come_after_their_inputs_in_any_order_of_the_file() {
    let plan = Bench::new().plan(
        "
name: backwards
stages:
  c: {kind: node, needs: {a: b, b: a}}
  b: {kind: node, needs: {a: a}}
  a: {kind: node}
",
    );
    assert!(plan.tasks().all(|task| task.needs().all(|need| need < task.id())));
    assert_eq!(plan.graph().edge_count(), 3);
    assert_eq!(plan.tasks().map(|task| task.label.stage.as_str()).collect::<Vec<_>>(), ["a", "b", "c"]);
}

#[test]
fn only_stages_that_depend_on_the_seed_are_swept_over_it() {
    let plan = Bench::new().plan(
        "
name: seeds
matrix: {seed: [3, 5]}
stages:
  fixed: {kind: node, with: {seeded: false}}
  drawn: {kind: node, needs: {a: fixed}}
  after: {kind: node, needs: {a: drawn}, with: {seeded: false}}
",
    );
    let seeds = |stage| plan.of_stage(stage).map(|task| task.seed).collect::<Vec<_>>();
    assert_eq!(seeds("fixed"), [None]);
    assert_eq!(seeds("drawn"), [Some(3), Some(5)]);
    assert_eq!(seeds("after"), [None, None]);
    assert_eq!(plan.task(TaskId(2)).label.to_string(), "after@seed=3");
}

#[test]
fn a_stage_can_have_a_seed_of_its_own() {
    let plan = Bench::new().plan(
        "
name: seeds
matrix: {seed: [3, 5]}
stages:
  drawn: {kind: node}
  twin: {kind: node, seed: 7}
",
    );
    let seeds = |stage| plan.of_stage(stage).map(|task| task.seed).collect::<Vec<_>>();
    assert_eq!((seeds("drawn"), seeds("twin")), (vec![Some(3), Some(5)], vec![Some(7)]));

    let idle = "{name: m, stages: {a: {kind: node, with: {seeded: false}, seed: 7}}}";
    let errors = Bench::new().errors(idle);
    assert!(matches!(&errors[..], [one] if one.contains("this seed has no effect")), "{errors:?}");
}

#[test]
fn a_seed_named_in_a_parameter_is_a_use_of_the_axis() {
    let plan = Bench::new().plan(
        r#"
name: seeds
matrix: {seed: [3, 5]}
stages: {a: {kind: node, with: {seeded: false, text: "s${seed}"}}}
"#,
    );
    assert_eq!(plan.tasks().map(|task| task.label.to_string()).collect::<Vec<_>>(), ["a@seed=3", "a@seed=5"]);
}

#[test]
fn excluded_cells_make_no_tasks() {
    let plan = Bench::new().plan(
        r#"
name: holes
matrix:
  x: [a, b]
  y: [c, d]
  exclude: [{x: b, y: d}]
stages:
  one: {kind: node, with: {text: "${matrix.x}"}}
  two: {kind: node, needs: {a: one}, with: {text: "${matrix.y}"}}
"#,
    );
    let names: Vec<String> = plan.of_stage("two").map(|task| task.label.to_string()).collect();
    assert_eq!(names, ["two@x=a,y=c", "two@x=a,y=d", "two@x=b,y=c"]);
}

#[test]
fn all_errors_are_reported_together_and_each_once() {
    let errors = Bench::new().errors(
        r#"
name: wrong
matrix: {x: [1, 2, 3], y: [0.5, 1.5]}
stages:
  images:  {kind: dataset, with: {sauce: a, text: "${matrix.x}"}}
  trained: {kind: trian, needs: {dataset: images}}
  split:   {kind: split, with: {ratio: "${matrix.y}"}}
  tuned:   {kind: finetune, needs: {model: images, dataset: split, modl: trained}}
  twins:   {kind: twins, with: {text: forbidden}}
  node:    {kind: node, needs: {a: twins}}
results: {csv: r.csv, from: [tuned]}
"#,
    );
    let expected = [
        ("matrix", ""),
        ("stages.images.with.sauce", "sauce"),
        ("stages.images.with.text", "string"),
        ("stages.trained.kind", "unknown stage kind `trian`"),
        ("stages.split.needs", "a stage of kind `split` needs `dataset`: images"),
        ("stages.split.with.ratio", "1.5"),
        ("stages.tuned.needs.model", "`model` takes a model, but `images` makes a data set"),
        ("stages.tuned.needs.modl", "a stage of kind `finetune` has no input `modl`"),
        ("stages.twins.with.text", "this text is forbidden"),
        ("stages.node.needs.a", "`a` takes a model, but `twins` makes 2 of them"),
        ("results.from.0", "`tuned` makes no metrics"),
    ];
    for (path, message) in &expected[1..] {
        let is_it = |error: &&String| error.starts_with(&format!("{path}: ")) && error.contains(message);
        let found = errors.iter().filter(is_it).count();
        let once = if *path == "stages.images.with.text" { 3 } else { 1 };
        assert_eq!(found, once, "{path}: {message}\nin {errors:#?}");
    }
}

#[test]
fn an_input_that_a_parameter_requires_is_reported_at_the_parameter() {
    let bench = Bench::new();
    let manifest = |poison: &str| {
        format!(
            r#"
name: picky
matrix: {{how: [easy, picky]}}
stages:
  images:  {{kind: dataset}}
  changed: {{kind: poison, needs: {{dataset: images}}}}
  trained: {{kind: train, needs: {{dataset: images{poison}}}, with: {{text: "${{matrix.how}}"}}}}
"#
        )
    };
    assert_eq!(bench.plan(&manifest(", poison: changed")).of_stage("trained").count(), 2);
    let errors = bench.try_plan(&manifest("")).err().unwrap().0;
    let [error] = errors.as_slice() else { panic!("{errors:#?}") };
    assert_eq!(error.line_column(), (3, 22));
    assert_eq!(error.path, "stages.trained.with.text");
    assert_eq!(error.message, "`picky` needs the input `poison`, which is not connected");
    assert_eq!(error.related[0].message, "used here");
    assert_eq!(
        error.help.as_deref(),
        Some("add `poison: <stage>` to the `needs` of this stage\n`poison`: an input")
    );
}

#[test]
fn an_output_that_parameters_omit_is_not_expected_and_cannot_be_taken() {
    let bench = Bench::new();
    let manifest = |axis: &str, needs: &str| {
        format!(
            r#"
name: curves
matrix: {{how: [{axis}]}}
stages:
  connected: {{kind: connect, with: {{text: "${{matrix.how}}"}}}}
  other:     {{kind: connect}}
  points:    {{kind: point, needs: {{curve: {needs}}}}}
"#
        )
    };
    assert_eq!(bench.run(&manifest("single, double", "other")).counts(), [4, 0, 0, 0, 0]);
    let cached = bench.run(&manifest("single, double", "other"));
    assert_eq!(cached.counts(), [0, 4, 0, 0, 0]);
    assert_eq!(bench.plan(&manifest("double", "connected")).of_stage("points").count(), 1);
    assert_eq!(
        bench.errors(&manifest("double, single", "connected")),
        [
            "stages.points.needs.curve: `curve` takes a curve, but `connected` makes it only with other parameters"
        ]
    );
}

#[test]
fn an_error_has_help() {
    let bench = Bench::new();
    let help = |yaml| {
        let errors = bench.try_plan(yaml).err().unwrap().0;
        let error = errors.into_iter().next().unwrap();
        (error.label.clone(), error.help.unwrap_or_default(), error.place.text().to_owned())
    };
    let (label, help_text, text) = help("name: a\nstages: {a: {kind: trian}}");
    assert_eq!((label.as_str(), text.as_str()), ("did you mean `train`?", "trian"));
    assert!(help_text.starts_with("kinds: `dataset`, "), "{help_text}");
    let (label, help_text, text) = help("name: a\nstages: {images: {kind: dataset}, s: {kind: split}}");
    assert_eq!((label.as_str(), text.as_str()), ("`dataset` is not connected", "s"));
    assert_eq!(help_text, "write `needs: {dataset: images}`\nkinds that make a data set: `dataset`, `split`");
    let (label, help_text, text) =
        help("name: a\nstages: {i: {kind: dataset}, n: {kind: node, needs: {a: i}}}");
    assert_eq!((label.as_str(), text.as_str()), ("a stage of kind `dataset`", "i"));
    assert_eq!(
        help_text,
        "kinds that make a model: `train`, `finetune`, `erase`, `node`, `connect`, `point`"
    );
}

#[test]
fn a_plan_of_5000_tasks_is_made_quickly() {
    let values = |n: usize| (0..n).map(|i| i.to_string()).collect::<Vec<_>>().join(", ");
    let yaml = format!(
        r#"
name: large
matrix: {{x: [{}], y: [{}]}}
stages:
  a: {{kind: node}}
  b: {{kind: node, needs: {{a: a}}, with: {{text: "x${{matrix.x}}"}}}}
  c: {{kind: node, needs: {{a: b}}, with: {{text: "y${{matrix.y}}"}}}}
  d: {{kind: node, needs: {{a: c, b: a}}}}
"#,
        values(50),
        values(50)
    );
    let bench = Bench::new();
    let start = Instant::now();
    let plan = bench.plan(&yaml);
    assert_eq!(plan.len(), 1 + 50 + 2500 + 2500);
    // 100 times the time of an optimized build. This only guards against quadratic work.
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
}
