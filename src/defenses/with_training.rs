//! A method's parameters joined with those of its training.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::{DeserializeOwned, Error};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use crate::train::Training;

/// A method's own parameters and, beside them in the same mapping, those of its training.
///
/// Fields that belong to neither are refused.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct WithTraining<P> {
    /// The method's own.
    #[serde(flatten)]
    pub own: P,
    /// Those of its training.
    #[serde(flatten)]
    pub training: Training,
}

// Derived code would let unknown fields pass: serde cannot combine `flatten` with `deny_unknown_fields`.
impl<'de, P: DeserializeOwned> Deserialize<'de> for WithTraining<P> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let fields = Map::<String, Value>::deserialize(deserializer)?;
        let known = serde_json::to_value(Training::default()).map_err(D::Error::custom)?;
        let (training, own) = fields.into_iter().partition(|(name, _)| known.get(name).is_some());
        Ok(Self { own: typed(own)?, training: typed(training)? })
    }
}

impl<P: JsonSchema> JsonSchema for WithTraining<P> {
    fn schema_name() -> Cow<'static, str> {
        P::schema_name()
    }

    fn inline_schema() -> bool {
        true
    }

    /// The method's own schema, with what it says of the method, and the fields of the training.
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut schema = P::json_schema(generator);
        let training = Training::json_schema(generator);
        let shared = training.get("properties").and_then(Value::as_object).cloned().unwrap_or_default();
        let own = schema.ensure_object().entry("properties").or_insert_with(|| Map::new().into());
        if let Value::Object(own) = own {
            own.extend(shared);
        }
        schema
    }
}

fn typed<T: DeserializeOwned, E: Error>(fields: Map<String, Value>) -> Result<T, E> {
    serde_path_to_error::deserialize(Value::Object(fields)).map_err(E::custom)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::{AnyDefense, Argd};
    use super::*;

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
        assert_eq!((nad.own.betas.0, nad.training.epochs), ([1.0, 2.0, 3.0], 3));
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
}
