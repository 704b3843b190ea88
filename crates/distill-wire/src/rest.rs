//! What a reader had no place for, put back by a writer of the same dialect.

use serde_json::Value;

use crate::{RequestError, fields::Fields};

/// Lays `rest` over `value`: objects and lists are joined member by member, what `value` says stays.
pub(crate) fn fill(value: &mut Value, rest: &Value) {
    match (value, rest) {
        (Value::Object(map), Value::Object(rest)) => {
            for (name, rest) in rest {
                match map.get_mut(name) {
                    Some(value) => fill(value, rest),
                    None => {
                        map.insert(name.clone(), rest.clone());
                    }
                }
            }
        }
        (Value::Array(items), Value::Array(rest)) => {
            for (index, rest) in rest.iter().enumerate() {
                match items.get_mut(index) {
                    Some(value) => fill(value, rest),
                    None => items.push(rest.clone()),
                }
            }
        }
        _ => {}
    }
}

/// A list of strings; empty where the field is absent.
pub(crate) fn texts(fields: &mut Fields, name: &str) -> Result<Vec<String>, RequestError> {
    fields
        .list(name)?
        .unwrap_or_default()
        .into_iter()
        .map(|value| match value {
            Value::String(text) => Ok(text),
            _ => Err(fields.invalid(name, "must be an array of strings")),
        })
        .collect()
}

pub(crate) fn integer(fields: &mut Fields, name: &str) -> Result<Option<i64>, RequestError> {
    match fields.take(name) {
        None => Ok(None),
        Some(value) => value
            .as_i64()
            .map(Some)
            .ok_or_else(|| fields.invalid(name, "must be a whole number")),
    }
}
