//! JSON Schema of a config, generated from the tables of its fields. It accepts every valid config. It does not check
//! what a schema cannot express: unique names, existing dependencies, duplicate keys.

use crate::config::halt;
use serde_json::{Map, Value, json};

use super::fields::{BUDGET, Field, FieldSpec, INSTANCE, NEEDED_IN_PRICE, NOT_IN_DEFAULTS, PRICE, SECTIONS};
use super::{MAX_INSTANCES, Shape};
use crate::config::values::{COMMENT_MARKS, COMMENT_MARKS_OF_VARIABLES};

/// Returns the schema (JSON Schema draft 2020-12).
#[must_use]
pub fn schema() -> Value {
    let mut sections = Vec::with_capacity(SECTIONS.len());
    for (name, about) in SECTIONS {
        let mut section = section(name);
        section["description"] = (*about).into();
        sections.push(((*name).to_owned(), section));
    }
    let mut schema = closed(sections);
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema".into();
    schema["title"] = "A config of zen".into();
    schema["description"] = format!(
        "Keys that begin with {} are comments; null is the same as leaving a field out.",
        COMMENT_MARKS.join(", ")
    )
    .into();
    schema["required"] = json!(["instances"]);
    schema
}

/// Returns the schema of a section of the config.
fn section(name: &str) -> Value {
    match name {
        "instances" => json!({ "type": "array", "items": instance(), "minItems": 1, "maxItems": MAX_INSTANCES }),
        "budget" => or_null(object(fields(BUDGET))),
        "pricing" => or_null(with_comments(json!({ "type": "object", "additionalProperties": price() }))),
        "halt" => or_null(json!({ "type": "string", "pattern": halt::PATTERN })),
        _ => {
            let mut allowed = fields(INSTANCE);
            allowed.retain(|field| !NOT_IN_DEFAULTS.contains(&field.name));
            or_null(object(allowed))
        }
    }
}

fn fields<T>(table: &'static [FieldSpec<T>]) -> Vec<&'static Field> {
    table.iter().map(FieldSpec::field).collect()
}

fn instance() -> Value {
    let mut instance = object(fields(INSTANCE));
    instance["anyOf"] = json!([requires("command"), requires("prompt")]);
    instance
}

/// Returns the schema of an object in which this field is a string that is not blank.
fn requires(name: &str) -> Value {
    let mut schema = json!({ "required": [name] });
    schema["properties"][name] = filled();
    schema
}

fn price() -> Value {
    let mut price = object(fields(PRICE));
    for name in NEEDED_IN_PRICE {
        price["properties"][name]["type"] = "number".into();
    }
    price["required"] = json!(NEEDED_IN_PRICE);
    price
}

/// Returns the schema of an object with these fields and comments.
fn object(fields: Vec<&Field>) -> Value {
    let mut members = Vec::with_capacity(fields.len());
    for field in fields {
        let mut schema = or_null(of_shape(&field.shape));
        schema["description"] = field.about.replace('`', "").into();
        members.push((field.name.to_owned(), schema));
    }
    closed(members)
}

fn closed(members: impl IntoIterator<Item = (String, Value)>) -> Value {
    let mut properties = Map::new();
    properties.extend(members);
    with_comments(json!({ "type": "object", "properties": properties, "additionalProperties": false }))
}

fn with_comments(mut object: Value) -> Value {
    object["patternProperties"][beginning_with(&COMMENT_MARKS)] = true.into();
    object
}

fn beginning_with(marks: &[&str]) -> String {
    format!("^({})", marks.join("|").replace('$', "\\$"))
}

/// Adds null to the values that a schema allows.
fn or_null(mut schema: Value) -> Value {
    if let Some(Value::Array(words)) = schema.get_mut("enum") {
        words.push(Value::Null);
    } else {
        schema["type"] = json!([schema["type"], "null"]);
    }
    schema
}

fn of_shape(shape: &Shape) -> Value {
    match shape {
        Shape::String => json!({ "type": "string" }),
        Shape::NonEmptyString => filled(),
        Shape::Boolean => json!({ "type": "boolean" }),
        Shape::Enum(words) => json!({ "enum": words }),
        Shape::Strings => json!({ "type": "array", "items": { "type": "string" } }),
        Shape::NonEmptyStrings => json!({ "type": "array", "items": filled() }),
        Shape::Number { max, is_whole, .. } => {
            let kind = if *is_whole { "integer" } else { "number" };
            json!({ "type": kind, "exclusiveMinimum": 0, "maximum": *max as u64 })
        }
        Shape::UnsignedInt { max } => json!({ "type": "integer", "minimum": 0, "maximum": max }),
        Shape::PerCommand(limit) => {
            with_comments(json!({ "type": "object", "additionalProperties": or_null(of_shape(limit)) }))
        }
        Shape::EnvVars => {
            let comment = beginning_with(&COMMENT_MARKS_OF_VARIABLES);
            let mut variables = json!({
                "type": "object",
                "propertyNames": { "pattern": format!("{comment}|^[^=]+$") },
                "additionalProperties": { "type": ["string", "number", "boolean", "null"] },
            });
            variables["patternProperties"][comment] = true.into();
            variables
        }
        Shape::Dependencies(when) => {
            let when = or_null(json!({ "enum": when }));
            let mut named = closed([("name".to_owned(), filled()), ("when".to_owned(), when)]);
            named["required"] = json!(["name"]);
            json!({ "type": "array", "items": { "anyOf": [filled(), named] }, "uniqueItems": true })
        }
    }
}

fn filled() -> Value {
    json!({ "type": "string", "pattern": "\\S" })
}

#[cfg(test)]
mod tests;
