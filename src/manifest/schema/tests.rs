//! Tests of the schema walker against what schemars writes.

use std::collections::BTreeMap;
use std::sync::Arc;

use schemars::JsonSchema;

use super::*;
use crate::manifest::text::parse::parse;
use crate::manifest::text::source::Source;

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[allow(dead_code)]
struct Params {
    /// How many.
    ///
    /// More on that.
    #[schemars(default = "three", range(min = 1, max = 9))]
    count: usize,
    #[schemars(extend("exclusiveMinimum" = 0, "exclusiveMaximum" = 1))]
    share: Option<f32>,
    flag: Option<bool>,
    small: Option<i8>,
    #[schemars(length(min = 2, max = 3))]
    pair: Option<Vec<f64>>,
    point: Option<(u32, String)>,
    #[schemars(length(min = 1))]
    text: Option<String>,
    weights: Option<BTreeMap<String, f64>>,
    plain: Option<Plain>,
    documented: Option<Documented>,
    outer: Option<Outer>,
    either: Option<Either>,
    method: Option<Method>,
    place: Option<Place>,
}

fn three() -> usize {
    3
}

#[derive(JsonSchema)]
#[schemars(rename_all = "kebab-case")]
#[allow(dead_code)]
enum Plain {
    TopLeft,
    BottomRight,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
#[allow(dead_code)]
enum Documented {
    /// One.
    Square,
    /// Two.
    Grid,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
#[allow(dead_code)]
enum Outer {
    Off,
    Crop { padding: u32 },
    Cutout { length: u32 },
}

#[derive(JsonSchema)]
#[schemars(untagged)]
#[allow(dead_code)]
enum Either {
    One(f64),
    Many(Vec<f64>),
}

#[derive(JsonSchema)]
#[schemars(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
#[allow(dead_code)]
enum Method {
    Nad { beta: Option<f64> },
    Argd(Argd),
}

#[derive(JsonSchema)]
#[allow(dead_code)]
struct Argd {
    gamma: f64,
}

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[allow(dead_code)]
struct Place {
    name: Option<String>,
    #[schemars(flatten)]
    at: At,
}

#[derive(JsonSchema)]
#[allow(dead_code)]
struct At {
    x: u32,
}

/// Checks YAML; returns the errors as `path: message [label]`.
fn errors(yaml: &str) -> Vec<String> {
    let source = Arc::new(Source { name: "m".into(), text: yaml.into() });
    let node = parse(&source, 0..yaml.len(), "").node.unwrap();
    let schema = schemars::schema_for!(Params).to_value();
    let line = |error: Diagnostic| match error.label.as_str() {
        "" => format!("{}: {}", error.path, error.message),
        label => format!("{}: {} [{label}]", error.path, error.message),
    };
    check(&node, &schema, "with").into_iter().map(line).collect()
}

#[track_caller]
fn assert_error(yaml: &str, expected: &str) {
    assert_eq!(errors(yaml), [expected], "{yaml}");
}

#[test]
fn what_fits_is_accepted() {
    for yaml in [
        "{}",
        "{count: 9, share: 0.5, flag: false, small: -128, pair: [1, 2.5], point: [1, x], text: é}",
        "{share: null, flag: ~, plain:, documented: null, outer: null, method: null}",
        "{weights: {a: 1, b: 0.5}, plain: top-left, documented: grid}",
        "{outer: off}",
        "{outer: {crop: {padding: 4}}}",
        "{either: 1, method: {kind: nad}}",
        "{either: [1, 2], method: {kind: nad, beta: null}}",
        "{method: {kind: argd, gamma: 1}}",
        "{place: {x: 1, name: a}}",
    ] {
        assert_eq!(errors(yaml), Vec::<String>::new(), "{yaml}");
    }
}

#[test]
fn types_are_named_and_remedies_given() {
    assert_error("{count: ten}", "with.count: expected an integer, found the string `ten`");
    assert_error(
        "{count: '2'}",
        "with.count: expected an integer, found the string `2` [write `2` without quotes]",
    );
    assert_error("{count: 2.0}", "with.count: expected an integer, found the number `2.0` [write `2`]");
    assert_error("{count: 2.5}", "with.count: expected an integer, found the number `2.5`");
    assert_error(
        "{count:}",
        "with.count: expected an integer, found nothing (null) [write a value; without this line it is `3`]",
    );
    assert_error(
        "{flag: yes}",
        "with.flag: expected `true` or `false`, found the string `yes` [write `true` or `false`]",
    );
    assert_error(
        "{text: 5}",
        "with.text: expected a string, found the number `5` [write `\"5\"`, with quotes]",
    );
    assert_error("{pair: {a: 1}}", "with.pair: expected a list, found a mapping");
    assert_error("{pair: [1, x]}", "with.pair.1: expected a number, found the string `x`");
    assert_error(
        "{point: [1, 2]}",
        "with.point.1: expected a string, found the number `2` [write `\"2\"`, with quotes]",
    );
    assert_error("{weights: {a: x}}", "with.weights.a: expected a number, found the string `x`");
    assert_error("[1]", "with: expected a mapping, found a list");
}

#[test]
fn ranges_are_told() {
    assert_error("{count: 0}", "with.count: expected a number that is at least 1 and at most 9, found `0`");
    assert_error(
        "{share: 1}",
        "with.share: expected a number that is greater than 0 and less than 1, found `1`",
    );
    assert_error(
        "{small: 128}",
        "with.small: expected a number that is at least -128 and at most 127, found `128`",
    );
    assert_error("{pair: [1]}", "with.pair: expected at least 2 and at most 3 items, found 1");
    assert_error("{text: ''}", "with.text: expected at least 1 characters, found 0");
}

#[test]
fn unknown_fields_are_found_at_every_level() {
    assert_error("{cuont: 1}", "with.cuont: unknown field `cuont` [did you mean `count`?]");
    assert_error(
        "{method: {kind: nad, bita: 1}}",
        "with.method.bita: unknown field `bita` with `kind: nad` [did you mean `beta`?]",
    );
    assert_error("{place: {x: 1, nam: a}}", "with.place.nam: unknown field `nam` [did you mean `name`?]");
}

#[test]
fn missing_fields_are_named() {
    assert_error(
        "{method: {kind: argd}}",
        "with.method.gamma: the field `gamma` is missing [missing in this mapping]",
    );
    assert_error(
        "{method: {beta: 1}}",
        "with.method.kind: the field `kind` is missing [missing in this mapping]",
    );
    assert_error("{place: {}}", "with.place.x: the field `x` is missing [missing in this mapping]");
}

#[test]
fn words_are_checked_in_every_form_of_an_enum() {
    assert_error(
        "{plain: top-lift}",
        "with.plain: unknown value `top-lift` for `plain` [did you mean `top-left`?]",
    );
    assert_error(
        "{documented: gird}",
        "with.documented: unknown value `gird` for `documented` [did you mean `grid`?]",
    );
    assert_error(
        "{documented: 3}",
        "with.documented: expected one of `square` or `grid`, found the number `3`",
    );
    assert_error(
        "{method: {kind: agrd}}",
        "with.method.kind: unknown value `agrd` for `kind` [did you mean `argd`?]",
    );
    assert_error("{outer: of}", "with.outer: unknown value `of` for `outer` [did you mean `off`?]");
}

#[test]
fn of_a_choice_the_nearest_branch_speaks() {
    assert_error(
        "{outer: {crop: {padding: x}}}",
        "with.outer.crop.padding: expected an integer, found the string `x`",
    );
    assert_error("{either: [1, x]}", "with.either.1: expected a number, found the string `x`");
    assert_error("{either: x}", "with.either: expected a number or a list, found the string `x`");
}

#[test]
fn help_has_the_first_paragraph_and_the_default() {
    let source = Arc::new(Source { name: "m".into(), text: "count: 0".into() });
    let node = parse(&source, 0..8, "").node.unwrap();
    let found = check(&node, &schemars::schema_for!(Params).to_value(), "with");
    assert_eq!(found[0].help.as_deref(), Some("`count`: How many. Default: `3`."));
}

#[test]
fn every_error_counts_once_even_if_a_type_is_wrong_below_a_choice() {
    assert_eq!(errors("{count: x, plain: y, method: {kind: z, beta: w}}").len(), 3);
}
