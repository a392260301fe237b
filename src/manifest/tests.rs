//! Tests of whole manifests: references, the matrix, and what a stage gets in a cell.

use std::collections::BTreeSet;
use std::path::PathBuf;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn manifest(text: &str) -> Manifest {
    with_overrides(text, &[])
}

fn with_overrides(text: &str, overrides: &[&str]) -> Manifest {
    let overrides: Vec<Override> = overrides.iter().map(|text| text.parse().unwrap()).collect();
    Manifest::parse("m.yaml", text, &overrides).unwrap_or_else(|errors| panic!("{errors}"))
}

fn lines(text: &str) -> Vec<String> {
    let errors = Manifest::parse("m.yaml", text, &[]).expect_err("is not valid");
    errors.0.iter().map(Diagnostic::line).collect()
}

/// The parameters of the stage `s` in every cell.
fn parameters(manifest: &Manifest) -> Vec<Value> {
    let stage = manifest.stage("s").unwrap();
    manifest.cells().iter().map(|cell| manifest.instantiate(stage, cell).unwrap().to_json()).collect()
}

/// A manifest with one stage `s` and something before it.
fn one_stage(head: &str, with: &str) -> String {
    format!("name: m\n{head}\nstages:\n  s: {{kind: k, with: {with}}}\n")
}

#[test]
fn a_manifest_with_everything_loads() {
    let text = r#"
name: badnets
description: A backdoor planted and erased.
seed: 2
vars: {source: synthetic}
matrix:
  clean_ratio: [0.01, 0.05, 0.10, 0.20]
  defense: [finetune, nad, argd]
stages:
  images:     {kind: dataset,  with: {source: "${vars.source}"}}
  poisoned:   {kind: poison,   needs: {dataset: images}, with: {attack: badnets, rate: 0.1}}
  backdoored: {kind: train,    needs: {dataset: images, poison: poisoned}, with: {epochs: 10}}
  clean:      {kind: split,    needs: {dataset: images}, with: {ratio: "${matrix.clean_ratio}"}}
  erased:     {kind: erase,    needs: {student: backdoored, dataset: clean}, with: {method: "${matrix.defense}"}}
results: {csv: results/badnets.csv, from: [erased]}
"#;
    let manifest = manifest(text);
    assert_eq!((manifest.name.as_str(), manifest.seed, manifest.cells().len()), ("badnets", 2, 12));
    assert_eq!(manifest.stages.iter().map(|s| s.name.as_str()).nth(4), Some("erased"));
    let erased = manifest.stage("erased").unwrap();
    assert_eq!(erased.axes, BTreeSet::from(["defense".to_owned()]));
    assert_eq!((erased.kind.value.as_str(), erased.needs[1].1.value.as_str()), ("erase", "clean"));
    let images = manifest.stage("images").unwrap();
    let with = manifest.instantiate(images, &Cell::new()).unwrap();
    assert_eq!(with.to_json(), json!({"source": "synthetic"}));
    let results = manifest.results.unwrap();
    assert_eq!((results.csv.value, results.from.len()), (PathBuf::from("results/badnets.csv"), 1));
}

#[test]
fn defaults_are_seed_zero_one_cell_and_no_parameters() {
    let manifest = manifest("name: m\nstages: {s: {kind: k}}");
    assert_eq!((manifest.seed, manifest.cells()), (0, vec![Cell::new()]));
    assert_eq!(parameters(&manifest), [json!({})]);
    assert_eq!(manifest.results, None);
}

#[test]
fn a_reference_alone_keeps_its_type_and_in_text_becomes_text() {
    let text = one_stage(
        "seed: 7\nvars: {i: 3, f: 0.10, b: true, n: null, l: [1, {x: y}], s: word}",
        r#"{i: "${vars.i}", f: "${vars.f}", b: "${vars.b}", n: "${vars.n}", l: "${vars.l}", x: "${vars.l.1.x}",
            seed: "${seed}", text: "a ${vars.i} ${vars.f} ${vars.b} ${vars.s} ${seed} $${vars.i}", deep: [{k: "${vars.i}"}]}"#,
    );
    let expected = json!({
        "i": 3, "f": 0.1, "b": true, "n": null, "l": [1, {"x": "y"}], "x": "y", "seed": 7,
        "text": "a 3 0.1 true word 7 ${vars.i}", "deep": [{"k": 3}],
    });
    assert_eq!(parameters(&manifest(&text)), [expected]);
}

#[test]
fn variables_may_refer_to_variables_the_seed_and_the_matrix() {
    let text = one_stage(
        "seed: \"${vars.base}\"\nmatrix: {r: [1, 2]}\nvars: {a: \"${vars.b}-x\", b: \"r${matrix.r}-s${seed}\", base: 5}",
        r#"{p: "${vars.a}!", q: "${vars.b}"}"#,
    );
    let manifest = manifest(&text);
    assert_eq!(manifest.stage("s").unwrap().axes, BTreeSet::from(["r".to_owned()]));
    let expected = [json!({"p": "r1-s5-x!", "q": "r1-s5"}), json!({"p": "r2-s5-x!", "q": "r2-s5"})];
    assert_eq!(parameters(&manifest), expected);
}

#[test]
fn an_escape_in_a_variable_stays_escaped() {
    let text = one_stage("vars: {a: \"$${vars.b}\"}", r#"{p: "${vars.a}", q: "x${vars.a}"}"#);
    assert_eq!(parameters(&manifest(&text)), [json!({"p": "${vars.b}", "q": "x${vars.b}"})]);
}

#[test]
fn cells_are_the_product_with_the_last_axis_fastest() {
    let manifest =
        manifest(&one_stage("matrix: {a: [x, y], b: [1, 2.5]}", r#"{p: "${matrix.a}${matrix.b}"}"#));
    let texts: Vec<Value> = parameters(&manifest).iter().map(|with| with["p"].clone()).collect();
    assert_eq!(texts, ["x1", "x2.5", "y1", "y2.5"]);
    let labels: Vec<&str> = manifest.matrix.axes[1].values.iter().map(|value| value.label.as_str()).collect();
    assert_eq!(labels, ["1", "2.5"]);
}

#[test]
fn include_adds_and_exclude_removes() {
    let text = one_stage(
        "matrix:\n  a: [1, 2]\n  b: [x, y]\n  exclude: [{a: 1, b: x}]\n  include: [{a: 3}, {a: 1, b: x}, {a: 2, b: y}, {a: 9, b: z}]",
        r#"{p: "${matrix.a}${matrix.b}"}"#,
    );
    let texts: Vec<Value> = parameters(&manifest(&text)).iter().map(|with| with["p"].clone()).collect();
    assert_eq!(texts, ["1y", "2x", "2y", "3x", "3y", "1x", "9z"]);
}

#[test]
fn an_axis_value_may_be_a_mapping_with_a_name() {
    let text = one_stage(
        "matrix:\n  d:\n    - {name: nad, method: nad}\n    - {name: strong, method: argd, beta: 9}\n  exclude: [{d: nad}]",
        r#"{all: "${matrix.d}", method: "${matrix.d.method}", name: "${matrix.d.name}", text: "is ${matrix.d}"}"#,
    );
    let expected = json!({"all": {"method": "argd", "beta": 9}, "method": "argd", "name": "strong", "text": "is strong"});
    assert_eq!(parameters(&manifest(&text)), [expected]);
}

#[test]
fn the_whole_of_with_can_come_from_the_matrix_or_be_merged_with_it() {
    let head = "matrix: {d: [{name: a, x: 1}, {name: b, x: 2, y: 3}]}";
    let whole = manifest(&one_stage(head, "\"${matrix.d}\""));
    assert_eq!(parameters(&whole), [json!({"x": 1}), json!({"x": 2, "y": 3})]);
    let merged = manifest(&one_stage(head, r#"{<<: "${matrix.d}", y: 0}"#));
    assert_eq!(parameters(&merged), [json!({"y": 0, "x": 1}), json!({"y": 0, "x": 2})]);
    let from_vars = manifest(&one_stage("vars: {v: {x: 1}}", r#"{<<: "${vars.v}", y: 0}"#));
    assert_eq!(parameters(&from_vars), [json!({"y": 0, "x": 1})]);
}

#[test]
fn the_seed_can_be_an_axis_that_no_stage_names() {
    let manifest = manifest(&one_stage("matrix: {seed: [3, 18446744073709551615]}", r#"{p: "${seed}"}"#));
    let seeds: Vec<u64> =
        manifest.cells().iter().map(|cell| manifest.seed_of(&manifest.stages[0], cell)).collect();
    assert_eq!(seeds, [3, u64::MAX]);
    assert_eq!(manifest.stage("s").unwrap().axes, BTreeSet::from(["seed".to_owned()]));
    assert_eq!(parameters(&manifest), [json!({"p": 3}), json!({"p": u64::MAX})]);
}

#[test]
fn set_may_sweep_the_seed_of_a_manifest_that_gives_one() {
    let manifest = with_overrides("name: m\nseed: 1\nstages: {s: {kind: k}}", &["matrix.seed=[1, 2, 3]"]);
    assert_eq!((manifest.cells().len(), manifest.seed), (3, 1));
}

#[test]
fn set_may_shorten_an_axis_that_exclude_names() {
    let text = one_stage(
        "matrix: {a: [1, 2], b: [x, y], exclude: [{a: 2, b: x}]}",
        r#"{p: "${matrix.a}${matrix.b}"}"#,
    );
    let manifest = with_overrides(&text, &["matrix.a=[1]"]);
    assert_eq!(parameters(&manifest), [json!({"p": "1x"}), json!({"p": "1y"})]);
}

#[test]
fn set_reaches_what_refers_to_it() {
    let text = one_stage("vars: {a: 1}", r#"{p: "${vars.a}"}"#);
    let manifest = with_overrides(&text, &["vars.a=[x, '${seed}']", "stages.s.with.q=2"]);
    assert_eq!(parameters(&manifest), [json!({"p": ["x", 0], "q": 2})]);
}

#[test]
fn values_know_where_they_are_written_and_where_they_are_used() {
    let text = one_stage("vars: {a: \"${vars.b}\", b: deep}", r#"{p: "${vars.a}", q: "x${vars.b}"}"#);
    let manifest = manifest(&text);
    let with = manifest.instantiate(manifest.stage("s").unwrap(), &Cell::new()).unwrap();
    let place_and_use = |key| {
        let node = with.child(key).unwrap();
        (node.place.text().to_owned(), node.used_at.as_ref().map(|place| place.text().to_owned()))
    };
    assert_eq!(place_and_use("p"), ("deep".into(), Some("\"${vars.a}\"".into())));
    assert_eq!(place_and_use("q"), ("\"x${vars.b}\"".into(), None));
}

#[test]
fn a_million_cells_are_refused_at_once() {
    let axis =
        |name| format!("{name}: [{}]", (0..1000).map(|n| n.to_string()).collect::<Vec<_>>().join(", "));
    let text =
        one_stage(&format!("matrix: {{{}, {}}}", axis("a"), axis("b")), r#"{p: "${matrix.a}${matrix.b}"}"#);
    let errors = lines(&text);
    assert_eq!(errors, ["m.yaml:2:1: matrix: the matrix has 1000000 cells; the limit is 100000"]);
    let included =
        "name: m\nmatrix: {a: [1, 2], include: [{a: 3}]}\nstages: {s: {kind: k, with: {p: \"${matrix.a}\"}}}";
    assert_eq!(manifest(included).cells().len(), 3);
}

#[test]
fn references_between_variables_have_a_limit() {
    let chain: String = (1..5000).map(|n| format!("  v{n}: \"${{vars.v{}}}\"\n", n + 1)).collect();
    let errors = lines(&format!("name: m\nvars:\n{chain}  v5000: 1\nstages: {{s: {{kind: k}}}}"));
    assert!(errors[0].contains("64 deep"), "{}", errors[0]);
}

#[test]
fn long_chains_of_stages_are_no_problem() {
    let chain: String =
        (1..20_000).map(|n| format!("  s{n}: {{kind: k, needs: {{a: s{}}}}}\n", n - 1)).collect();
    let last_first = format!("name: m\nstages:\n{chain}  s0: {{kind: k}}\n");
    assert_eq!(manifest(&last_first).stages.len(), 20_000);
    let circle = format!("name: m\nstages:\n{chain}  s0: {{kind: k, needs: {{a: s19999}}}}\n");
    let errors = Manifest::parse("m.yaml", circle, &[]).unwrap_err();
    let [error] = errors.0.as_slice() else { panic!("{errors}") };
    assert!(
        error.message.starts_with("20000 stages need each other in a circle: s1 → s0 → s19999 → "),
        "{error}"
    );
    assert!(error.message.ends_with(" → s19994 → … → s1"), "{error}");
    assert_eq!(error.related.len(), 7, "a few of the needs are shown, not all");
}

#[test]
fn of_circles_that_share_stages_one_is_reported() {
    let text = "name: m\nstages:\n  a: {kind: k, needs: {x: b, y: a}}\n  b: {kind: k, needs: {x: a}}\n  c: {kind: k, needs: {x: c}}\n";
    let found = lines(text);
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].ends_with("the stage `a` needs itself"), "it is the shortest: {found:?}");
    assert!(found[1].ends_with("the stage `c` needs itself"), "{found:?}");
}

#[test]
fn stages_that_only_lead_to_a_circle_are_not_blamed() {
    let text = "name: m\nstages:\n  a: {kind: k, needs: {x: b}}\n  b: {kind: k, needs: {x: c, y: d}}\n  c: {kind: k, needs: {x: b}}\n  d: {kind: k}\n";
    assert_eq!(lines(text), ["m.yaml:4:27: stages.b: stages need each other in a circle: b → c → b"]);
}

/// miette panics at a column beyond 65,535.
#[test]
fn an_error_in_a_line_that_is_too_long_is_told_without_the_line() {
    for before in [3_000, 70_000, 900_000] {
        let text =
            format!("{{name: m, description: \"{}\", stages: {{s: {{kind: 7}}}}}}\n", "a".repeat(before));
        let column = text.find('7').unwrap() + 1;
        let errors = Manifest::parse("m.yaml", text, &[]).unwrap_err();
        let mut told = String::new();
        let handler = miette::GraphicalReportHandler::new_themed(miette::GraphicalTheme::unicode_nocolor());
        errors.0.iter().for_each(|error| handler.render_report(&mut told, error).unwrap());
        let at = format!("m.yaml:1:{column}");
        assert!(told.contains(&at) && told.len() < 20_000, "{} bytes without {at}", told.len());
        assert_eq!(told.contains("the line is too long to be shown"), before > 5_000);
    }
}

#[test]
fn errors_are_in_the_order_of_the_text_and_each_is_there_once() {
    let text = "name: M\nseed: x\nstages: {s: {kind: k, needs: {a: t, b: t}}}\nresult: {}";
    let places: Vec<String> =
        lines(text).iter().map(|line| line.splitn(4, ':').take(3).collect::<Vec<_>>().join(":")).collect();
    assert_eq!(places, ["m.yaml:1:7", "m.yaml:2:7", "m.yaml:3:34", "m.yaml:3:40", "m.yaml:4:1"]);
}

#[test]
fn what_is_refused_as_text_is_not_refused_as_a_type_too() {
    assert_eq!(lines("name: m\nseed: .nan\nstages: {s: {kind: !x k}}").len(), 2);
}

#[test]
fn a_cell_without_a_needed_axis_is_an_error_not_a_panic() {
    let manifest = manifest(&one_stage("matrix: {a: [1]}", r#"{p: "${matrix.a}"}"#));
    let errors = manifest.instantiate(manifest.stage("s").unwrap(), &Cell::new()).unwrap_err();
    assert!(errors.to_string().contains("no value in this cell"), "{errors}");
    let beyond = Cell::from([("a".to_owned(), 7)]);
    assert!(manifest.instantiate(manifest.stage("s").unwrap(), &beyond).is_err());
}

const FRAGMENTS: [&str; 30] = [
    "name: m\n",
    "seed: 1\n",
    "seed: \"${seed}\"\n",
    "vars: {a: 1, b: \"${vars.a}\"}\n",
    "vars: {a: \"${vars.a}\"}\n",
    "vars:\n",
    "  a: x\n",
    "matrix: {a: [1, 2], seed: [1]}\n",
    "matrix:\n",
    "  a: [{name: x, y: 1}]\n",
    "  include: [{a: 3}]\n",
    "  exclude: [{a: 1}]\n",
    "stages:\n",
    "  s: {kind: k}\n",
    "  t: {kind: k, needs: {p: s}, with: {x: \"${matrix.a}\"}}\n",
    "  u: {kind: \"${vars.a}\", needs: {p: t, q: u}}\n",
    "  s:\n",
    "    kind: k\n",
    "    with: \"${matrix.a}\"\n",
    "    with: {<<: \"${vars.b}\", x: \"${matrix.a.y}-${seed}\"}\n",
    "    needs:\n",
    "results: {csv: x.csv, from: [s]}\n",
    "results:\n",
    "  from: s\n",
    "- x\n",
    "[",
    "]",
    "\t",
    "${",
    "é: *a\n",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn no_manifest_makes_it_panic(
        parts in proptest::collection::vec(0..FRAGMENTS.len(), 0..14),
        set in "(vars|matrix|stages|seed)(\\.[a-z0-9]{1,4}){0,3}=[a-z0-9\\[\\]{}$.:, ]{1,12}",
    ) {
        let text: String = parts.iter().map(|&part| FRAGMENTS[part]).collect();
        let overrides: Vec<Override> = set.parse().into_iter().collect();
        if let Ok(manifest) = Manifest::parse("m.yaml", text, &overrides) {
            prop_assert!(!manifest.cells().is_empty());
            for stage in &manifest.stages {
                for cell in manifest.cells() {
                    let _ = manifest.instantiate(stage, &cell);
                }
            }
        }
    }

    #[test]
    fn cells_are_the_product_minus_what_is_excluded(sizes in proptest::collection::vec(1usize..5, 1..4), drop in 0usize..4) {
        let axis = |(at, &size): (usize, &usize)| format!("a{at}: [{}]", (0..size).map(|v| format!("v{v}")).collect::<Vec<_>>().join(", "));
        let axes: Vec<String> = sizes.iter().enumerate().map(axis).collect();
        let uses: Vec<String> = (0..sizes.len()).map(|at| format!("${{matrix.a{at}}}")).collect();
        let dropped = drop.min(sizes[0] - 1);
        prop_assume!(sizes[0] > 1);
        let head = format!("matrix: {{{}, exclude: [{{a0: v{dropped}}}]}}", axes.join(", "));
        let manifest = manifest(&one_stage(&head, &format!("{{p: \"{}\"}}", uses.concat())));
        let product: usize = sizes.iter().product();
        prop_assert_eq!(manifest.cells().len(), product - product / sizes[0]);
        let distinct: std::collections::HashSet<Cell> = manifest.cells().into_iter().collect();
        prop_assert_eq!(distinct.len(), manifest.matrix.len());
    }
}
