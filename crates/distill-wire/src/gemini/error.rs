//! Errors: `{"error": {"code", "message", "status", "details"}}`.

use serde_json::{Value, json};

use crate::{ErrorKind, ErrorReply};

/// Status code, status word and kind. The first row of a kind is how it is written.
const STATUSES: &[(u16, &str, ErrorKind)] = &[
    (400, "INVALID_ARGUMENT", ErrorKind::InvalidRequest),
    (400, "OUT_OF_RANGE", ErrorKind::InvalidRequest),
    (401, "UNAUTHENTICATED", ErrorKind::Authentication),
    (402, "RESOURCE_EXHAUSTED", ErrorKind::Billing),
    (403, "PERMISSION_DENIED", ErrorKind::Permission),
    // The region is not served or billing is not set up: the target's fault.
    (400, "FAILED_PRECONDITION", ErrorKind::Permission),
    (404, "NOT_FOUND", ErrorKind::NotFound),
    (413, "INVALID_ARGUMENT", ErrorKind::TooLarge),
    (429, "RESOURCE_EXHAUSTED", ErrorKind::RateLimit),
    (500, "INTERNAL", ErrorKind::Server),
    (503, "UNAVAILABLE", ErrorKind::Overloaded),
    (504, "DEADLINE_EXCEEDED", ErrorKind::Timeout),
    (499, "CANCELLED", ErrorKind::Timeout),
];

/// A key that is not valid comes as a fault of the request, told apart by these reasons.
const KEY_REASONS: [&str; 2] = ["API_KEY_INVALID", "API_KEY_EXPIRED"];

/// Reads the body of an error answer; `None` where it is none.
pub fn read_error(body: &[u8]) -> Option<ErrorReply> {
    let value: Value = serde_json::from_slice(body).ok()?;
    // A stream that fails before its first event answers with a list of one.
    read_value(value.get(0).unwrap_or(&value))
}

pub(super) fn read_value(body: &Value) -> Option<ErrorReply> {
    let error = body.get("error")?.as_object()?;
    let word = error.get("status").and_then(Value::as_str);
    let number = error.get("code").and_then(Value::as_u64);
    let reason = error
        .get("details")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .find_map(|detail| detail.get("reason")?.as_str());
    let kind = if reason.is_some_and(|reason| KEY_REASONS.contains(&reason)) {
        ErrorKind::Authentication
    } else {
        let exact =
            |row: &&(u16, &str, ErrorKind)| Some(u64::from(row.0)) == number && Some(row.1) == word;
        let near = |row: &&(u16, &str, ErrorKind)| {
            word.map_or(Some(u64::from(row.0)) == number, |word| row.1 == word)
        };
        STATUSES
            .iter()
            .find(exact)
            .or_else(|| STATUSES.iter().filter(|row| row.0 != 402).find(near))
            .map_or(ErrorKind::Server, |row| row.2)
    };
    Some(ErrorReply {
        kind,
        message: error
            .get("message")
            .and_then(Value::as_str)
            .unwrap_or("the vendor gave no reason")
            .to_owned(),
        code: reason.or(word).map(str::to_owned),
        param: None,
    })
}

pub(crate) fn write_error(error: &ErrorReply) -> Vec<u8> {
    value(error).to_string().into_bytes()
}

pub(super) fn value(error: &ErrorReply) -> Value {
    let (code, status) = if error
        .code
        .as_deref()
        .is_some_and(|code| KEY_REASONS.contains(&code))
    {
        (400, "INVALID_ARGUMENT")
    } else {
        STATUSES
            .iter()
            .find(|row| row.2 == error.kind)
            .map_or((500, "INTERNAL"), |row| (row.0, row.1))
    };
    let mut body = json!({"code": code, "message": error.message, "status": status});
    if let Some(reason) = error.code.as_deref().filter(|code| *code != status) {
        body["details"] = json!([{
            "@type": "type.googleapis.com/google.rpc.ErrorInfo",
            "reason": reason,
        }]);
    }
    json!({ "error": body })
}
