//! Errors: as `OpenAI`'s clients read them, and as compatible servers send them.

use serde_json::{Value, json};

use crate::{ErrorKind, ErrorReply};

/// The longest message that is passed on: an error page can be a whole document.
const LONGEST: usize = 500;

pub(super) fn write(error: &ErrorReply) -> Vec<u8> {
    value(error).to_string().into_bytes()
}

/// `{"error": {message, type, param, code}}`.
pub(super) fn value(error: &ErrorReply) -> Value {
    let (kind, code) = match error.kind {
        ErrorKind::InvalidRequest => ("invalid_request_error", None),
        ErrorKind::Authentication => ("authentication_error", Some("invalid_api_key")),
        ErrorKind::Billing => ("insufficient_quota", Some("insufficient_quota")),
        ErrorKind::Permission => ("permission_error", None),
        ErrorKind::NotFound => ("invalid_request_error", Some("model_not_found")),
        ErrorKind::TooLarge => ("invalid_request_error", Some("request_too_large")),
        ErrorKind::RateLimit => ("rate_limit_error", Some("rate_limit_exceeded")),
        ErrorKind::Server => ("server_error", None),
        ErrorKind::Overloaded => ("server_error", Some("overloaded")),
        ErrorKind::Timeout => ("server_error", Some("timeout")),
    };
    let code = error.code.as_deref().or(code);
    json!({"error": {
        "message": error.message,
        "type": kind,
        "param": error.param,
        "code": code,
    }})
}

/// Reads what an `error` member says: an object, or a mere text.
pub(super) fn read(error: &Value) -> ErrorReply {
    let text = |name: &str| match error.get(name) {
        Some(Value::String(text)) if !text.is_empty() => Some(text.clone()),
        Some(Value::Number(number)) => Some(number.to_string()),
        _ => None,
    };
    let message = text("message")
        .or_else(|| error.as_str().map(str::to_owned))
        .unwrap_or_else(|| "the vendor reported an error without a message".to_owned());
    let kind = text("type");
    let code = text("code");
    ErrorReply {
        kind: kind_of(
            kind.as_deref().unwrap_or_default(),
            code.as_deref().unwrap_or_default(),
        ),
        message: shortened(&message),
        code: code.or(kind),
        param: text("param"),
    }
}

fn kind_of(kind: &str, code: &str) -> ErrorKind {
    let has = |word: &str| kind.contains(word) || code.contains(word);
    let is = |status: &str| code == status;
    if has("insufficient_quota") || has("billing") || is("402") {
        ErrorKind::Billing
    } else if has("rate_limit") || has("tokens_exceeded") || is("429") {
        ErrorKind::RateLimit
    } else if has("overload") || has("unavailable") || is("503") || is("529") {
        ErrorKind::Overloaded
    } else if has("timeout") || is("504") || is("408") {
        ErrorKind::Timeout
    } else if has("invalid_api_key") || has("authentication") || is("401") {
        ErrorKind::Authentication
    } else if has("permission") || is("403") {
        ErrorKind::Permission
    } else if has("not_found") || is("404") {
        ErrorKind::NotFound
    } else if has("too_large") || is("413") {
        ErrorKind::TooLarge
    } else if has("invalid_request") || is("400") || is("422") {
        ErrorKind::InvalidRequest
    } else {
        ErrorKind::Server
    }
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
