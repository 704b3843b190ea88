//! Takes a caller's JSON object apart field by field, and says which field is wrong.

use serde_json::{Map, Value};

use crate::RequestError;

/// An object of which fields are taken one by one; what stays is what nobody knew.
pub(crate) struct Fields {
    /// Where the object stands in the body, `""` for the body itself.
    path: String,
    map: Map<String, Value>,
}

/// A problem with a field.
pub(crate) fn invalid(field: impl Into<String>, problem: impl Into<String>) -> RequestError {
    RequestError::Invalid {
        field: field.into(),
        problem: problem.into(),
    }
}

impl Fields {
    pub(crate) fn of_body(body: &[u8]) -> Result<Self, RequestError> {
        let value: Value = serde_json::from_slice(body)
            .map_err(|error| RequestError::NotJson(error.to_string()))?;
        match value {
            Value::Object(map) => Ok(Self {
                path: String::new(),
                map,
            }),
            _ => Err(invalid("body", "is not a JSON object")),
        }
    }

    pub(crate) fn of(value: Value, path: impl Into<String>) -> Result<Self, RequestError> {
        match value {
            Value::Object(map) => Ok(Self {
                path: path.into(),
                map,
            }),
            _ => Err(invalid(path, "must be an object")),
        }
    }

    /// The field's name as the caller would look for it, e.g. `messages[2].role`.
    pub(crate) fn name(&self, field: &str) -> String {
        if self.path.is_empty() {
            field.to_owned()
        } else {
            format!("{}.{field}", self.path)
        }
    }

    pub(crate) fn missing(&self, field: &str) -> RequestError {
        RequestError::Missing {
            field: self.name(field),
        }
    }

    pub(crate) fn invalid(&self, field: &str, problem: impl Into<String>) -> RequestError {
        invalid(self.name(field), problem)
    }

    /// The field's value; `null` is as good as none.
    pub(crate) fn take(&mut self, field: &str) -> Option<Value> {
        self.map
            .shift_remove(field)
            .filter(|value| !value.is_null())
    }

    pub(crate) fn peek(&self, field: &str) -> Option<&str> {
        self.map.get(field).and_then(Value::as_str)
    }

    pub(crate) fn text(&mut self, field: &str) -> Result<Option<String>, RequestError> {
        match self.take(field) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(self.invalid(field, "must be a string")),
        }
    }

    pub(crate) fn required_text(&mut self, field: &str) -> Result<String, RequestError> {
        self.text(field)?.ok_or_else(|| self.missing(field))
    }

    pub(crate) fn count(&mut self, field: &str) -> Result<Option<u64>, RequestError> {
        match self.take(field) {
            None => Ok(None),
            Some(value) => match value.as_u64() {
                Some(count) => Ok(Some(count)),
                None => Err(self.invalid(field, "must be a whole number of 0 or more")),
            },
        }
    }

    pub(crate) fn number(&mut self, field: &str) -> Result<Option<f64>, RequestError> {
        match self.take(field) {
            None => Ok(None),
            Some(value) => match value.as_f64() {
                Some(number) => Ok(Some(number)),
                None => Err(self.invalid(field, "must be a number")),
            },
        }
    }

    pub(crate) fn flag(&mut self, field: &str) -> Result<Option<bool>, RequestError> {
        match self.take(field) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(flag)),
            Some(_) => Err(self.invalid(field, "must be true or false")),
        }
    }

    pub(crate) fn list(&mut self, field: &str) -> Result<Option<Vec<Value>>, RequestError> {
        match self.take(field) {
            None => Ok(None),
            Some(Value::Array(list)) => Ok(Some(list)),
            Some(_) => Err(self.invalid(field, "must be an array")),
        }
    }

    pub(crate) fn object(&mut self, field: &str) -> Result<Option<Self>, RequestError> {
        let name = self.name(field);
        self.take(field)
            .map(|value| Self::of(value, name))
            .transpose()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    /// What nobody took.
    pub(crate) fn rest(self) -> Map<String, Value> {
        self.map
    }
}
