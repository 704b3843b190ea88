//! How many tokens a request has, where no vendor counts them.

use axum::{
    body::{Body, Bytes},
    http::{HeaderValue, Response},
};
use distill_wire::{Block, Dialect, ImageSource, Request};
use serde_json::json;

use super::service::json_response;
use crate::problem::Problem;

/// Bytes of a token of usual text.
const BYTES_PER_TOKEN: u64 = 4;
/// What a turn and a tool cost beside their text.
const PER_TURN: u64 = 4;
/// An image of about a megapixel, as Anthropic's documentation counts one.
const PER_IMAGE: u64 = 1_600;

/// Answers with an estimate, and says in a header that it is one.
///
/// # Errors
/// A [`Problem`] where the body is no request.
pub(crate) fn estimate(body: &Bytes) -> Result<Response<Body>, Problem> {
    let request = Dialect::Messages.read_request(body)?;
    let mut response = json_response(&json!({"input_tokens": tokens(&request)}));
    response.headers_mut().insert(
        "x-distill-estimate",
        HeaderValue::from_static("4 bytes a token"),
    );
    Ok(response)
}

fn tokens(request: &Request) -> u64 {
    let turns = request
        .turns
        .iter()
        .map(|turn| PER_TURN + turn.blocks.iter().map(of_block).sum::<u64>());
    let tools = request.tools.iter().map(|tool| {
        let schema = tool
            .parameters
            .as_ref()
            .or(tool.vendor.as_ref())
            .map_or(0, |schema| of_bytes(schema.to_string().len()));
        let description = tool.description.as_deref().unwrap_or_default();
        PER_TURN + of_bytes(tool.name.len() + description.len()) + schema
    });
    request.system.iter().map(of_block).sum::<u64>() + turns.sum::<u64>() + tools.sum::<u64>()
}

fn of_block(block: &Block) -> u64 {
    match block {
        Block::Text { text, .. } | Block::Thinking { text, .. } | Block::Refusal { text, .. } => {
            of_bytes(text.len())
        }
        Block::Image { source, .. } => match source {
            ImageSource::Url(_) | ImageSource::Base64 { .. } | ImageSource::File(_) => PER_IMAGE,
        },
        Block::ToolCall {
            name, arguments, ..
        } => PER_TURN + of_bytes(name.len() + arguments.len()),
        Block::ToolResult { blocks, .. } => PER_TURN + blocks.iter().map(of_block).sum::<u64>(),
        Block::RedactedThinking { data, .. } => of_bytes(data.len()),
        Block::Other(value) => of_bytes(value.to_string().len()),
    }
}

fn of_bytes(bytes: usize) -> u64 {
    (bytes as u64).div_ceil(BYTES_PER_TOKEN)
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
