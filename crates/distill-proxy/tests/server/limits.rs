//! Bounds on what callers send.

use serde_json::json;

use crate::fixture::{Fixture, chat, json_of};

#[tokio::test]
async fn bodies_have_bounds_of_the_server_and_of_the_route() {
    let fixture = Fixture::with("security: {max_body: 4KiB}\n").await;
    let mut long = chat("fast");
    long["messages"][0]["content"] = "x".repeat(5000).into();
    let body = json_of(fixture.post("/v1/chat/completions", &long).await, 413).await;
    assert!(
        body["error"]["message"].as_str().unwrap().contains("4096"),
        "{body}"
    );
    let anthropic = json!({"model": "fast", "max_tokens": 1, "messages": [{"role": "user", "content": "x".repeat(5000)}]});
    let body = json_of(fixture.post("/v1/messages", &anthropic).await, 413).await;
    assert_eq!(body["error"]["type"], "request_too_large");
    json_of(
        fixture.post("/v1/chat/completions", &chat("fast")).await,
        200,
    )
    .await;
}
