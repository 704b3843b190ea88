//! Whole replies, and what streams share with them.

use distill_chat::Usage;
use serde_json::{Map, Value, json};

use super::{PLAN, write::call_value};
use crate::{Block, Dialect, Finish, Malformed, Reply, ReplyContext, TokenLogprob, rest::fill};

pub(crate) fn read_reply(body: &[u8]) -> Result<Reply, Malformed> {
    let value: Value =
        serde_json::from_slice(body).map_err(|error| Malformed::NotJson(error.to_string()))?;
    let Value::Object(mut answer) = value else {
        return Err(Malformed::NotJson("it is no object".into()));
    };
    let mut message = match answer.shift_remove("message") {
        Some(Value::Object(message)) => message,
        // An error is `{"message": "..."}`.
        Some(Value::String(error)) => return Err(Malformed::Error(error)),
        _ => return Err(Malformed::Missing("message")),
    };
    let reason = text(&mut answer, "finish_reason").ok_or(Malformed::Missing("finish reason"))?;
    let finish = finish(&reason);
    if finish_word(&finish) != reason {
        answer.insert("finish_reason".into(), reason.into());
    }
    let mut blocks = Vec::new();
    if let Some(plan) = text(&mut message, "tool_plan").filter(|plan| !plan.is_empty()) {
        blocks.push(Block::Thinking {
            text: plan,
            signature: None,
            id: Some(PLAN.to_owned()),
        });
    }
    for part in list(&mut message, "content") {
        blocks.push(read_part(part));
    }
    for call in list(&mut message, "tool_calls") {
        let said = |pointer: &str| {
            call.pointer(pointer)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        blocks.push(Block::ToolCall {
            id: said("/id"),
            name: said("/function/name"),
            arguments: said("/function/arguments"),
            cache: None,
            signature: None,
        });
    }
    message.shift_remove("role");
    let (usage, usage_rest) = take_usage(&mut answer);
    let logprobs = match answer.shift_remove("logprobs") {
        Some(Value::Array(pieces)) => Some(pieces.iter().flat_map(read_logprob).collect()),
        _ => None,
    };
    let id = text(&mut answer, "id");
    let mut extra = answer;
    if !message.is_empty() {
        extra.insert("message".into(), message.into());
    }
    if !usage_rest.is_empty() {
        extra.insert("usage".into(), usage_rest.into());
    }
    Ok(Reply {
        id,
        model: None,
        created: None,
        blocks,
        finish,
        stop_sequence: None,
        usage,
        logprobs,
        fingerprint: None,
        service_tier: None,
        source: Some(Dialect::Cohere),
        extra,
    })
}

fn text(map: &mut Map<String, Value>, name: &str) -> Option<String> {
    match map.get(name)? {
        Value::String(_) => match map.shift_remove(name) {
            Some(Value::String(text)) => Some(text),
            _ => None,
        },
        _ => None,
    }
}

fn list(map: &mut Map<String, Value>, name: &str) -> Vec<Value> {
    match map.shift_remove(name) {
        Some(Value::Array(items)) => items,
        Some(Value::String(text)) => vec![json!({"type": "text", "text": text})],
        _ => Vec::new(),
    }
}

fn read_part(part: Value) -> Block {
    let said = |name: &str| part.get(name).and_then(Value::as_str).map(str::to_owned);
    match (said("type").as_deref(), said("text"), said("thinking")) {
        (Some("text"), Some(text), _) => Block::text(text),
        (Some("thinking"), _, Some(text)) => Block::Thinking {
            text,
            signature: None,
            id: None,
        },
        _ => Block::Other(part),
    }
}

/// The vendor does not say which sequence it stopped at.
pub(super) fn finish(reason: &str) -> Finish {
    match reason {
        "COMPLETE" | "STOP_SEQUENCE" => Finish::Stop,
        "MAX_TOKENS" => Finish::Length,
        "TOOL_CALL" => Finish::ToolCalls,
        "ERROR_TOXIC" => Finish::ContentFilter,
        other => Finish::Other(other.to_owned()),
    }
}

pub(super) fn finish_word(finish: &Finish) -> &str {
    match finish {
        Finish::Stop | Finish::Pause => "COMPLETE",
        Finish::Length => "MAX_TOKENS",
        Finish::ToolCalls => "TOOL_CALL",
        Finish::ContentFilter => "ERROR_TOXIC",
        Finish::Other(word) => word,
    }
}

/// The usage that is billed, and what is not.
pub(super) fn take_usage(answer: &mut Map<String, Value>) -> (Usage, Map<String, Value>) {
    let Some(Value::Object(mut map)) = answer.shift_remove("usage") else {
        return (Usage::default(), Map::new());
    };
    let name = if map.contains_key("billed_units") {
        "billed_units"
    } else {
        "tokens"
    };
    let mut usage = Usage::default();
    if let Some(Value::Object(counts)) = map.get_mut(name) {
        let mut take = |name: &str| {
            // Counts come with or without a fraction.
            let count = counts.get(name)?.as_f64().filter(|count| *count >= 0.0)?;
            counts.shift_remove(name);
            Some(count as u64)
        };
        usage.input_tokens = take("input_tokens");
        usage.output_tokens = take("output_tokens");
        if counts.is_empty() {
            map.shift_remove(name);
        }
    }
    if name == "tokens"
        && let (Some(input), Some(cached)) = (
            usage.input_tokens,
            map.get("cached_tokens").and_then(Value::as_u64),
        )
        && cached <= input
    {
        usage.input_tokens = Some(input - cached);
        usage.cached_input_tokens = Some(cached);
        map.shift_remove("cached_tokens");
    }
    (usage, map)
}

pub(super) fn usage_value(usage: &Usage, rest: Option<&Value>) -> Option<Value> {
    let sum = |classes: &[Option<u64>]| {
        classes
            .iter()
            .any(Option::is_some)
            .then(|| classes.iter().flatten().sum::<u64>())
    };
    let input = sum(&[
        usage.input_tokens,
        usage.cached_input_tokens,
        usage.cache_write_tokens,
    ]);
    let output = sum(&[usage.output_tokens, usage.reasoning_tokens]);
    if input.is_none() && output.is_none() {
        return rest.cloned();
    }
    let mut counts = json!({});
    for (name, count) in [("input_tokens", input), ("output_tokens", output)] {
        if let Some(count) = count {
            counts[name] = count.into();
        }
    }
    // The bill does not tell cached tokens apart: where they are, they come from the other count.
    let mut value = if usage.cached_input_tokens.is_some() {
        json!({"tokens": counts, "cached_tokens": usage.cached_input_tokens})
    } else {
        json!({ "billed_units": counts })
    };
    if let Some(rest) = rest {
        fill(&mut value, rest);
    }
    Some(value)
}

/// A piece of text may be several tokens: the first carries the text.
pub(super) fn read_logprob(piece: &Value) -> Vec<TokenLogprob> {
    let text = piece
        .get("text")
        .and_then(Value::as_str)
        .unwrap_or_default();
    piece
        .get("logprobs")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .enumerate()
        .map(|(index, logprob)| TokenLogprob {
            token: if index == 0 {
                text.to_owned()
            } else {
                String::new()
            },
            logprob: logprob.as_f64().unwrap_or(f64::NEG_INFINITY),
            bytes: None,
            top: Vec::new(),
        })
        .collect()
}

pub(super) fn logprobs_value(logprobs: &[TokenLogprob]) -> Value {
    logprobs
        .iter()
        .map(|chosen| json!({"text": chosen.token, "logprobs": [chosen.logprob]}))
        .collect()
}

pub(crate) fn write_reply(reply: &Reply, context: &ReplyContext) -> Vec<u8> {
    let own = reply.source == Some(Dialect::Cohere);
    let (mut parts, mut calls) = (Vec::new(), Vec::new());
    let mut plan = String::new();
    for block in &reply.blocks {
        match block {
            Block::Text { text, .. } | Block::Refusal { text } => {
                parts.push(json!({"type": "text", "text": text}));
            }
            Block::Thinking { text, id, .. } => {
                if id.as_deref() == Some(PLAN) {
                    plan.push_str(text);
                } else if !text.is_empty() {
                    parts.push(json!({"type": "thinking", "thinking": text}));
                }
            }
            Block::ToolCall {
                id,
                name,
                arguments,
                ..
            } => calls.push(call_value(id, name, arguments)),
            Block::Other(part) if own => parts.push(part.clone()),
            Block::Other(_)
            | Block::RedactedThinking { .. }
            | Block::Image { .. }
            | Block::ToolResult { .. } => {}
        }
    }
    let mut message = json!({"role": "assistant"});
    if !parts.is_empty() {
        message["content"] = parts.into();
    }
    if !plan.is_empty() {
        message["tool_plan"] = plan.into();
    }
    if !calls.is_empty() {
        message["tool_calls"] = calls.into();
    }
    let reason = reply
        .extra
        .get("finish_reason")
        .filter(|_| own)
        .cloned()
        .unwrap_or_else(|| finish_word(&reply.finish).into());
    let mut answer = json!({
        "id": reply.id.as_deref().unwrap_or(&context.id),
        "finish_reason": reason,
        "message": message,
    });
    if let Some(usage) = usage_value(&reply.usage, reply.extra.get("usage").filter(|_| own)) {
        answer["usage"] = usage;
    }
    if let Some(logprobs) = &reply.logprobs {
        answer["logprobs"] = logprobs_value(logprobs);
    }
    if own {
        fill(&mut answer, &Value::Object(reply.extra.clone()));
    }
    answer.to_string().into_bytes()
}
