//! Embeddings: `POST /v1/embeddings`, as `OpenAI` and the compatible servers speak it.
//!
//! A request that is only passed on is scanned by [`crate::envelope::scan`] and its model's name
//! replaced; these types are for who meters, caches or asks himself.

use distill_chat::Usage;
use serde_json::{Map, Value, json};

use crate::{Malformed, RequestError, fields::Fields, fields::invalid};

/// What is to be turned into vectors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    Texts(Vec<String>),
    /// Tokens of the model's own vocabulary.
    Tokens(Vec<Vec<u32>>),
}

impl Input {
    /// How many vectors are asked for.
    pub fn count(&self) -> usize {
        match self {
            Self::Texts(texts) => texts.len(),
            Self::Tokens(lists) => lists.len(),
        }
    }

    /// The most tokens that this can be: one of every byte of text.
    pub fn most_tokens(&self) -> u64 {
        match self {
            Self::Texts(texts) => texts.iter().map(|text| text.len() as u64).sum(),
            Self::Tokens(lists) => lists.iter().map(|list| list.len() as u64).sum(),
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct EmbeddingsRequest {
    pub model: String,
    pub input: Input,
    /// Length of each vector, where the model can shorten it.
    pub dimensions: Option<u64>,
    /// `float` or `base64`.
    pub encoding_format: Option<String>,
    pub user: Option<String>,
    /// Fields that have no place above.
    pub extra: Map<String, Value>,
}

impl EmbeddingsRequest {
    /// A request for the vectors of these texts.
    pub fn new(model: impl Into<String>, texts: Vec<String>) -> Self {
        Self {
            model: model.into(),
            input: Input::Texts(texts),
            dimensions: None,
            encoding_format: None,
            user: None,
            extra: Map::new(),
        }
    }

    /// Reads a caller's request.
    ///
    /// # Errors
    /// [`RequestError`] names the field.
    pub fn read(body: &[u8]) -> Result<Self, RequestError> {
        let mut fields = Fields::of_body(body)?;
        let model = fields.required_text("model")?;
        let input = fields
            .take("input")
            .ok_or_else(|| fields.missing("input"))?;
        Ok(Self {
            model,
            input: read_input(input)?,
            dimensions: fields.count("dimensions")?,
            encoding_format: fields.text("encoding_format")?,
            user: fields.text("user")?,
            extra: fields.rest(),
        })
    }

    /// The body for a target that calls the model `model`.
    pub fn write(&self, model: &str) -> Vec<u8> {
        let mut body = json!({"model": model});
        body["input"] = match &self.input {
            Input::Texts(texts) => texts.clone().into(),
            Input::Tokens(lists) => lists.clone().into(),
        };
        if let Some(dimensions) = self.dimensions {
            body["dimensions"] = dimensions.into();
        }
        for (name, text) in [
            ("encoding_format", &self.encoding_format),
            ("user", &self.user),
        ] {
            if let Some(text) = text {
                body[name] = text.as_str().into();
            }
        }
        for (name, value) in &self.extra {
            body[name] = value.clone();
        }
        body.to_string().into_bytes()
    }
}

/// A text, texts, tokens, or lists of tokens.
fn read_input(input: Value) -> Result<Input, RequestError> {
    const PROBLEM: &str = "must be a text, an array of texts, or an array of tokens";
    let wrong = || invalid("input", PROBLEM);
    let token = |value: &Value| {
        value
            .as_u64()
            .and_then(|token| u32::try_from(token).ok())
            .ok_or_else(wrong)
    };
    let items = match input {
        Value::String(text) => return Ok(Input::Texts(vec![text])),
        Value::Array(items) => items,
        _ => return Err(wrong()),
    };
    match items.first() {
        None => Err(invalid("input", "is empty")),
        Some(Value::String(_)) => items
            .into_iter()
            .map(|item| match item {
                Value::String(text) => Ok(text),
                _ => Err(wrong()),
            })
            .collect::<Result<_, _>>()
            .map(Input::Texts),
        Some(Value::Number(_)) => {
            let list = items.iter().map(token).collect::<Result<_, _>>()?;
            Ok(Input::Tokens(vec![list]))
        }
        Some(_) => items
            .iter()
            .map(|item| {
                let list = item.as_array().ok_or_else(wrong)?;
                list.iter().map(token).collect()
            })
            .collect::<Result<_, _>>()
            .map(Input::Tokens),
    }
}

/// A reply. The vectors stand in the order of the inputs.
#[derive(Debug, Clone, PartialEq)]
pub struct EmbeddingsReply {
    pub model: Option<String>,
    pub vectors: Vec<Vec<f32>>,
    /// Only input tokens are counted.
    pub usage: Usage,
}

impl EmbeddingsReply {
    /// Reads the body of a successful answer.
    ///
    /// # Errors
    /// [`Malformed`] where it is none, or a vector is missing.
    pub fn read(body: &[u8]) -> Result<Self, Malformed> {
        let value: Value =
            serde_json::from_slice(body).map_err(|error| Malformed::NotJson(error.to_string()))?;
        if let Some(error) = value.get("error").filter(|error| !error.is_null()) {
            let message = error.get("message").and_then(Value::as_str);
            return Err(Malformed::Error(message.unwrap_or_default().to_owned()));
        }
        let data = value
            .get("data")
            .and_then(Value::as_array)
            .ok_or(Malformed::Missing("data"))?;
        let mut vectors: Vec<Option<Vec<f32>>> = vec![None; data.len()];
        for (place, item) in data.iter().enumerate() {
            let index = item.get("index").and_then(Value::as_u64);
            let index = index.map_or(place, |index| usize::try_from(index).unwrap_or(usize::MAX));
            let vector = read_vector(item.get("embedding"));
            let slot = vectors
                .get_mut(index)
                .ok_or(Malformed::OutOfOrder("the index of a vector"))?;
            *slot = Some(vector.ok_or(Malformed::Missing("embedding"))?);
        }
        let vectors: Option<Vec<Vec<f32>>> = vectors.into_iter().collect();
        let model = value.get("model").and_then(Value::as_str);
        Ok(Self {
            model: model.map(str::to_owned),
            vectors: vectors.ok_or(Malformed::Missing("embedding"))?,
            usage: read_usage(&value),
        })
    }

    /// The body for a caller, with vectors as numbers.
    pub fn write(&self, model: &str) -> Vec<u8> {
        let data: Vec<Value> = self
            .vectors
            .iter()
            .enumerate()
            .map(|(index, vector)| {
                json!({"object": "embedding", "index": index, "embedding": vector})
            })
            .collect();
        let model = self.model.as_deref().unwrap_or(model);
        let mut body = json!({"object": "list", "data": data, "model": model});
        if let Some(tokens) = self.usage.input_tokens {
            body["usage"] = json!({"prompt_tokens": tokens, "total_tokens": tokens});
        }
        body.to_string().into_bytes()
    }
}

/// What the answer's `usage` says, for who passes the vectors on unread.
///
/// # Errors
/// [`Malformed::NotJson`].
pub fn usage(body: &[u8]) -> Result<(Option<String>, Usage), Malformed> {
    #[derive(serde::Deserialize)]
    struct Metered {
        model: Option<String>,
        usage: Option<Value>,
    }
    let metered: Metered =
        serde_json::from_slice(body).map_err(|error| Malformed::NotJson(error.to_string()))?;
    let usage = json!({"usage": metered.usage});
    Ok((metered.model, read_usage(&usage)))
}

fn read_usage(body: &Value) -> Usage {
    let count = |at: &str| body.pointer(at).and_then(Value::as_u64);
    Usage {
        // Some compatible servers give the total only, and there is nothing else in it.
        input_tokens: count("/usage/prompt_tokens").or_else(|| count("/usage/total_tokens")),
        ..Usage::default()
    }
}

/// Numbers, or little-endian 32-bit floats in base64, which `OpenAI`'s clients ask for by themselves.
fn read_vector(value: Option<&Value>) -> Option<Vec<f32>> {
    match value? {
        Value::Array(numbers) => numbers
            .iter()
            .map(|number| number.as_f64().map(|number| number as f32))
            .collect(),
        Value::String(text) => {
            let bytes = decode_base64(text)?;
            let (floats, rest) = bytes.as_chunks::<4>();
            rest.is_empty().then(|| {
                floats
                    .iter()
                    .map(|float| f32::from_le_bytes(*float))
                    .collect()
            })
        }
        _ => None,
    }
}

/// RFC 4648, section 4.
fn decode_base64(text: &str) -> Option<Vec<u8>> {
    let text = text.trim_end_matches('=').as_bytes();
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3 + 2);
    for group in text.chunks(4) {
        let mut bits = 0_u32;
        for letter in group {
            let value = match letter {
                b'A'..=b'Z' => letter - b'A',
                b'a'..=b'z' => letter - b'a' + 26,
                b'0'..=b'9' => letter - b'0' + 52,
                b'+' => 62,
                b'/' => 63,
                _ => return None,
            };
            bits = bits << 6 | u32::from(value);
        }
        let count = match group.len() {
            4 => 3,
            3 => 2,
            2 => 1,
            _ => return None,
        };
        bits <<= 6 * (4 - group.len());
        bytes.extend_from_slice(&bits.to_be_bytes()[1..=count]);
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_form_of_input_is_read_and_written_again() {
        for (input, read, again) in [
            (json!("a"), Input::Texts(vec!["a".into()]), json!(["a"])),
            (
                json!(["a", "b"]),
                Input::Texts(vec!["a".into(), "b".into()]),
                json!(["a", "b"]),
            ),
            (
                json!([1, 2]),
                Input::Tokens(vec![vec![1, 2]]),
                json!([[1, 2]]),
            ),
            (
                json!([[1], [2]]),
                Input::Tokens(vec![vec![1], vec![2]]),
                json!([[1], [2]]),
            ),
        ] {
            let body = json!({"model": "x", "input": input, "dimensions": 3, "user": "u",
                "encoding_format": "base64", "truncate": "END"});
            let request = EmbeddingsRequest::read(body.to_string().as_bytes()).unwrap();
            assert_eq!(request.input, read);
            let mut expected = body;
            expected["model"] = "m".into();
            expected["input"] = again;
            let written: Value = serde_json::from_slice(&request.write("m")).unwrap();
            assert_eq!(written, expected);
        }
    }

    #[test]
    fn input_that_is_none_is_refused() {
        for input in [
            json!([]),
            json!(3),
            json!(["a", 1]),
            json!([1, "a"]),
            json!([[1], 2]),
            json!([-1]),
        ] {
            let body = json!({"model": "x", "input": input}).to_string();
            let error = EmbeddingsRequest::read(body.as_bytes()).unwrap_err();
            assert!(error.to_string().starts_with("`input`"), "{error}");
        }
        assert_eq!(
            EmbeddingsRequest::read(br#"{"model": "x"}"#),
            Err(RequestError::Missing {
                field: "input".into()
            })
        );
    }

    #[test]
    fn vectors_come_back_in_the_order_of_the_inputs() {
        let body = json!({"object": "list", "model": "m", "data": [
            {"object": "embedding", "index": 1, "embedding": "AACAPwAAAMA="},
            {"object": "embedding", "index": 0, "embedding": [0.5, -1]},
        ], "usage": {"prompt_tokens": 7, "total_tokens": 7}});
        let reply = EmbeddingsReply::read(body.to_string().as_bytes()).unwrap();
        assert_eq!(reply.vectors, [[0.5, -1.0], [1.0, -2.0]]);
        assert_eq!(reply.usage.input_tokens, Some(7));
        assert_eq!(EmbeddingsReply::read(&reply.write("x")).unwrap(), reply);
        let (model, tokens) = usage(body.to_string().as_bytes()).unwrap();
        assert_eq!((model.as_deref(), tokens), (Some("m"), reply.usage));
        for wrong in [
            json!({"data": [{"index": 0, "embedding": "AAA"}]}),
            json!({"data": [{"index": 5, "embedding": [1]}]}),
            json!({"data": [{"index": 0, "embedding": [1]}, {"index": 0, "embedding": [1]}]}),
            json!({"error": {"message": "no"}}),
            json!({}),
        ] {
            assert!(
                EmbeddingsReply::read(wrong.to_string().as_bytes()).is_err(),
                "{wrong}"
            );
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_the_decoder_fall(text in ".*") {
            let _ = decode_base64(&text);
        }
    }
}
