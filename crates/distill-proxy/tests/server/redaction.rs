//! What a vendor and the ledger see of personal data, and what the caller gets back.

use std::sync::{Arc, Mutex};

use axum::{Json, Router, response::IntoResponse as _, routing::post};
use distill_ledger::RequestFilter;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::fixture::{CONFIG, Fixture, json_of, settings};

const TEXT: &str = "Write to ada@example.org about card 4111 1111 1111 1111.";

/// A vendor that says what it was told, whole or letter by letter, and remembers it.
async fn echo() -> (String, Arc<Mutex<Vec<String>>>) {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let ears = heard.clone();
    let answer = move |Json(body): Json<Value>| async move {
        ears.lock().unwrap().push(body.to_string());
        let said = body["messages"].as_array().unwrap().last().unwrap()["content"]
            .as_str()
            .unwrap()
            .to_owned();
        let usage = json!({"prompt_tokens": 5, "completion_tokens": 5, "total_tokens": 10});
        if body["stream"] != true {
            return Json(json!({
                "id": "echo-1", "object": "chat.completion", "created": 1, "model": "echo",
                "choices": [{"index": 0, "finish_reason": "stop",
                    "message": {"role": "assistant", "content": said}}],
                "usage": usage,
            }))
            .into_response();
        }
        let chunk = |delta: Value, finish: Value, usage: Value| {
            let chunk = json!({
                "id": "echo-1", "object": "chat.completion.chunk", "created": 1, "model": "echo",
                "choices": [{"index": 0, "delta": delta, "finish_reason": finish}], "usage": usage,
            });
            format!("data: {chunk}\n\n")
        };
        let mut text: String = said
            .chars()
            .map(|letter| {
                chunk(
                    json!({"content": letter.to_string()}),
                    Value::Null,
                    Value::Null,
                )
            })
            .collect();
        text.push_str(&chunk(json!({}), "stop".into(), usage));
        text.push_str("data: [DONE]\n\n");
        ([("content-type", "text/event-stream")], text).into_response()
    };
    let router = Router::new().route("/v1/chat/completions", post(answer));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}/v1", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    (base, heard)
}

/// The text of a streamed chat completion.
fn joined(stream: &str) -> String {
    stream
        .lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .filter_map(|data| serde_json::from_str::<Value>(data).ok())
        .filter_map(|chunk| {
            chunk["choices"][0]["delta"]["content"]
                .as_str()
                .map(str::to_owned)
        })
        .collect()
}

#[tokio::test]
async fn a_vendor_never_sees_what_is_taken_out_and_the_caller_gets_it_back() {
    let (base, heard) = echo().await;
    let text = CONFIG.replace(
        "vendors:\n",
        &format!("vendors:\n  echo: {{like: vllm, base_url: \"{base}\", price: {{input: 1, output: 1}}}}\n"),
    );
    let text = format!(
        "{text}  back: {{members: [echo/m], store_bodies: true, redact: {{sent: true, stored: true, reversible: true}}}}\n  \
         gone: {{members: [echo/m], redact: {{sent: true}}}}\n"
    );
    let fixture = Fixture::of(&text, settings(), None).await;
    let body = |model: &str, stream: bool| json!({"model": model, "stream": stream, "messages": [{"role": "user", "content": TEXT}]});
    let (fixture, path) = (&fixture, "/v1/chat/completions");
    let post = |body: Value| async move { fixture.post(path, &body).await };
    let whole = json_of(post(body("back", false)).await, 200).await;
    assert_eq!(whole["choices"][0]["message"]["content"], TEXT);
    let streamed = post(body("back", true)).await.text().await.unwrap();
    assert_eq!(joined(&streamed), TEXT, "{streamed}");
    assert!(streamed.trim_end().ends_with("[DONE]"), "{streamed}");
    // Of two streamed replies one would be lost on the way back.
    let mut two = body("back", true);
    two["n"] = 2.into();
    assert_eq!(json_of(post(two).await, 400).await["error"]["param"], "n");
    let one_way = json_of(post(body("gone", false)).await, 200).await;
    let said = one_way["choices"][0]["message"]["content"]
        .as_str()
        .unwrap();
    assert!(
        said.contains("<EMAIL_1>") && !said.contains("ada@"),
        "{said}"
    );
    // In another dialect, too.
    let anthropic =
        json!({"model": "back", "max_tokens": 99, "messages": [{"role": "user", "content": TEXT}]});
    let message = json_of(fixture.post("/v1/messages", &anthropic).await, 200).await;
    assert_eq!(message["content"][0]["text"], TEXT);
    let heard = heard.lock().unwrap().clone();
    assert_eq!(heard.len(), 4);
    for body in heard {
        assert!(body.contains("<EMAIL_1>"), "{body}");
        assert!(
            !body.contains("ada@example.org") && !body.contains("4111"),
            "{body}"
        );
    }
    let mut kept = Vec::new();
    for _ in 0..300 {
        kept.clear();
        let records = fixture.ledger.records();
        for row in records.requests(&RequestFilter::default()).await.unwrap() {
            kept.extend(records.body(&row.facts.id).await.unwrap());
        }
        if kept.len() == 3 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert_eq!(kept.len(), 3, "of the one route that keeps bodies");
    for body in kept {
        let text = format!("{} {}", body.request, body.reply.unwrap_or_default());
        assert!(
            !text.contains("ada@example.org") && !text.contains("4111"),
            "{text}"
        );
    }
}
