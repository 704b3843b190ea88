//! Gemini: `generateContent`, and `streamGenerateContent` with `alt=sse`.

use axum::body::Bytes;
use distill_chat::FinishReason;
use serde_json::{Map, Value, json};

use super::{Events, Spoken};

/// Gemini says `STOP` for calls of tools too.
fn reason(finish: &FinishReason) -> &'static str {
    match finish {
        FinishReason::Length => "MAX_TOKENS",
        _ => "STOP",
    }
}

fn usage(spoken: &Spoken) -> Value {
    let mut usage = Map::new();
    usage.insert("promptTokenCount".to_owned(), spoken.input_tokens.into());
    let visible = spoken.output_tokens - spoken.reasoning_tokens;
    usage.insert("candidatesTokenCount".to_owned(), visible.into());
    if spoken.reasoning_tokens > 0 {
        let thoughts = spoken.reasoning_tokens.into();
        usage.insert("thoughtsTokenCount".to_owned(), thoughts);
    }
    let total = (spoken.input_tokens + spoken.output_tokens).into();
    usage.insert("totalTokenCount".to_owned(), total);
    usage.into()
}

fn calls(spoken: &Spoken) -> Vec<Value> {
    spoken
        .calls
        .iter()
        .map(|call| json!({"functionCall": {"name": call.name, "args": call.arguments_value()}}))
        .collect()
}

fn answer(spoken: &Spoken, parts: Vec<Value>, last: bool) -> Value {
    let mut candidate = json!({"content": {"parts": parts, "role": "model"}, "index": 0});
    if last {
        candidate["finishReason"] = reason(&spoken.finish).into();
    }
    json!({
        "candidates": [candidate],
        "usageMetadata": usage(spoken),
        "modelVersion": spoken.model,
        "responseId": spoken.id,
    })
}

pub(super) fn whole(spoken: &Spoken) -> Value {
    let mut parts = Vec::new();
    if !spoken.text.is_empty() || spoken.calls.is_empty() {
        parts.push(json!({"text": spoken.text}));
    }
    parts.extend(calls(spoken));
    answer(spoken, parts, true)
}

pub(super) fn events(spoken: &Spoken) -> Events {
    let mut parts: Vec<Value> = spoken
        .words()
        .iter()
        .map(|word| json!({"text": word}))
        .collect();
    parts.extend(calls(spoken));
    if parts.is_empty() {
        parts.push(json!({"text": ""}));
    }
    let count = parts.len();
    let all = parts
        .into_iter()
        .enumerate()
        .map(|(index, part)| {
            let event = answer(spoken, vec![part], index + 1 == count);
            Bytes::from(format!("data: {event}\r\n\r\n"))
        })
        .collect();
    Events {
        all,
        before_content: 0,
    }
}
