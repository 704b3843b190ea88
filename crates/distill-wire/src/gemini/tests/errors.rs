//! Errors, read and written.

use serde_json::{Value, json};

use super::DIALECT;
use crate::{ErrorKind, gemini::read_error};

#[test]
fn errors_come_back_in_kind() {
    for (kind, code) in [
        (ErrorKind::InvalidRequest, 400),
        (ErrorKind::Authentication, 401),
        (ErrorKind::Billing, 402),
        (ErrorKind::Permission, 403),
        (ErrorKind::NotFound, 404),
        (ErrorKind::TooLarge, 413),
        (ErrorKind::RateLimit, 429),
        (ErrorKind::Server, 500),
        (ErrorKind::Overloaded, 503),
        (ErrorKind::Timeout, 504),
    ] {
        let error = crate::ErrorReply {
            kind,
            message: "m".into(),
            code: None,
            param: None,
        };
        let body = DIALECT.write_error(&error);
        let value: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(value["error"]["code"], code);
        assert_eq!(read_error(&body).unwrap().kind, kind);
    }
    let key = json!([{"error": {"code": 400, "message": "m", "status": "INVALID_ARGUMENT",
        "details": [{"reason": "API_KEY_INVALID"}]}}]);
    let read = read_error(key.to_string().as_bytes()).unwrap();
    assert_eq!(read.kind, ErrorKind::Authentication);
    assert_eq!(read_error(b"busy"), None);
}
