//! The wire formats from the provider's side: reading a request, writing an answer.

use axum::body::Bytes;
use distill_chat::FinishReason;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::{Dialect, request_hash::hex};

/// A request as far as the provider cares.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) model: String,
    /// The last user message.
    pub(super) prompt: String,
    pub(super) input_bytes: usize,
    pub(super) max_tokens: Option<u64>,
    pub(super) stream: bool,
    /// Whether a stream ends with a chunk of usage (`stream_options`).
    pub(super) usage_chunk: bool,
    pub(super) hash: String,
}

/// An answer, before it is put into a wire format.
#[derive(Debug)]
pub(super) struct Spoken {
    pub(super) id: String,
    pub(super) model: String,
    pub(super) text: String,
    pub(super) finish: FinishReason,
    pub(super) input_tokens: u64,
    pub(super) output_tokens: u64,
}

/// Reads a request body; the error is what a vendor would say.
pub(super) fn read(dialect: Dialect, body: &[u8]) -> Result<Asked, String> {
    let mut value: Value =
        serde_json::from_slice(body).map_err(|error| format!("the body is not JSON: {error}"))?;
    let fields = value.as_object_mut().ok_or("the body is not an object")?;
    let stream = fields.get("stream").and_then(Value::as_bool) == Some(true);
    let usage_chunk = fields
        .get("stream_options")
        .and_then(|options| options.get("include_usage"))
        .and_then(Value::as_bool)
        == Some(true);
    // How an answer is delivered does not make it another question.
    fields.shift_remove("stream");
    fields.shift_remove("stream_options");
    let model = fields
        .get("model")
        .and_then(Value::as_str)
        .ok_or("`model` is missing")?
        .to_owned();
    let messages = fields
        .get("messages")
        .and_then(Value::as_array)
        .ok_or("`messages` is missing")?;
    let prompt = messages
        .iter()
        .rev()
        .find(|message| message.get("role").and_then(Value::as_str) == Some("user"))
        .and_then(|message| content(message.get("content")?))
        .ok_or("there is no user message with text")?;
    let system = fields.get("system").and_then(content).unwrap_or_default();
    let input_bytes = system.len()
        + messages
            .iter()
            .filter_map(|message| content(message.get("content")?))
            .map(|text| text.len())
            .sum::<usize>();
    let max_tokens = fields
        .get("max_completion_tokens")
        .or_else(|| fields.get("max_tokens"))
        .and_then(Value::as_u64);
    if dialect == Dialect::Messages && max_tokens.is_none() {
        return Err("max_tokens: Field required".to_owned());
    }
    let mut hash = Sha256::new();
    hash.update(dialect.as_str());
    hash.update([0]);
    hash.update(value.to_string());
    Ok(Asked {
        model,
        prompt,
        input_bytes,
        max_tokens,
        stream,
        usage_chunk,
        hash: hex(&hash.finalize()),
    })
}

/// A string, or the text parts of a list.
fn content(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Array(parts) => Some(
            parts
                .iter()
                .filter_map(|part| part.get("text").and_then(Value::as_str))
                .collect::<Vec<_>>()
                .join(""),
        ),
        _ => None,
    }
}

/// An error body.
pub(super) fn error(dialect: Dialect, kind: &str, message: &str) -> Value {
    match dialect {
        Dialect::Messages => {
            json!({"type": "error", "error": {"type": kind, "message": message}})
        }
        _ => json!({"error": {"message": message, "type": kind, "param": null, "code": kind}}),
    }
}

fn reason(dialect: Dialect, finish: &FinishReason) -> &'static str {
    match (dialect, finish) {
        (Dialect::Messages, FinishReason::Length) => "max_tokens",
        (Dialect::Messages, _) => "end_turn",
        (_, FinishReason::Length) => "length",
        (_, _) => "stop",
    }
}

fn openai_usage(spoken: &Spoken) -> Value {
    json!({
        "prompt_tokens": spoken.input_tokens,
        "completion_tokens": spoken.output_tokens,
        "total_tokens": spoken.input_tokens + spoken.output_tokens,
        "prompt_tokens_details": {"cached_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0},
    })
}

/// A whole answer.
pub(super) fn whole(dialect: Dialect, spoken: &Spoken) -> Value {
    let reason = reason(dialect, &spoken.finish);
    match dialect {
        Dialect::Messages => json!({
            "id": spoken.id,
            "type": "message",
            "role": "assistant",
            "model": spoken.model,
            "content": [{"type": "text", "text": spoken.text}],
            "stop_reason": reason,
            "stop_sequence": null,
            "usage": {
                "input_tokens": spoken.input_tokens,
                "cache_creation_input_tokens": 0,
                "cache_read_input_tokens": 0,
                "output_tokens": spoken.output_tokens,
            },
        }),
        _ => json!({
            "id": spoken.id,
            "object": "chat.completion",
            "created": 0,
            "model": spoken.model,
            "choices": [{
                "index": 0,
                "message": {"role": "assistant", "content": spoken.text, "refusal": null},
                "logprobs": null,
                "finish_reason": reason,
            }],
            "usage": openai_usage(spoken),
        }),
    }
}

/// The events of a streamed answer: the text word by word.
pub(super) fn events(dialect: Dialect, spoken: &Spoken, usage_chunk: bool) -> Vec<Bytes> {
    let words: Vec<&str> = spoken.text.split_inclusive(' ').collect();
    match dialect {
        Dialect::Messages => anthropic_events(spoken, &words),
        _ => openai_events(spoken, &words, usage_chunk),
    }
}

fn openai_events(spoken: &Spoken, words: &[&str], usage_chunk: bool) -> Vec<Bytes> {
    let chunk = |choices: Value, usage: Value| {
        let event = json!({
            "id": spoken.id, "object": "chat.completion.chunk", "created": 0,
            "model": spoken.model, "choices": choices, "usage": usage,
        });
        Bytes::from(format!("data: {event}\n\n"))
    };
    let delta = |delta: Value, finish: Value| {
        let choice =
            json!([{"index": 0, "delta": delta, "logprobs": null, "finish_reason": finish}]);
        chunk(choice, Value::Null)
    };
    let mut events = vec![delta(
        json!({"role": "assistant", "content": ""}),
        Value::Null,
    )];
    events.extend(
        words
            .iter()
            .map(|word| delta(json!({"content": word}), Value::Null)),
    );
    events.push(delta(
        json!({}),
        reason(Dialect::ChatCompletions, &spoken.finish).into(),
    ));
    if usage_chunk {
        events.push(chunk(json!([]), openai_usage(spoken)));
    }
    events.push(Bytes::from_static(b"data: [DONE]\n\n"));
    events
}

fn anthropic_events(spoken: &Spoken, words: &[&str]) -> Vec<Bytes> {
    let event = |kind: &str, mut data: Value| {
        data["type"] = kind.into();
        Bytes::from(format!("event: {kind}\ndata: {data}\n\n"))
    };
    let mut events = vec![
        event(
            "message_start",
            json!({"type": "", "message": {
                "id": spoken.id, "type": "message", "role": "assistant", "model": spoken.model,
                "content": [], "stop_reason": null, "stop_sequence": null,
                "usage": {"input_tokens": spoken.input_tokens, "output_tokens": 1},
            }}),
        ),
        event(
            "content_block_start",
            json!({"type": "", "index": 0, "content_block": {"type": "text", "text": ""}}),
        ),
    ];
    events.extend(words.iter().map(|word| {
        event(
            "content_block_delta",
            json!({"type": "", "index": 0, "delta": {"type": "text_delta", "text": word}}),
        )
    }));
    events.push(event("content_block_stop", json!({"type": "", "index": 0})));
    events.push(event(
        "message_delta",
        json!({
            "type": "",
            "delta": {"stop_reason": reason(Dialect::Messages, &spoken.finish), "stop_sequence": null},
            "usage": {"output_tokens": spoken.output_tokens},
        }),
    ));
    events.push(event("message_stop", json!({"type": ""})));
    events
}
