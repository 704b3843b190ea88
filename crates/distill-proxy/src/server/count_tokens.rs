//! How many tokens a request has, where no vendor counts them.

use axum::{
    body::{Body, Bytes},
    http::{HeaderValue, Response},
};
use distill_wire::Dialect;
use serde_json::json;

use super::service::json_response;
use crate::{forward::estimated_tokens, problem::Problem};

/// Answers with an estimate, and says in a header that it is one.
///
/// # Errors
/// A [`Problem`] where the body is no request.
pub(crate) fn estimate(body: &Bytes) -> Result<Response<Body>, Problem> {
    let request = Dialect::Messages.read_request(body)?;
    let mut response = json_response(&json!({"input_tokens": estimated_tokens(&request)}));
    response.headers_mut().insert(
        "x-distill-estimate",
        HeaderValue::from_static("4 bytes a token"),
    );
    Ok(response)
}

#[cfg(test)]
mod tests {
    use axum::body::Bytes;
    use serde_json::json;

    use super::estimate;

    async fn counted(body: serde_json::Value) -> u64 {
        let response = estimate(&Bytes::from(body.to_string())).unwrap();
        assert!(response.headers().contains_key("x-distill-estimate"));
        let body = axum::body::to_bytes(response.into_body(), 1000)
            .await
            .unwrap();
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        body["input_tokens"].as_u64().unwrap()
    }

    #[tokio::test]
    async fn every_part_of_a_request_counts() {
        let mut body = json!({
            "model": "m", "max_tokens": 10,
            "messages": [{"role": "user", "content": "x".repeat(400)}],
        });
        let plain = counted(body.clone()).await;
        assert!((100..120).contains(&plain), "{plain}");
        body["system"] = "y".repeat(40).into();
        let with_system = counted(body.clone()).await;
        assert_eq!(with_system, plain + 10);
        body["tools"] = json!([{"name": "look", "description": "z".repeat(80),
            "input_schema": {"type": "object"}}]);
        assert!(counted(body.clone()).await > with_system + 20);
    }

    #[test]
    fn what_is_no_request_is_refused() {
        assert_eq!(estimate(&Bytes::from("[]")).unwrap_err().status, 400);
    }
}
