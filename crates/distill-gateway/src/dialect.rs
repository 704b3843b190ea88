//! How a labelling request and its reply look on the wire.
//!
//! Pure: a [`ChatRequest`] becomes a body and bytes become a [`Reply`], by way of `distill-wire`. Who
//! answers, with which key and what to do when it fails, is not known here.

mod normalised;

use distill_chat::{ChatRequest, Completion};
pub use distill_wire::Dialect;
use distill_wire::{Malformed, Quirks, Unsupported};
use serde_json::Value;

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

/// What an error body says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VendorError {
    pub message: String,
    pub code: String,
}

/// The headers of a dialect beside the content type; the key's header is the only one with a secret.
pub(crate) fn headers(dialect: Dialect) -> &'static [(&'static str, &'static str)] {
    match dialect {
        Dialect::Messages => &[("anthropic-version", "2023-06-01")],
        _ => &[],
    }
}

/// The body of a request.
pub(crate) fn body(
    dialect: Dialect,
    request: &ChatRequest,
    wire: Wire<'_>,
) -> Result<String, Unsupported> {
    normalised::body(dialect, request, wire)
}

/// Reads the body of a successful answer.
pub(crate) fn parse(dialect: Dialect, body: &[u8]) -> Result<Reply, Malformed> {
    let value: Value =
        serde_json::from_slice(body).map_err(|error| Malformed::NotJson(error.to_string()))?;
    if value.get("error").is_some_and(|error| !error.is_null()) {
        return Err(Malformed::Error(vendor_error(body).message));
    }
    if dialect == Dialect::ChatCompletions {
        normalised::is_whole(&value)?;
    }
    normalised::parse(dialect, body)
}

/// Reads an error body. The shapes in use differ little enough to be read by one function.
pub fn vendor_error(body: &[u8]) -> VendorError {
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

#[cfg(test)]
mod tests;
