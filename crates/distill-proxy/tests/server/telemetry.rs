//! What a collector of traces and a scraper of metrics see of a request.

use std::sync::{Arc, Mutex};

use axum::{Router, body::Bytes, routing::post};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::fixture::{Fixture, chat, eventually, json_of};

/// A collector that keeps what it is sent.
async fn collector() -> (String, Arc<Mutex<Vec<Value>>>) {
    let got = Arc::new(Mutex::new(Vec::new()));
    let keep = got.clone();
    let router = Router::new().route(
        "/v1/traces",
        post(move |body: Bytes| async move {
            keep.lock()
                .unwrap()
                .push(serde_json::from_slice(&body).unwrap());
        }),
    );
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    (address, got)
}

#[tokio::test]
async fn a_request_and_its_failover_are_one_trace_below_the_callers() {
    let (address, got) = collector().await;
    let fixture = Fixture::with(&format!(
        "  shaky: [sim/faulty, ant/claude]\ntelemetry: {{otlp: {{endpoint: \"{address}\"}}}}\n"
    ))
    .await;
    let response = fixture
        .request(Method::POST, "/v1/chat/completions")
        .bearer_auth(fixture.key.expose())
        .header(
            "traceparent",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        )
        .json(&chat("shaky"))
        .send()
        .await
        .unwrap();
    assert_eq!(response.headers()["x-distill-target"], "ant/claude");
    json_of(response, 200).await;
    let body = eventually(|| got.lock().unwrap().first().cloned()).await;
    let spans = body["resourceSpans"][0]["scopeSpans"][0]["spans"]
        .as_array()
        .unwrap();
    assert_eq!(
        spans.len(),
        4,
        "the request, a server error, its retry, the answer"
    );
    assert_eq!(spans[0]["parentSpanId"], "00f067aa0ba902b7");
    assert!(
        spans
            .iter()
            .all(|span| span["traceId"] == "4bf92f3577b34da6a3ce929d0e0e4736")
    );
    let answer = &spans[3];
    let has = |key: &str, value: Value| {
        answer["attributes"]
            .as_array()
            .unwrap()
            .contains(&json!({"key": key, "value": value}))
    };
    assert!(
        has("gen_ai.request.model", json!({"stringValue": "claude"})),
        "{answer}"
    );
    assert!(
        has("distill.simulated", json!({"boolValue": true})),
        "{answer}"
    );
    let metrics = fixture.get("/metrics").await.text().await.unwrap();
    assert!(
        metrics.contains("distill_attempts_total{target=\"ant/claude\",outcome=\"answered\",simulated=\"true\"} 1"),
        "{metrics}"
    );
    assert!(
        metrics.contains("distill_usd_total{target=\"ant/claude\",simulated=\"true\"}"),
        "{metrics}"
    );
}
