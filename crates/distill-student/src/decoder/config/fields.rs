//! Access to the fields of a configuration: each value in its type, or refused by name.

use serde_json::{Map, Value};

use crate::decoder::DecoderError;

pub(crate) fn unsupported(
    field: impl Into<String>,
    value: impl Into<Value>,
    reason: &'static str,
) -> DecoderError {
    /// Longest value that a message repeats.
    const SHOWN: usize = 80;
    let mut value = value.into().to_string();
    if let Some((end, _)) = value.char_indices().nth(SHOWN) {
        value.truncate(end);
        value.push('…');
    }
    DecoderError::Unsupported {
        field: field.into(),
        value,
        reason,
    }
}

/// An object of the configuration and where it stands in it.
#[derive(Clone, Copy)]
pub(crate) struct Fields<'a> {
    map: &'a Map<String, Value>,
    /// What comes before a field's name in a message, such as `rope_scaling.`.
    path: &'a str,
}

impl<'a> Fields<'a> {
    pub(crate) fn new(map: &'a Map<String, Value>, path: &'a str) -> Self {
        Self { map, path }
    }

    pub(crate) fn map(self) -> &'a Map<String, Value> {
        self.map
    }

    /// A field that is there and not null.
    pub(crate) fn present(self, field: &str) -> Option<&'a Value> {
        self.map.get(field).filter(|value| !value.is_null())
    }

    pub(crate) fn refuse(
        self,
        field: &str,
        value: impl Into<Value>,
        reason: &'static str,
    ) -> DecoderError {
        unsupported(format!("{}{field}", self.path), value, reason)
    }

    pub(crate) fn missing(self, field: &str) -> DecoderError {
        DecoderError::Config {
            reason: format!("`{}{field}` is missing", self.path),
        }
    }

    /// A size from 1 to `largest`.
    pub(crate) fn size(self, field: &str, largest: usize) -> Result<usize, DecoderError> {
        self.optional_size(field, largest)?
            .ok_or_else(|| self.missing(field))
    }

    pub(crate) fn optional_size(
        self,
        field: &str,
        largest: usize,
    ) -> Result<Option<usize>, DecoderError> {
        let Some(value) = self.present(field) else {
            return Ok(None);
        };
        match value.as_u64().map(usize::try_from) {
            None | Some(Ok(0)) => {
                Err(self.refuse(field, value.clone(), "it is not a positive integer"))
            }
            Some(Ok(size)) if size <= largest => Ok(Some(size)),
            Some(_) => Err(self.refuse(field, value.clone(), "no model is that large")),
        }
    }

    pub(crate) fn optional_number(self, field: &str) -> Result<Option<f64>, DecoderError> {
        let Some(value) = self.present(field) else {
            return Ok(None);
        };
        match value.as_f64() {
            Some(number) if (1e-30..=1e30).contains(&number) => Ok(Some(number)),
            _ => Err(self.refuse(field, value.clone(), "it is not a positive number")),
        }
    }

    pub(crate) fn number(self, field: &str) -> Result<f64, DecoderError> {
        self.optional_number(field)?
            .ok_or_else(|| self.missing(field))
    }

    pub(crate) fn number_or(self, field: &str, default: f64) -> Result<f64, DecoderError> {
        Ok(self.optional_number(field)?.unwrap_or(default))
    }

    pub(crate) fn switch(self, field: &str, default: bool) -> Result<bool, DecoderError> {
        match self.present(field) {
            None => Ok(default),
            Some(Value::Bool(value)) => Ok(*value),
            Some(value) => Err(self.refuse(field, value.clone(), "it is not true or false")),
        }
    }

    pub(crate) fn text(self, field: &str) -> Result<Option<&'a str>, DecoderError> {
        match self.present(field) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(value) => Err(self.refuse(field, value.clone(), "it is not a text")),
        }
    }

    /// A list of positive numbers of a given length.
    pub(crate) fn numbers(self, field: &str, length: usize) -> Result<Vec<f64>, DecoderError> {
        let value = self.present(field).ok_or_else(|| self.missing(field))?;
        let list = value.as_array().filter(|list| list.len() == length);
        let numbers: Option<Vec<f64>> = list.and_then(|list| {
            list.iter()
                .map(|number| number.as_f64().filter(|n| (1e-30..=1e30).contains(n)))
                .collect()
        });
        numbers.ok_or_else(|| {
            let reason = "it is not a list of positive numbers, one for each turned pair of a head";
            self.refuse(field, value.clone(), reason)
        })
    }

    pub(crate) fn list(self, field: &str) -> Result<Option<&'a [Value]>, DecoderError> {
        match self.present(field) {
            None => Ok(None),
            Some(Value::Array(list)) => Ok(Some(list)),
            Some(value) => Err(self.refuse(field, value.clone(), "it is not a list")),
        }
    }

    pub(crate) fn object(
        self,
        field: &str,
    ) -> Result<Option<&'a Map<String, Value>>, DecoderError> {
        match self.present(field) {
            None => Ok(None),
            Some(Value::Object(map)) => Ok(Some(map)),
            Some(value) => Err(self.refuse(field, value.clone(), "it is not an object")),
        }
    }
}
