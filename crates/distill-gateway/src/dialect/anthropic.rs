//! Anthropic messages.

use distill_chat::{ChatRequest, Completion, FinishReason, Role, Usage};
use distill_wire::{Malformed, SchemaSupport};
use serde_json::{Value, json};

use super::{Reply, Wire, count, string};

pub(super) fn body(request: &ChatRequest, wire: Wire<'_>) -> Value {
    let system: Vec<&str> = request
        .messages
        .iter()
        .filter(|message| message.role == Role::System)
        .map(|message| message.content.as_str())
        .collect();
    let messages: Vec<Value> = request
        .messages
        .iter()
        .filter(|message| message.role != Role::System)
        .map(|message| json!({"role": message.role.as_str(), "content": message.content}))
        .collect();
    let mut body = json!({
        "model": wire.model,
        "max_tokens": wire.max_tokens,
        "messages": messages,
    });
    if !system.is_empty() {
        body["system"] = system.join("\n\n").into();
    }
    if let Some(temperature) = request.temperature.filter(|_| !wire.fixed_temperature) {
        body["temperature"] = temperature.into();
    }
    if !request.stop.is_empty() {
        body["stop_sequences"] = request.stop.clone().into();
    }
    if let Some(schema) = &request.response_schema
        && wire.quirks.schema == SchemaSupport::JsonSchema
    {
        body["output_config"] = json!({"format": {"type": "json_schema", "schema": schema}});
    }
    body
}

pub(super) fn parse(body: &Value) -> Result<Reply, Malformed> {
    let blocks = body
        .get("content")
        .and_then(Value::as_array)
        .ok_or(Malformed::Missing("content"))?;
    let text = blocks
        .iter()
        .filter(|block| block.get("type").and_then(Value::as_str) == Some("text"))
        .filter_map(|block| string(block, "text"))
        .collect();
    let finish = match body.get("stop_reason").and_then(Value::as_str) {
        Some("end_turn" | "stop_sequence") => FinishReason::Stop,
        Some("max_tokens" | "model_context_window_exceeded") => FinishReason::Length,
        Some("refusal") => FinishReason::ContentFilter,
        Some("tool_use") => FinishReason::ToolCalls,
        Some(other) => FinishReason::Other(other.to_owned()),
        None => return Err(Malformed::Missing("stop reason")),
    };
    Ok(Reply {
        completion: Completion {
            text,
            finish,
            usage: Usage {
                // Already disjoint: cached tokens stand beside `input_tokens`, not in it.
                input_tokens: count(body, "/usage/input_tokens"),
                cached_input_tokens: count(body, "/usage/cache_read_input_tokens"),
                cache_write_tokens: count(body, "/usage/cache_creation_input_tokens"),
                output_tokens: count(body, "/usage/output_tokens"),
                // Thinking is counted inside the output and not told apart.
                reasoning_tokens: None,
            },
            model: string(body, "model").ok_or(Malformed::Missing("model"))?,
            logprob: None,
        },
        response_id: string(body, "id"),
    })
}
