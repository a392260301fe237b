//! A method's own parameters joined with a block that several methods have.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::{DeserializeOwned, Error};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

/// A method's own parameters and, beside them in the same mapping, a shared block.
///
/// A missing field of the block has the method's default, [`Beside::usual`]. Unknown fields are refused.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct With<Own, Shared> {
    /// The method's own parameters.
    #[serde(flatten)]
    pub own: Own,
    /// The shared block.
    #[serde(flatten)]
    pub shared: Shared,
}

/// Parameters that share a mapping with a block.
pub trait Beside<Shared: Default> {
    /// The block's default for this method.
    fn usual() -> Shared {
        Shared::default()
    }

    /// The description of a field of the block, if it differs from the block's own.
    fn about(_field: &str) -> Option<&'static str> {
        None
    }
}

impl<Own: Default + Beside<Shared>, Shared: Default> Default for With<Own, Shared> {
    fn default() -> Self {
        Self { own: Own::default(), shared: Own::usual() }
    }
}

// Derived code would accept unknown fields: serde cannot combine `flatten` with `deny_unknown_fields`.
impl<'de, Own, Shared> Deserialize<'de> for With<Own, Shared>
where
    Own: Beside<Shared> + DeserializeOwned,
    Shared: Default + Serialize + DeserializeOwned,
{
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let given = Map::<String, Value>::deserialize(deserializer)?;
        let mut shared = usual::<Own, Shared>();
        let (given, own): (Map<_, _>, _) = given.into_iter().partition(|(name, _)| shared.contains_key(name));
        shared.extend(given);
        Ok(Self { own: typed(own)?, shared: typed(shared)? })
    }
}

impl<Own, Shared> JsonSchema for With<Own, Shared>
where
    Own: Beside<Shared> + JsonSchema,
    Shared: Default + Serialize + JsonSchema,
{
    fn schema_name() -> Cow<'static, str> {
        Own::schema_name()
    }

    fn inline_schema() -> bool {
        true
    }

    /// The method's own schema with the fields of the block. Their defaults and descriptions are the method's.
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut schema = Own::json_schema(generator);
        let block = Shared::json_schema(generator);
        let mut fields = block.get("properties").and_then(Value::as_object).cloned().unwrap_or_default();
        for (name, default) in usual::<Own, Shared>() {
            if let Some(Value::Object(field)) = fields.get_mut(&name) {
                field.insert("default".to_owned(), default);
                field.extend(Own::about(&name).map(|about| ("description".to_owned(), about.into())));
            }
        }
        let own = schema.ensure_object().entry("properties").or_insert_with(|| Map::new().into());
        if let Value::Object(own) = own {
            own.extend(fields);
        }
        schema
    }
}

/// The fields of the block's default, by name.
fn usual<Own: Beside<Shared>, Shared: Default + Serialize>() -> Map<String, Value> {
    match serde_json::to_value(Own::usual()) {
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

    use super::*;

    #[derive(Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields, default)]
    struct Own {
        size: u32,
    }

    /// How fast.
    #[derive(Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields, default)]
    struct Speed {
        speed: f64,
        noisy: bool,
    }

    impl Default for Speed {
        fn default() -> Self {
            Self { speed: 1.0, noisy: true }
        }
    }

    impl Beside<Speed> for Own {
        fn usual() -> Speed {
            Speed { speed: 2.0, ..Speed::default() }
        }

        fn about(field: &str) -> Option<&'static str> {
            (field == "noisy").then_some("Whether the neighbors hear it.")
        }
    }

    fn parse(value: Value) -> Result<With<Own, Speed>, String> {
        serde_json::from_value(value).map_err(|error| error.to_string())
    }

    #[test]
    fn missing_fields_have_the_methods_defaults() {
        let found = parse(json!({"noisy": false, "size": 3})).unwrap();
        assert_eq!(found, With { own: Own { size: 3 }, shared: Speed { speed: 2.0, noisy: false } });
        assert_eq!(serde_json::to_value(&found).unwrap(), json!({"noisy": false, "size": 3, "speed": 2.0}));
        assert_eq!(parse(json!({})).unwrap(), With::default());
    }

    #[test]
    fn unknown_fields_and_wrong_types_are_refused_by_name() {
        assert!(parse(json!({"sped": 1.0})).unwrap_err().contains("unknown field `sped`"));
        assert!(parse(json!({"speed": "high"})).unwrap_err().starts_with("speed: invalid type"));
    }

    #[test]
    fn the_schema_is_one_closed_list_with_the_methods_defaults() {
        let schema = serde_json::to_value(schemars::schema_for!(With<Own, Speed>)).unwrap();
        let default = |field: &str| schema["properties"][field]["default"].clone();
        assert_eq!(
            (default("size"), default("speed"), default("noisy")),
            (json!(0), json!(2.0), json!(true))
        );
        assert_eq!(schema["properties"]["noisy"]["description"], "Whether the neighbors hear it.");
        assert_eq!(schema["additionalProperties"], json!(false));
    }
}
