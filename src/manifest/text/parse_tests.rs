//! Tests of reading YAML: places, aliases, merge keys, what is refused, and that nothing panics.

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn parsed(text: &str) -> Parsed {
    let source = Arc::new(Source { name: "m.yaml".into(), text: text.into() });
    parse(&source, 0..text.len(), "")
}

fn tree(text: &str) -> Node {
    let Parsed { node, errors } = parsed(text);
    assert_eq!(errors, vec![], "{text}");
    node.unwrap()
}

fn only_error(text: &str) -> Diagnostic {
    let mut errors = parsed(text).errors;
    assert_eq!(errors.len(), 1, "{text}: {errors:?}");
    errors.remove(0)
}

#[test]
fn every_value_knows_its_bytes() {
    let root = tree(
        "é: ü # c\na: 'it''s' # don't\nb: \"\\\"x\" \nc: [1, {d: 2} ]\ne:\n  f: 1\n  g: [3,\n    4]\nh: |\n  x\n",
    );
    let text = |steps: &[&str]| root.get(steps.iter().copied()).unwrap().place.text().to_owned();
    assert_eq!(text(&["é"]), "ü");
    assert_eq!(text(&["a"]), "'it''s'");
    assert_eq!(text(&["b"]), "\"\\\"x\"");
    assert_eq!(text(&["c"]), "[1, {d: 2} ]");
    assert_eq!(text(&["c", "1"]), "{d: 2}");
    assert_eq!(text(&["e"]), "f: 1\n  g: [3,\n    4]");
    assert_eq!(root.entry("é").unwrap().key.place.text(), "é");
    assert_eq!(root.get(["h"]).unwrap().as_str(), Some("x\n"));
}

#[test]
fn windows_line_ends_and_a_byte_order_mark_do_no_harm() {
    let root = tree("\u{feff}a: 1\r\nb: x y\r\n");
    assert_eq!(root.to_json(), json!({"a": 1, "b": "x y"}));
    assert_eq!(root.get(["b"]).unwrap().place.text(), "x y");
}

#[test]
fn keys_are_text_whatever_they_look_like() {
    assert_eq!(tree("1: a\ntrue: b\n\"c\": d").to_json(), json!({"1": "a", "true": "b", "c": "d"}));
}

#[test]
fn aliases_are_copies_that_know_where_they_are_used() {
    let root = tree("a: &x {b: 1}\nc: *x");
    let copy = root.get(["c", "b"]).unwrap();
    assert_eq!((copy.place.text(), copy.used_at.as_ref().unwrap().text()), ("1", "*x"));
    assert_eq!(root.get(["a"]), root.get(["a"]));
}

#[test]
fn merge_keys_fill_in_what_is_not_there() {
    let text = "a: &a {x: 1, y: 1}\nb: &b {y: 2, z: 2}\nc: {<<: [*a, *b], z: 3}\nd: {x: 9, <<: *a}";
    let root = tree(text);
    assert_eq!(root.get(["c"]).unwrap().to_json(), json!({"x": 1, "y": 1, "z": 3}));
    assert_eq!(root.get(["d"]).unwrap().to_json(), json!({"x": 9, "y": 1}));
}

#[test]
fn a_merge_of_a_reference_waits_for_its_value() {
    let root = tree("a: {<<: \"${vars.x}\", y: 1}");
    assert!(matches!(root.get(["a", "<<"]).unwrap().kind, NodeKind::Template(_)));
}

#[test]
fn references_are_found_in_plain_and_quoted_text() {
    let root = tree("a: ${vars.x}\nb: 'x-${ seed }-$${y}'\nc: $${z}\nd: $5 {x}");
    let template = |key| match &root.get([key]).unwrap().kind {
        NodeKind::Template(template) => template.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(template("a").alone().unwrap().place.text(), "${vars.x}");
    let reference = template("b").references().next().unwrap().clone();
    assert_eq!((reference.place.text(), template("b").alone()), ("${ seed }", None));
    assert_eq!(template("b").to_string(), "x-${seed}-${y}");
    assert_eq!(root.get(["c"]).unwrap().as_str(), Some("${z}"));
    assert_eq!(root.get(["d"]).unwrap().as_str(), Some("$5 {x}"));
}

#[test]
fn duplicate_keys_show_both_places() {
    let error = only_error("a: {b: 1, c: 2, b: 3}");
    assert_eq!((error.path.as_str(), error.line_column()), ("a.b", (1, 17)));
    assert_eq!(error.related[0].place.line_column(), (1, 5));
}

#[test]
fn all_that_is_wrong_is_reported_at_once() {
    let errors = parsed("a: {b: .nan, b: 1}\nc: !x 1\n? [d]\n: 1\ne: ${").errors;
    let messages: Vec<&str> = errors.iter().map(|error| error.message.as_str()).collect();
    assert_eq!(errors.len(), 5, "{messages:?}");
}

#[test]
fn nothing_is_nothing() {
    for text in ["", "\n", "# comment\n", "---\n"] {
        let Parsed { node, errors } = parsed(text);
        assert!(errors.is_empty() && node.is_none_or(|node| node.kind == NodeKind::Null), "{text:?}");
    }
}

#[test]
fn nesting_has_a_limit() {
    let nested = |levels| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    assert_eq!(tree(&nested(MAX_DEPTH - 1)).depth(), MAX_DEPTH - 1);
    assert!(only_error(&nested(200_000)).message.contains("64 deep"));
    let aliases: String = (1..80).map(|n| format!("k{n}: &k{n} [*k{}]\n", n - 1)).collect();
    assert!(only_error(&format!("k0: &k0 [1]\n{aliases}")).message.contains("64 deep"));
}

#[test]
fn aliases_have_a_budget_of_values_and_of_text() {
    let values = format!("a: &a [{}]\nb: [{}]", "1,".repeat(1000), "*a,".repeat(200));
    assert!(only_error(&values).message.contains("too large"));
    let text = format!("a: &a {}\nb: [{}]", "x".repeat(100_000), "*a,".repeat(60));
    assert!(only_error(&text).message.contains("too large"));
}

#[test]
fn a_value_cannot_hold_itself() {
    assert!(parsed("a: &x [*x]").errors[0].message.contains("`*x`"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn no_text_makes_it_panic(text in "\\PC{0,80}") {
        parsed(&text);
    }

    #[test]
    fn no_text_of_yaml_characters_makes_it_panic(text in "[-a:0.,é \\n\\t{}\\[\\]\"'&*!|>%@#?<$~\r]{0,60}") {
        for error in parsed(&text).errors {
            prop_assert!(error.place.source.text.get(error.place.span.offset..error.place.span.end()).is_some());
        }
    }

    #[test]
    fn plain_words_are_placed_exactly(words in proptest::collection::vec("[a-zé]{1,5}", 1..6)) {
        let root = tree(&format!("- {}", words.join("\n- ")));
        let placed: Vec<&str> = root.items().iter().map(|item| item.place.text()).collect();
        prop_assert_eq!(placed, words);
    }
}
