//! A provider that answers anything, in every dialect, whole and streamed, with faults.

use serde_json::{Value, json};

use super::{client, instant};
use crate::{
    Usd,
    simulate::{FaultShares, SimulatedProvider, SimulatorSettings},
};

async fn improvising(faults: FaultShares) -> SimulatedProvider {
    let mut settings = SimulatorSettings {
        improvise: true,
        ..instant(faults)
    };
    settings.models[0].reasoning = 0.5;
    SimulatedProvider::builder(Vec::new(), settings)
        .start()
        .await
        .unwrap()
}

/// The whole body, or what came of it before the connection broke.
async fn post(provider: &SimulatedProvider, path: &str, body: &Value) -> (String, bool) {
    use futures_util::StreamExt;
    let url = format!("http://{}{path}", provider.address());
    let response = client()
        .post(url)
        .body(body.to_string())
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), 200);
    let mut stream = response.bytes_stream();
    let mut text = String::new();
    while let Some(piece) = stream.next().await {
        let Ok(piece) = piece else {
            return (text, false);
        };
        text.push_str(std::str::from_utf8(&piece).unwrap());
    }
    (text, true)
}

const SCHEMA: &str =
    r#"{"type":"object","properties":{"city":{"type":"string"}},"required":["city"]}"#;

/// Path, body and the body when it streams, of each dialect.
fn dialects(words: &str, tools: bool) -> Vec<(&'static str, &'static str, Value)> {
    let schema: Value = serde_json::from_str(SCHEMA).unwrap();
    let mut bodies = vec![
        (
            "/v1/chat/completions",
            "/v1/chat/completions",
            json!({"model": "frontier", "messages": [{"role": "user", "content": words}],
                "tools": [{"type": "function", "function": {"name": "get_weather", "parameters": schema}}]}),
        ),
        (
            "/v1/messages",
            "/v1/messages",
            json!({"model": "frontier", "max_tokens": 500, "messages": [{"role": "user", "content": words}],
                "tools": [{"name": "get_weather", "input_schema": schema}]}),
        ),
        (
            "/v1/responses",
            "/v1/responses",
            json!({"model": "frontier", "input": words,
                "tools": [{"type": "function", "name": "get_weather", "parameters": schema}]}),
        ),
        (
            "/v1beta/models/frontier:generateContent",
            "/v1beta/models/frontier:streamGenerateContent?alt=sse",
            json!({"contents": [{"role": "user", "parts": [{"text": words}]}],
                "tools": [{"functionDeclarations": [{"name": "get_weather", "parameters": schema}]}]}),
        ),
    ];
    if !tools {
        for (_, _, body) in &mut bodies {
            body.as_object_mut().unwrap().shift_remove("tools");
        }
    }
    bodies
}

/// Every string in the document, under any of these keys, joined in order.
fn gathered(value: &Value, keys: &[&str], into: &mut String) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                match value {
                    Value::String(text) if keys.contains(&key.as_str()) => into.push_str(text),
                    _ => gathered(value, keys, into),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| gathered(item, keys, into)),
        _ => {}
    }
}

/// The data of the events, without those that repeat what came before them.
fn pieces(stream: &str) -> Vec<Value> {
    stream
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line.strip_prefix("data: ")?).ok())
        .filter(|event| {
            let kind = event["type"].as_str().unwrap_or_default();
            ![".done", ".completed"].iter().any(|end| kind.contains(end))
        })
        .collect()
}

#[tokio::test]
async fn each_dialect_streams_the_words_that_it_says_whole() {
    let provider = improvising(FaultShares::default()).await;
    for (path, stream_path, mut body) in dialects("why is the build slow", false) {
        let (whole, _) = post(&provider, path, &body).await;
        body["stream"] = true.into();
        let (stream, ended) = post(&provider, stream_path, &body).await;
        assert!(ended);
        let (mut said, mut streamed) = (String::new(), String::new());
        gathered(
            &serde_json::from_str(&whole).unwrap(),
            &["text", "content"],
            &mut said,
        );
        for event in pieces(&stream) {
            // A delta is a string in one dialect and an object in the others.
            let keys: &[&str] = if path == "/v1/responses" {
                &["delta"]
            } else {
                &["text", "content"]
            };
            gathered(&event, keys, &mut streamed);
        }
        assert!(said.starts_with("Simulated answer."), "{path}: {whole}");
        assert_eq!(said, streamed, "{path}");
    }
}

#[tokio::test]
async fn each_dialect_calls_the_tool_that_it_is_told_to_with_arguments_that_fit() {
    let provider = improvising(FaultShares::default()).await;
    for (path, stream_path, mut body) in dialects("get_weather for \"Oslo\"", true) {
        let (whole, _) = post(&provider, path, &body).await;
        let whole: Value = serde_json::from_str(&whole).unwrap();
        let (arguments, end) = match path {
            "/v1/messages" => (whole["content"][0]["input"].clone(), "/stop_reason"),
            "/v1/responses" => (whole["output"][0]["arguments"].clone(), "/output/0/type"),
            "/v1/chat/completions" => (
                whole["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"].clone(),
                "/choices/0/finish_reason",
            ),
            _ => (
                whole["candidates"][0]["content"]["parts"][0]["functionCall"]["args"].clone(),
                "/candidates/0/finishReason",
            ),
        };
        let arguments = match arguments {
            Value::String(text) => serde_json::from_str(&text).unwrap(),
            other => other,
        };
        assert_eq!(arguments, json!({"city": "Oslo"}), "{path}: {whole}");
        let end = whole.pointer(end).unwrap().as_str().unwrap();
        assert!(
            ["tool_use", "function_call", "tool_calls", "STOP"].contains(&end),
            "{path}: {end}"
        );
        body["stream"] = true.into();
        let (stream, _) = post(&provider, stream_path, &body).await;
        assert!(stream.contains("get_weather"), "{path}: {stream}");
        let mut streamed = String::new();
        for event in pieces(&stream) {
            gathered(
                &event,
                &["arguments", "partial_json", "delta", "city"],
                &mut streamed,
            );
        }
        assert!(streamed.contains("Oslo"), "{path}: {stream}");
    }
}

#[tokio::test]
async fn reasoning_is_counted_in_what_is_billed() {
    let provider = improvising(FaultShares::default()).await;
    let (_, _, body) = dialects("think about it", false).remove(0);
    let (text, _) = post(&provider, "/v1/chat/completions", &body).await;
    let usage = serde_json::from_str::<Value>(&text).unwrap()["usage"].clone();
    let count = |pointer: &str| usage.pointer(pointer).unwrap().as_u64().unwrap();
    let reasoning = count("/completion_tokens_details/reasoning_tokens");
    let completion = count("/completion_tokens");
    assert!(reasoning > 0 && reasoning * 2 <= completion, "{usage}");
    let row = &provider.bill().rows[0];
    assert_eq!(row.output_tokens, completion);
    assert_eq!(row.input_tokens, count("/prompt_tokens"));
}

#[tokio::test]
async fn faults_in_a_stream_come_before_the_content_or_after_it_and_are_billed_so() {
    let cases = [
        (
            FaultShares {
                early_error: 1.0,
                ..FaultShares::default()
            },
            "early_error",
            false,
            true,
        ),
        (
            FaultShares {
                late_error: 1.0,
                ..FaultShares::default()
            },
            "late_error",
            true,
            true,
        ),
        (
            FaultShares {
                cut: 1.0,
                ..FaultShares::default()
            },
            "cut",
            true,
            false,
        ),
    ];
    for (faults, name, content, ends) in cases {
        let provider = improvising(faults).await;
        for (_, path, mut body) in dialects("why is the build slow", false) {
            body["stream"] = true.into();
            let (stream, ended) = post(&provider, path, &body).await;
            assert_eq!(
                stream.contains("Simulated"),
                content,
                "{name} {path}: {stream}"
            );
            assert_eq!(ended, ends, "{name} {path}");
            assert_eq!(
                stream.contains("the simulated server failed"),
                ends,
                "{name} {path}"
            );
            for whole in ["[DONE]", "message_stop", "response.completed", "\"STOP\""] {
                assert!(!stream.contains(whole), "{name} {path}: {stream}");
            }
        }
        let bill = provider.bill();
        assert_eq!(bill.by_outcome[name].requests, 4);
        assert_eq!(bill.billed_usd > Usd::ZERO, content, "{name}");
        let whole = dialects("why is the build slow", false).remove(0).2;
        let (text, ended) = post(&provider, "/v1/chat/completions", &whole).await;
        assert_eq!(
            (ended, text.contains("error")),
            (ends, ends),
            "{name}: {text}"
        );
    }
}

#[tokio::test]
async fn json_is_made_up_to_its_schema_and_the_limit_cuts_text() {
    let provider = improvising(FaultShares::default()).await;
    let mut body = dialects("which city is meant by \"Oslo\"?", false)
        .remove(0)
        .2;
    let schema: Value = serde_json::from_str(SCHEMA).unwrap();
    body["response_format"] =
        json!({"type": "json_schema", "json_schema": {"name": "place", "schema": schema}});
    let content = async |body: &Value| {
        let (text, _) = post(&provider, "/v1/chat/completions", body).await;
        let answer: Value = serde_json::from_str(&text).unwrap();
        (
            answer["choices"][0]["message"]["content"]
                .as_str()
                .unwrap()
                .to_owned(),
            answer["choices"][0]["finish_reason"]
                .as_str()
                .unwrap()
                .to_owned(),
        )
    };
    assert_eq!(content(&body).await.0, r#"{"city":"Oslo"}"#);
    body["max_tokens"] = 2.into();
    assert_eq!(
        content(&body).await,
        (r#"{"city":"#.to_owned(), "length".to_owned())
    );
}

#[tokio::test]
async fn vectors_come_one_a_text_and_are_billed() {
    let provider = improvising(FaultShares::default()).await;
    let body = json!({"model": "cheap", "input": ["reset my password", "reset the password"], "dimensions": 64});
    let (text, _) = post(&provider, "/v1/embeddings", &body).await;
    let answer: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(answer["data"][1]["embedding"].as_array().unwrap().len(), 64);
    assert_eq!(answer["data"][1]["index"], 1);
    assert_eq!(answer["usage"]["total_tokens"], 10);
    assert_eq!(provider.bill().rows[0].input_tokens, 10);
    let body = json!({"model": "cheap", "input": "x", "encoding_format": "base64"});
    let (text, _) = post(&provider, "/v1/embeddings", &body).await;
    let answer: Value = serde_json::from_str(&text).unwrap();
    // 256 numbers of 4 bytes.
    assert_eq!(answer["data"][0]["embedding"].as_str().unwrap().len(), 1368);
}

#[tokio::test]
async fn tokens_are_counted_as_they_are_billed_and_free_of_charge() {
    let provider = improvising(FaultShares::default()).await;
    let mut body = dialects("why is the build slow", true).remove(1).2;
    let (whole, _) = post(&provider, "/v1/messages", &body).await;
    let whole: Value = serde_json::from_str(&whole).unwrap();
    body.as_object_mut().unwrap().shift_remove("max_tokens");
    let (counted, _) = post(&provider, "/v1/messages/count_tokens", &body).await;
    let counted: Value = serde_json::from_str(&counted).unwrap();
    assert_eq!(counted["input_tokens"], whole["usage"]["input_tokens"]);
    assert_eq!(provider.bill().requests, 1);
}

#[tokio::test]
async fn a_bill_with_few_rows_still_counts_all() {
    let settings = SimulatorSettings {
        improvise: true,
        bill_rows: 3,
        ..instant(FaultShares::default())
    };
    let provider = SimulatedProvider::builder(Vec::new(), settings)
        .start()
        .await
        .unwrap();
    let body = dialects("hello", false).remove(0).2;
    for _ in 0..5 {
        post(&provider, "/v1/chat/completions", &body).await;
    }
    let bill = provider.bill();
    assert_eq!((bill.requests, bill.rows.len()), (5, 3));
    assert_eq!(bill.rows[2].attempt, 5);
    assert_eq!(bill.billed_usd, bill.rows[0].usd() * 5);
}
