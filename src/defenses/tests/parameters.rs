//! The parameters of defenses in manifests.

use serde_json::{Value, json};

use super::super::{AnyDefense, Argd};

fn parse(value: Value) -> Result<AnyDefense, String> {
    serde_json::from_value(value).map_err(|error| error.to_string())
}

#[test]
fn a_method_alone_has_the_references_defaults() {
    let argd = parse(json!({"method": "argd"})).unwrap();
    assert_eq!(argd, AnyDefense::Argd(Argd::default()));
    let value = serde_json::to_value(&argd).unwrap();
    assert_eq!(value["epochs"], json!(10));
    assert_eq!(value["node_weights"], json!([2000.0, 5000.0, 2000.0]));
    assert_eq!(parse(value).unwrap(), argd);
}

#[test]
fn fields_of_the_method_and_of_the_training_stand_side_by_side() {
    let nad = parse(json!({"method": "nad", "betas": [1.0, 2.0, 3.0], "epochs": 3})).unwrap();
    let AnyDefense::Nad(nad) = nad else { panic!("not nad") };
    assert_eq!((nad.own.betas.0, nad.shared.epochs), ([1.0, 2.0, 3.0], 3));
}

#[test]
fn fields_of_neither_are_refused() {
    for method in ["finetune", "nad", "argd"] {
        let message = parse(json!({"method": method, "epoch": 3})).unwrap_err();
        assert!(message.contains("unknown field `epoch`"), "{message}");
    }
    let message = parse(json!({"method": "argd", "epochs": "many"})).unwrap_err();
    assert!(message.starts_with("epochs: invalid type"), "{message}");
    assert!(parse(json!({"method": "nad", "w_node": 2.0})).is_err());
    assert!(parse(json!({"method": "prune"})).unwrap_err().contains("unknown variant `prune`"));
}

#[test]
fn each_methods_schema_is_one_closed_list_of_fields() {
    let schema = serde_json::to_value(schemars::schema_for!(AnyDefense)).unwrap();
    for (i, (method, own)) in
        [("finetune", "epochs"), ("nad", "betas"), ("argd", "w_edge")].iter().enumerate()
    {
        let branch = &schema["oneOf"][i];
        assert_eq!(branch["properties"]["method"]["const"], json!(method));
        assert_eq!(branch["additionalProperties"], json!(false), "{branch:#}");
        assert_eq!(branch.get("$ref"), None);
        for field in [own, "epochs", "schedule", "augment"] {
            assert!(branch["properties"].get(field).is_some(), "{field} in {branch:#}");
        }
    }
}
