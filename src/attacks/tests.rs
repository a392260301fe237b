//! The parameters of attacks in manifests.

use serde_json::{Value, json};

use super::*;

fn parse(value: Value) -> Result<AnyAttack, String> {
    serde_json::from_value(value).map_err(|error| error.to_string())
}

#[test]
fn an_attack_alone_poisons_as_it_usually_does() {
    let sig = parse(json!({"attack": "sig"})).unwrap();
    let expected =
        Poisoning { rule: Rule::CleanLabel, rate: 1.0, rate_of: RateOf::TargetClass, ..Poisoning::default() };
    assert_eq!(sig.poisoning(), &expected);
    let value = serde_json::to_value(&sig).unwrap();
    assert_eq!((&value["delta"], &value["rate"]), (&json!(40.0), &json!(1.0)));
    assert_eq!(parse(value).unwrap(), sig);
}

#[test]
fn own_and_shared_fields_stand_side_by_side() {
    let attack = parse(json!({"attack": "sig", "delta": 20, "target": 3, "rate": 0.5})).unwrap();
    let AnyAttack::Sig(With { own, shared: poisoning }) = attack else { panic!("not sig") };
    assert_eq!(
        (own.delta, poisoning.target, poisoning.rate, poisoning.rule),
        (20.0, 3, 0.5, Rule::CleanLabel)
    );
}

#[test]
fn fields_of_neither_are_refused() {
    let message = parse(json!({"attack": "sig", "pattern": "grid"})).unwrap_err();
    assert!(message.contains("unknown field `pattern`"), "{message}");
    let message = parse(json!({"attack": "sig", "rate": "many"})).unwrap_err();
    assert!(message.starts_with("rate: invalid type"), "{message}");
}

#[test]
fn each_attacks_schema_is_one_closed_list_with_its_own_defaults() {
    let schema = serde_json::to_value(schemars::schema_for!(AnyAttack)).unwrap();
    for branch in schema["oneOf"].as_array().unwrap() {
        assert_eq!(branch["additionalProperties"], json!(false), "{branch:#}");
        let fields = branch["properties"].as_object().unwrap();
        assert!(
            ["attack", "rule", "rate", "rate_of"].iter().all(|name| fields.contains_key(*name)),
            "{branch:#}"
        );
        assert!(
            fields.values().all(|field| field.get("description").is_some() || field.get("const").is_some())
        );
        let name = &fields["attack"]["const"];
        let bound = serde_json::to_value(parse(json!({"attack": name})).unwrap()).unwrap();
        for (field, schema) in fields.iter().filter(|(field, _)| *field != "attack") {
            // A path has no default and is never written.
            assert_eq!(schema.get("default"), bound.get(field), "{name} {field}");
        }
    }
}
