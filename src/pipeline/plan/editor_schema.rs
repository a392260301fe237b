//! The JSON Schema of manifests, for editors: the manifest's own fields, and the ports and parameters of each stage
//! kind, with their documentation.
//!
//! Editors check the text before references are resolved. So the schema accepts `${...}` in place of any value, and a
//! mapping that merges others by `<<` can omit required fields. The schema accepts everything that the program accepts;
//! the program may still refuse what the schema accepts.

use serde_json::{Map, Value, json};

use crate::stages::{Input, Stage};

/// Writes the schema of manifests that use these stage kinds.
pub fn manifest_schema(kinds: &[Box<dyn Stage>]) -> Value {
    let mut definitions = Map::new();
    let branches: Vec<Value> = kinds.iter().map(|kind| branch(&**kind, &mut definitions)).collect();
    definitions.insert("reference".to_owned(), reference());
    definitions.insert("stage".to_owned(), stage(kinds, branches));
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "argd-pipe manifest",
        "description": "A DAG of stages that plants, erases and measures backdoors, with a matrix that sweeps them.",
        "type": "object",
        "required": ["name", "stages"],
        "additionalProperties": false,
        "properties": properties(),
        "$defs": definitions,
    })
}

/// The names of stages, axes and variables.
const NAME: &str = "^[A-Za-z0-9_-]+$";

fn properties() -> Value {
    json!({
        "name": {
            "description": "The name of the experiment: lower-case letters, digits, `-` and `_`.",
            "type": "string",
            "pattern": "^[a-z0-9_-]+$",
        },
        "description": {"description": "A description for readers.", "type": "string"},
        "seed": {
            "description": "The seed of every stage. For several, write an axis: `matrix: {seed: [1, 2, 3]}`.",
            "default": 0,
            "anyOf": [{"type": "integer", "minimum": 0}, to_reference()],
        },
        "vars": {
            "description": "Values to use as `${vars.<name>}`, also in other variables. Change one with `--set \
                            vars.<name>=<value>`.",
            "type": ["object", "null"],
            "propertyNames": {"pattern": NAME},
        },
        "matrix": {
            "description": "The sweep: each field is an axis with its values, used as `${matrix.<axis>}` in a stage's \
                            `with`. A stage becomes one task per cell of the axes that it uses, directly or through \
                            its needs. A value can be a mapping with a `name`. The axis `seed` replaces the seed; \
                            results then have a row per seed.",
            "type": "object",
            "properties": {
                "exclude": cells("Removes every cell that has all values of an entry."),
                "include": cells("Adds a cell per entry. Its values need not be in an axis's list."),
            },
            "additionalProperties": {"anyOf": [{"type": "array", "minItems": 1}, to_reference()]},
        },
        "stages": {
            "description": "The stages by name.",
            "type": "object",
            "minProperties": 1,
            "propertyNames": {"pattern": NAME},
            "additionalProperties": {"$ref": "#/$defs/stage"},
        },
        "results": {
            "description": "The table that a run writes.",
            "type": "object",
            "required": ["csv", "from"],
            "additionalProperties": false,
            "properties": {
                "csv": {"description": "The file: a path inside the current folder.", "type": "string"},
                "from": {
                    "description": "The stages whose tasks are the rows, in this order.",
                    "anyOf": [{"type": "array", "minItems": 1, "items": {"type": "string"}}, to_reference()],
                },
            },
        },
    })
}

fn cells(description: &str) -> Value {
    json!({"description": description, "type": "array", "items": {"type": "object"}})
}

fn reference() -> Value {
    json!({
        "description": "A value from elsewhere: `${vars.<name>}`, `${matrix.<axis>}` or `${seed}`. Alone, it keeps its \
                        type.",
        "type": "string",
        "pattern": r"\$\{",
    })
}

fn to_reference() -> Value {
    json!({"$ref": "#/$defs/reference"})
}

/// The schema of a stage. `branches` has the ports and parameters of each kind.
fn stage(kinds: &[Box<dyn Stage>], branches: Vec<Value>) -> Value {
    let names: Vec<Value> =
        kinds.iter().map(|kind| json!({"const": kind.kind(), "description": kind.about()})).collect();
    json!({
        "type": "object",
        "required": ["kind"],
        "additionalProperties": false,
        "properties": {
            "kind": {"description": "What the stage does.", "oneOf": names},
            "needs": {"description": "Which stage feeds which port: `{dataset: images}`."},
            "with": {"description": "Parameters. Missing ones have their defaults."},
            "seed": {
                "description": "A seed of its own, instead of the manifest's or the axis `seed`.",
                "anyOf": [{"type": "integer", "minimum": 0}, to_reference()],
            },
        },
        "allOf": branches,
    })
}

/// The ports and parameters of one kind. The definitions that its parameters refer to are added to `definitions`.
fn branch(kind: &dyn Stage, definitions: &mut Map<String, Value>) -> Value {
    let mut parameters = kind.schema().to_value();
    if let Some(fields) = parameters.as_object_mut() {
        fields.remove("$schema");
        fields.remove("title");
        if let Some(Value::Object(own)) = fields.remove("$defs") {
            definitions.extend(own.into_iter().map(|(name, definition)| (name, opened(definition))));
        }
    }
    let description = parameters.get("description").cloned().unwrap_or_else(|| kind.about().into());
    let with = json!({
        "description": description, "anyOf": [opened(parameters), to_reference(), {"type": "null"}],
    });
    let required: Vec<&str> =
        kind.inputs().iter().filter(|input| input.required).map(|input| input.name).collect();
    let mut then = json!({"properties": {"needs": needs(kind.inputs(), &required), "with": with}});
    if !required.is_empty() {
        then["required"] = json!(["needs"]);
    }
    json!({"if": {"properties": {"kind": {"const": kind.kind()}}, "required": ["kind"]}, "then": then})
}

fn needs(inputs: &[Input], required: &[&str]) -> Value {
    let port = |input: &Input| (input.name.to_owned(), json!({"description": input.about, "type": "string"}));
    let ports: Map<String, Value> = inputs.iter().map(port).collect();
    let kind = if required.is_empty() { json!(["object", "null"]) } else { json!("object") };
    json!({"type": kind, "required": required, "additionalProperties": false, "properties": ports})
}

/// A schema that also accepts `${...}` in its fields and items.
fn opened(schema: Value) -> Value {
    let Value::Object(fields) = schema else { return schema };
    let is_object = fields.contains_key("properties");
    let mut open = Map::new();
    for (word, value) in fields {
        match (word.as_str(), value) {
            ("properties", Value::Object(properties)) => {
                let mut properties: Map<String, Value> =
                    properties.into_iter().map(|(name, schema)| (name, or_reference(schema))).collect();
                properties
                    .insert("<<".to_owned(), json!({"description": "Merges the fields of other mappings."}));
                open.insert(word, Value::Object(properties));
            }
            ("required", required) if is_object => {
                open.insert(
                    "allOf".to_owned(),
                    json!([{"anyOf": [{"required": required}, {"required": ["<<"]}]}]),
                );
            }
            ("items", items @ Value::Object(_)) => drop(open.insert(word, or_reference(items))),
            ("additionalProperties", rest @ Value::Object(_)) => drop(open.insert(word, or_reference(rest))),
            ("prefixItems", Value::Array(items)) => {
                open.insert(word, items.into_iter().map(or_reference).collect());
            }
            // Until references are resolved, a tag can match several branches.
            ("oneOf" | "anyOf", Value::Array(branches)) => {
                open.insert("anyOf".to_owned(), branches.into_iter().map(opened).collect());
            }
            (_, value) => drop(open.insert(word, value)),
        }
    }
    Value::Object(open)
}

/// Keywords that describe a value without restricting it.
const ANNOTATIONS: [&str; 5] = ["title", "description", "default", "examples", "deprecated"];

/// A schema that also accepts `${...}`. Its annotations stay at the top, where editors look for them.
fn or_reference(schema: Value) -> Value {
    let Value::Object(fields) = schema else { return schema };
    let (mut outer, inner): (Map<String, Value>, Map<String, Value>) =
        fields.into_iter().partition(|(word, _)| ANNOTATIONS.contains(&word.as_str()));
    outer.insert("anyOf".to_owned(), json!([opened(Value::Object(inner)), to_reference()]));
    Value::Object(outer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stages;

    #[test]
    fn kinds_share_the_definitions_that_have_one_name() {
        let mut definitions = Map::new();
        for kind in stages::all() {
            let schema = kind.schema().to_value();
            for (name, definition) in schema.get("$defs").and_then(Value::as_object).into_iter().flatten() {
                let first = definitions.entry(name.clone()).or_insert_with(|| definition.clone());
                assert_eq!(first, definition, "`{name}` of `{}`: rename one of the types", kind.kind());
                assert!(!["reference", "stage"].contains(&name.as_str()), "`{name}` is taken");
            }
        }
    }
}
