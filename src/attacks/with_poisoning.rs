//! An attack's own parameters joined with those that all attacks share.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::{DeserializeOwned, Error};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use super::{Attack, Poisoning};

/// An attack's own parameters and, beside them in the same mapping, which images it poisons.
///
/// What is not given of the latter is as the attack usually has it. Fields that belong to neither are refused.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct WithPoisoning<A> {
    /// The attack's own.
    #[serde(flatten)]
    pub own: A,
    /// Which images it poisons.
    #[serde(flatten)]
    pub poisoning: Poisoning,
}

impl<A: Attack + Default> Default for WithPoisoning<A> {
    fn default() -> Self {
        Self { own: A::default(), poisoning: A::usual_poisoning() }
    }
}

// Derived code would let unknown fields pass: serde cannot combine `flatten` with `deny_unknown_fields`.
impl<'de, A: Attack + DeserializeOwned> Deserialize<'de> for WithPoisoning<A> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let given = Map::<String, Value>::deserialize(deserializer)?;
        let mut shared = usual::<A>();
        let (given, own): (Map<_, _>, _) = given.into_iter().partition(|(name, _)| shared.contains_key(name));
        shared.extend(given);
        Ok(Self { own: typed(own)?, poisoning: typed(shared)? })
    }
}

impl<A: Attack + JsonSchema> JsonSchema for WithPoisoning<A> {
    fn schema_name() -> Cow<'static, str> {
        A::schema_name()
    }

    fn inline_schema() -> bool {
        true
    }

    /// The attack's own schema with the shared fields, whose defaults are the attack's.
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut schema = A::json_schema(generator);
        let shared = Poisoning::json_schema(generator);
        let mut fields = shared.get("properties").and_then(Value::as_object).cloned().unwrap_or_default();
        for (name, default) in usual::<A>() {
            if let Some(Value::Object(field)) = fields.get_mut(&name) {
                field.insert("default".to_owned(), default);
            }
        }
        if let Some(Value::Object(own)) = schema.get_mut("properties") {
            own.extend(fields);
        }
        schema
    }
}

/// The shared parameters as the attack usually has them, by name.
fn usual<A: Attack>() -> Map<String, Value> {
    match serde_json::to_value(A::usual_poisoning()) {
        Ok(Value::Object(fields)) => fields,
        _ => Map::new(),
    }
}

fn typed<T: DeserializeOwned, E: Error>(fields: Map<String, Value>) -> Result<T, E> {
    serde_path_to_error::deserialize(Value::Object(fields)).map_err(E::custom)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::{AnyAttack, RateOf, Rule};
    use super::*;

    fn parse(value: Value) -> Result<AnyAttack, String> {
        serde_json::from_value(value).map_err(|error| error.to_string())
    }

    #[test]
    fn an_attack_alone_poisons_as_it_usually_does() {
        let sig = parse(json!({"attack": "sig"})).unwrap();
        let expected = Poisoning {
            rule: Rule::CleanLabel,
            rate: 1.0,
            rate_of: RateOf::TargetClass,
            ..Poisoning::default()
        };
        assert_eq!(sig.poisoning(), &expected);
        let value = serde_json::to_value(&sig).unwrap();
        assert_eq!((&value["delta"], &value["rate"]), (&json!(40.0), &json!(1.0)));
        assert_eq!(parse(value).unwrap(), sig);
    }

    #[test]
    fn own_and_shared_fields_stand_side_by_side() {
        let attack = parse(json!({"attack": "sig", "delta": 20, "target": 3, "rate": 0.5})).unwrap();
        let AnyAttack::Sig(WithPoisoning { own, poisoning }) = attack else { panic!("not sig") };
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
                fields
                    .values()
                    .all(|field| field.get("description").is_some() || field.get("const").is_some())
            );
            let name = &fields["attack"]["const"];
            let bound = serde_json::to_value(parse(json!({"attack": name})).unwrap()).unwrap();
            for (field, schema) in fields.iter().filter(|(field, _)| *field != "attack") {
                // A path has no default and is never written.
                assert_eq!(schema.get("default"), bound.get(field), "{name} {field}");
            }
        }
    }
}
