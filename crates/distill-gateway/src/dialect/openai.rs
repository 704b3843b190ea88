//! `OpenAI` chat completions, and what the compatible servers make of it.

use distill_chat::{ChatRequest, Completion, FinishReason, Usage};
use distill_wire::{Malformed, SchemaSupport, SeedParameter, TokenLimit};
use serde_json::{Value, json};

use super::{Reply, Wire, count, string};

pub(super) fn body(request: &ChatRequest, wire: Wire<'_>) -> Value {
    let messages: Vec<Value> = request
        .messages
        .iter()
        .map(|message| json!({"role": message.role.as_str(), "content": message.content}))
        .collect();
    let mut body = json!({"model": wire.model, "messages": messages});
    let limit = match wire.quirks.token_limit {
        TokenLimit::MaxTokens => "max_tokens",
        TokenLimit::MaxCompletionTokens => "max_completion_tokens",
    };
    body[limit] = wire.max_tokens.into();
    if let Some(temperature) = request.temperature.filter(|_| !wire.fixed_temperature) {
        body["temperature"] = temperature.into();
    }
    if !request.stop.is_empty() {
        body["stop"] = request.stop.clone().into();
    }
    let seed = match wire.quirks.seed {
        SeedParameter::Seed => Some("seed"),
        SeedParameter::RandomSeed => Some("random_seed"),
        SeedParameter::Unknown => None,
    };
    if let (Some(name), Some(seed)) = (seed, request.seed) {
        body[name] = seed.into();
    }
    if let Some(schema) = &request.response_schema {
        match wire.quirks.schema {
            SchemaSupport::JsonSchema => {
                body["response_format"] = json!({
                    "type": "json_schema",
                    "json_schema": {"name": "answer", "schema": schema},
                });
            }
            SchemaSupport::JsonObject => body["response_format"] = json!({"type": "json_object"}),
            SchemaSupport::None => {}
        }
    }
    body
}

pub(super) fn parse(body: &Value) -> Result<Reply, Malformed> {
    let choice = body
        .pointer("/choices/0")
        .ok_or(Malformed::Missing("choice"))?;
    let message = choice
        .get("message")
        .filter(|message| message.is_object())
        .ok_or(Malformed::Missing("message"))?;
    let refusal = string(message, "refusal");
    let finish = match (
        &refusal,
        choice.get("finish_reason").and_then(Value::as_str),
    ) {
        (Some(_), _) | (None, Some("content_filter")) => FinishReason::ContentFilter,
        (None, Some("stop")) => FinishReason::Stop,
        (None, Some("length")) => FinishReason::Length,
        (None, Some("tool_calls" | "function_call")) => FinishReason::ToolCalls,
        (None, Some(other)) => FinishReason::Other(other.to_owned()),
        (None, None) => return Err(Malformed::Missing("finish reason")),
    };
    let text = match (refusal, content(message)) {
        (Some(refusal), _) => refusal,
        (None, Some(text)) => text,
        (None, None) if finish == FinishReason::Stop => return Err(Malformed::Missing("content")),
        (None, None) => String::new(),
    };
    Ok(Reply {
        completion: Completion {
            text,
            finish,
            usage: usage(body),
            model: string(body, "model").ok_or(Malformed::Missing("model"))?,
            logprob: None,
        },
        response_id: string(body, "id"),
    })
}

/// A string, or parts of which those of type `text` are the reply (the rest is thinking).
fn content(message: &Value) -> Option<String> {
    match message.get("content")? {
        Value::String(text) => Some(text.clone()),
        Value::Array(parts) => Some(
            parts
                .iter()
                .filter(|part| part.get("type").and_then(Value::as_str) == Some("text"))
                .filter_map(|part| string(part, "text"))
                .collect(),
        ),
        _ => None,
    }
}

fn usage(body: &Value) -> Usage {
    let Some(usage) = body.get("usage") else {
        return Usage::default();
    };
    let prompt = count(usage, "/prompt_tokens");
    let completion = count(usage, "/completion_tokens");
    let cached = count(usage, "/prompt_tokens_details/cached_tokens")
        .or_else(|| count(usage, "/prompt_cache_hit_tokens"))
        .or_else(|| count(usage, "/cached_tokens"));
    let written = count(usage, "/prompt_tokens_details/cache_write_tokens");
    let reasoning = count(usage, "/completion_tokens_details/reasoning_tokens");
    // Most count reasoning inside the completion; xAI counts it beside. The total tells.
    let beside = matches!(
        (prompt, completion, reasoning, count(usage, "/total_tokens")),
        (Some(prompt), Some(completion), Some(reasoning), Some(total))
            if reasoning > 0 && total == prompt + completion + reasoning
    );
    Usage {
        input_tokens: prompt.map(|tokens| {
            tokens.saturating_sub(cached.unwrap_or_default() + written.unwrap_or_default())
        }),
        cached_input_tokens: cached,
        cache_write_tokens: written,
        output_tokens: completion.map(|tokens| {
            if beside {
                tokens
            } else {
                tokens.saturating_sub(reasoning.unwrap_or_default())
            }
        }),
        reasoning_tokens: reasoning,
    }
}
