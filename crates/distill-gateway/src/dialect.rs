//! How requests and replies look on the wire.
//!
//! A dialect is pure: it turns a [`ChatRequest`] into a JSON body and bytes into a [`Reply`]. Who
//! answers, with which key and what to do when it fails, is not known here. A new dialect is a file
//! beside these and an arm in each method below.

mod anthropic;
mod openai;

use distill_chat::{ChatRequest, Completion};
use serde_json::Value;

use crate::vendor::Quirks;

/// A wire format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// Chat completions.
    OpenAi,
    /// Messages.
    Anthropic,
}

/// What a dialect needs to know of a target.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wire<'a> {
    pub(crate) model: &'a str,
    pub(crate) quirks: Quirks,
    pub(crate) fixed_temperature: bool,
    /// Always sent: without a bound on the reply no budget can be held.
    pub(crate) max_tokens: u32,
}

/// A reply that was read.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Reply {
    pub(crate) completion: Completion,
    /// The vendor's own name for the exchange, by which its bill can be checked.
    pub(crate) response_id: Option<String>,
}

/// Why the body of a successful answer cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Malformed {
    #[error("the body is not JSON ({0})")]
    NotJson(String),
    #[error("the body has no {0}")]
    Missing(&'static str),
    /// Some vendors send an error with status 200.
    #[error("the body is an error: {0}")]
    Error(String),
}

/// What an error body says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct VendorError {
    pub(crate) message: String,
    pub(crate) code: String,
}

impl Dialect {
    /// The name that enters the request hash.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OpenAi => "openai.chat_completions",
            Self::Anthropic => "anthropic.messages",
        }
    }

    /// What follows the base URL, by the convention of each vendor's own SDK.
    pub(crate) fn path(self) -> &'static str {
        match self {
            Self::OpenAi => "/chat/completions",
            Self::Anthropic => "/v1/messages",
        }
    }

    /// Headers beside the content type; the key's header is the only one with a secret.
    pub(crate) fn headers(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::OpenAi => &[],
            Self::Anthropic => &[("anthropic-version", "2023-06-01")],
        }
    }

    /// The header that carries the key and what stands before the key in it.
    pub(crate) fn key_header(self) -> (&'static str, &'static str) {
        match self {
            Self::OpenAi => ("authorization", "Bearer "),
            Self::Anthropic => ("x-api-key", ""),
        }
    }

    /// The body of a request.
    pub(crate) fn body(self, request: &ChatRequest, wire: Wire<'_>) -> Value {
        match self {
            Self::OpenAi => openai::body(request, wire),
            Self::Anthropic => anthropic::body(request, wire),
        }
    }

    /// Reads the body of a successful answer.
    pub(crate) fn parse(self, body: &[u8]) -> Result<Reply, Malformed> {
        let value: Value =
            serde_json::from_slice(body).map_err(|error| Malformed::NotJson(error.to_string()))?;
        if value.get("error").is_some_and(|error| !error.is_null()) {
            return Err(Malformed::Error(vendor_error(body).message));
        }
        match self {
            Self::OpenAi => openai::parse(&value),
            Self::Anthropic => anthropic::parse(&value),
        }
    }
}

/// Reads an error body. The shapes in use differ little enough to be read by one function.
pub(crate) fn vendor_error(body: &[u8]) -> VendorError {
    let Ok(value) = serde_json::from_slice::<Value>(body) else {
        return VendorError {
            message: shortened(&String::from_utf8_lossy(body)),
            code: String::new(),
        };
    };
    let inner = match value.get("error") {
        Some(error) if error.is_object() => error,
        _ => &value,
    };
    let text = |value: &Value, name: &str| match value.get(name) {
        Some(Value::String(text)) => Some(text.clone()),
        Some(Value::Number(number)) => Some(number.to_string()),
        _ => None,
    };
    let message = text(inner, "message")
        .or_else(|| text(&value, "error"))
        .or_else(|| text(&value, "detail"))
        .unwrap_or_default();
    VendorError {
        message: shortened(&message),
        code: text(inner, "code")
            .or_else(|| text(inner, "type"))
            .unwrap_or_default(),
    }
}

/// An error page can be a whole HTML document.
fn shortened(text: &str) -> String {
    const LIMIT: usize = 300;
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(LIMIT) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

fn string(value: &Value, name: &str) -> Option<String> {
    value.get(name).and_then(Value::as_str).map(str::to_owned)
}

fn count(value: &Value, pointer: &str) -> Option<u64> {
    value.pointer(pointer).and_then(Value::as_u64)
}

#[cfg(test)]
mod tests;
