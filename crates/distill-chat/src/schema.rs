//! The part of JSON Schema that an extraction task may use: one flat object.
//!
//! The object: `type: object`, `properties`, `required`, `additionalProperties` (true or false). A
//! field: `type` (string, number, integer, boolean), `enum`, or both. `title` and `description` may
//! stand anywhere. Within this part, verdicts are those of JSON Schema 2020-12. Refused are nested
//! objects and lists, `null` and lists of types, `pattern`, `format`, bounds of numbers and lengths,
//! `const`, `$ref` and every way of combining schemas.
//!
//! A keyword outside this part is refused by name when the task is made, so that nothing a user
//! wrote is silently not held.

use serde_json::{Map, Value};

use crate::equality::{same_json, whole};

/// The type of one field.
#[derive(Debug, Clone, PartialEq)]
enum FieldType {
    String,
    Number,
    Integer,
    Boolean,
    /// One of the listed values: those of an `enum` that also satisfy the `type` beside it.
    Enumeration(Vec<Value>),
}

/// A checked schema of a flat JSON object.
#[derive(Debug, Clone, PartialEq)]
pub struct ObjectSchema {
    fields: Vec<(String, FieldType)>,
    required: Vec<String>,
    additional: bool,
}

/// A schema that this project cannot hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SchemaError {
    #[error("schema at `{path}`: keyword `{keyword}` is not supported")]
    Keyword { path: String, keyword: String },
    #[error("schema at `{path}`: {problem}")]
    Shape { path: String, problem: String },
}

/// How a value breaks the schema.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SchemaViolation {
    #[error("not a JSON object")]
    NotAnObject,
    #[error("field `{0}` is missing")]
    Missing(String),
    #[error("field `{0}` is not in the schema")]
    Unknown(String),
    #[error("field `{field}` is not {expected}")]
    Type {
        field: String,
        expected: &'static str,
    },
}

impl ObjectSchema {
    /// Reads a schema.
    ///
    /// # Errors
    /// The first keyword or shape outside the supported part, with its place.
    pub fn parse(schema: &Value) -> Result<Self, SchemaError> {
        let shape = |path: &str, problem: &str| SchemaError::Shape {
            path: path.to_owned(),
            problem: problem.to_owned(),
        };
        let object = schema
            .as_object()
            .ok_or_else(|| shape("", "must be an object"))?;
        for keyword in object.keys() {
            if ![
                "type",
                "properties",
                "required",
                "additionalProperties",
                "description",
                "title",
            ]
            .contains(&keyword.as_str())
            {
                return Err(SchemaError::Keyword {
                    path: String::new(),
                    keyword: keyword.clone(),
                });
            }
        }
        if object.get("type").and_then(Value::as_str) != Some("object") {
            return Err(shape("type", "must be `object`"));
        }
        let properties = object
            .get("properties")
            .and_then(Value::as_object)
            .ok_or_else(|| shape("properties", "must be a map from field name to its schema"))?;
        if properties.is_empty() {
            return Err(shape("properties", "must name at least one field"));
        }
        let fields = properties
            .iter()
            .map(|(name, field)| Ok((name.clone(), field_type(name, field)?)))
            .collect::<Result<Vec<_>, SchemaError>>()?;
        let mut required = Vec::new();
        if let Some(list) = object.get("required") {
            for name in list
                .as_array()
                .ok_or_else(|| shape("required", "must be a list"))?
            {
                match name.as_str().filter(|name| properties.contains_key(*name)) {
                    Some(name) => required.push(name.to_owned()),
                    None => {
                        return Err(shape(
                            "required",
                            "names a field that `properties` does not have",
                        ));
                    }
                }
            }
        }
        let additional = match object.get("additionalProperties") {
            None => true,
            Some(Value::Bool(allowed)) => *allowed,
            Some(_) => return Err(shape("additionalProperties", "must be true or false")),
        };
        Ok(Self {
            fields,
            required,
            additional,
        })
    }

    /// Field names, in the order the schema lists them.
    pub fn field_names(&self) -> impl Iterator<Item = &str> {
        self.fields.iter().map(|(name, _)| name.as_str())
    }

    /// Checks a value.
    ///
    /// # Errors
    /// The first violation, in the order: missing, unknown, wrong type.
    pub fn check<'a>(&self, value: &'a Value) -> Result<&'a Map<String, Value>, SchemaViolation> {
        let object = value.as_object().ok_or(SchemaViolation::NotAnObject)?;
        if let Some(missing) = self
            .required
            .iter()
            .find(|name| !object.contains_key(*name))
        {
            return Err(SchemaViolation::Missing(missing.clone()));
        }
        for (name, value) in object {
            match self.fields.iter().find(|(field, _)| field == name) {
                None if self.additional => {}
                None => return Err(SchemaViolation::Unknown(name.clone())),
                Some((_, kind)) => kind.check(name, value)?,
            }
        }
        Ok(object)
    }
}

impl FieldType {
    fn check(&self, field: &str, value: &Value) -> Result<(), SchemaViolation> {
        let (holds, expected) = match self {
            Self::String => (value.is_string(), "a string"),
            Self::Number => (value.is_number(), "a number"),
            // As JSON Schema has it: 1.0 is an integer. A double too large to have a fraction is.
            Self::Integer => (
                value.as_number().is_some_and(|number| {
                    whole(number).is_some()
                        || number.as_f64().is_some_and(|value| value.fract() == 0.0)
                }),
                "an integer",
            ),
            Self::Boolean => (value.is_boolean(), "true or false"),
            Self::Enumeration(values) => (
                values.iter().any(|listed| same_json(listed, value)),
                "one of the listed values",
            ),
        };
        if holds {
            Ok(())
        } else {
            Err(SchemaViolation::Type {
                field: field.to_owned(),
                expected,
            })
        }
    }
}

fn field_type(name: &str, field: &Value) -> Result<FieldType, SchemaError> {
    let path = format!("properties.{name}");
    let shape = |problem: &str| SchemaError::Shape {
        path: path.clone(),
        problem: problem.to_owned(),
    };
    let object = field
        .as_object()
        .ok_or_else(|| shape("must be an object"))?;
    for keyword in object.keys() {
        if !["type", "enum", "description", "title"].contains(&keyword.as_str()) {
            return Err(SchemaError::Keyword {
                path,
                keyword: keyword.clone(),
            });
        }
    }
    let kind = match object.get("type") {
        None => None,
        Some(name) => Some(match name.as_str() {
            Some("string") => FieldType::String,
            Some("number") => FieldType::Number,
            Some("integer") => FieldType::Integer,
            Some("boolean") => FieldType::Boolean,
            _ => return Err(shape("`type` must be string, number, integer or boolean")),
        }),
    };
    let Some(values) = object.get("enum") else {
        return kind.ok_or_else(|| shape("`type` must be string, number, integer or boolean"));
    };
    let mut values = values
        .as_array()
        .filter(|values| !values.is_empty())
        .ok_or_else(|| shape("`enum` must be a list with a value"))?
        .clone();
    if let Some(kind) = kind {
        values.retain(|value| kind.check(name, value).is_ok());
        if values.is_empty() {
            return Err(shape("no value of `enum` is of the `type`"));
        }
    }
    Ok(FieldType::Enumeration(values))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn slots() -> ObjectSchema {
        ObjectSchema::parse(&json!({
            "type": "object",
            "properties": {"size": {"type": "string"}, "count": {"type": "integer"}, "colour": {"enum": ["red", "blue"]}},
            "required": ["size"],
            "additionalProperties": false
        }))
        .unwrap()
    }

    #[test]
    fn a_value_is_held_to_required_known_and_typed_fields() {
        let schema = slots();
        assert!(
            schema
                .check(&json!({"size": "L", "count": 2, "colour": "red"}))
                .is_ok()
        );
        assert_eq!(schema.check(&json!([])), Err(SchemaViolation::NotAnObject));
        assert_eq!(
            schema.check(&json!({})),
            Err(SchemaViolation::Missing("size".into()))
        );
        assert_eq!(
            schema.check(&json!({"size": "L", "x": 1})),
            Err(SchemaViolation::Unknown("x".into()))
        );
        for wrong in [
            json!({"size": 1}),
            json!({"size": "L", "count": 1.5}),
            json!({"size": "L", "colour": "green"}),
        ] {
            assert!(
                matches!(schema.check(&wrong), Err(SchemaViolation::Type { .. })),
                "{wrong}"
            );
        }
    }

    #[test]
    fn an_integer_and_a_listed_value_are_held_as_json_schema_has_them() {
        let schema = slots();
        assert!(schema.check(&json!({"size": "", "count": 2.0})).is_ok());
        let listed = |field: Value| {
            ObjectSchema::parse(&json!({"type": "object", "properties": {"e": field}})).unwrap()
        };
        let numbers = listed(json!({"enum": [1, "b"]}));
        assert!(numbers.check(&json!({"e": 1.0})).is_ok());
        assert!(numbers.check(&json!({"e": "1"})).is_err());
        // A listed value must also be of the type beside the list.
        let texts = listed(json!({"type": "string", "enum": ["a", 1]}));
        assert!(texts.check(&json!({"e": "a"})).is_ok());
        assert!(texts.check(&json!({"e": 1})).is_err());
    }

    #[test]
    fn what_is_not_held_is_refused_by_name() {
        let field = |field: Value| json!({"type": "object", "properties": {"a": field}});
        let string = json!({"type": "string"});
        for (schema, message) in [
            (
                field(json!({"type": "string", "pattern": "x"})),
                "schema at `properties.a`: keyword `pattern` is not supported",
            ),
            (
                field(json!({"type": "integer", "minimum": 0})),
                "schema at `properties.a`: keyword `minimum` is not supported",
            ),
            (
                field(json!({"const": 1})),
                "schema at `properties.a`: keyword `const` is not supported",
            ),
            (
                field(json!({"$ref": "#/x"})),
                "schema at `properties.a`: keyword `$ref` is not supported",
            ),
            (
                field(json!({"type": ["string", "null"]})),
                "schema at `properties.a`: `type` must be string, number, integer or boolean",
            ),
            (
                field(json!({"type": "object"})),
                "schema at `properties.a`: `type` must be string, number, integer or boolean",
            ),
            (
                field(json!({})),
                "schema at `properties.a`: `type` must be string, number, integer or boolean",
            ),
            (
                field(json!({"type": "string", "enum": [1, 2]})),
                "schema at `properties.a`: no value of `enum` is of the `type`",
            ),
            (
                json!({"type": "object", "properties": {"a": string}, "required": ["b"]}),
                "schema at `required`: names a field that `properties` does not have",
            ),
            (
                json!({"type": "object", "properties": {"a": string}, "additionalProperties": {}}),
                "schema at `additionalProperties`: must be true or false",
            ),
            (
                json!({"type": "object", "properties": {"a": string}, "oneOf": []}),
                "schema at ``: keyword `oneOf` is not supported",
            ),
        ] {
            let error = ObjectSchema::parse(&schema).unwrap_err();
            assert_eq!(error.to_string(), message);
        }
    }
}
