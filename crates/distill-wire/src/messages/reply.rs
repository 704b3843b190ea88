//! Whole replies, both ways, and what streams share with them.

use distill_chat::Usage;
use serde_json::{Map, Value, json};

use super::{
    read,
    write::{input, wire_id},
};
use crate::{
    Block, Dialect, ErrorKind, ErrorReply, Finish, Malformed, Reply, ReplyContext, proof::Proof,
};

pub(super) fn read(body: &[u8]) -> Result<Reply, Malformed> {
    let value: Value =
        serde_json::from_slice(body).map_err(|error| Malformed::NotJson(error.to_string()))?;
    let Value::Object(mut fields) = value else {
        return Err(Malformed::Missing("object"));
    };
    if let Some(error) = fields.get("error").filter(|error| !error.is_null()) {
        return Err(Malformed::Error(error_reply(error).message));
    }
    let Some(Value::Array(content)) = fields.shift_remove("content") else {
        return Err(Malformed::Missing("content"));
    };
    let reason = take_text(&mut fields, "stop_reason").ok_or(Malformed::Missing("stop reason"))?;
    let mut extra = Map::new();
    if finish_text(&finish(&reason), None) != reason && reason != "stop_sequence" {
        extra.insert("stop_reason".to_owned(), reason.as_str().into());
    }
    let blocks = content
        .into_iter()
        .map(|value| {
            let whole = value.clone();
            // A block that is not as described is kept as it is.
            read::block(value, String::new()).unwrap_or(Block::Other(whole))
        })
        .collect();
    fields.shift_remove("type");
    fields.shift_remove("role");
    let (usage, service_tier) = match fields.shift_remove("usage") {
        Some(Value::Object(mut written)) => {
            let usage = take_usage(&mut written);
            let tier = take_text(&mut written, "service_tier");
            if !written.is_empty() {
                extra.insert("usage".to_owned(), Value::Object(written));
            }
            (usage, tier)
        }
        _ => (Usage::default(), None),
    };
    let reply = Reply {
        id: take_text(&mut fields, "id"),
        model: take_text(&mut fields, "model"),
        created: None,
        blocks,
        finish: finish(&reason),
        stop_sequence: take_text(&mut fields, "stop_sequence"),
        usage,
        logprobs: None,
        fingerprint: None,
        service_tier,
        source: Some(Dialect::Messages),
        extra: Map::new(),
    };
    extra.extend(fields);
    Ok(Reply { extra, ..reply })
}

fn take_text(fields: &mut Map<String, Value>, name: &str) -> Option<String> {
    match fields.shift_remove(name) {
        Some(Value::String(text)) => Some(text),
        _ => None,
    }
}

/// The classes of a usage object, already disjoint but for the thinking inside the output; what is
/// taken is removed.
pub(super) fn take_usage(written: &mut Map<String, Value>) -> Usage {
    let mut count = |name: &str| written.shift_remove(name).and_then(|count| count.as_u64());
    let input_tokens = count("input_tokens");
    let cached_input_tokens = count("cache_read_input_tokens");
    let cache_write_tokens = count("cache_creation_input_tokens");
    let output = count("output_tokens");
    let reasoning_tokens = written
        .shift_remove("output_tokens_details")
        .and_then(|details| details.get("thinking_tokens").and_then(Value::as_u64))
        // More thinking than output cannot be.
        .filter(|thinking| output.is_some_and(|output| output >= *thinking));
    Usage {
        input_tokens,
        cached_input_tokens,
        cache_write_tokens,
        output_tokens: output.map(|output| output - reasoning_tokens.unwrap_or(0)),
        reasoning_tokens,
    }
}

/// The usage object with the classes that are known.
pub(super) fn usage(usage: &Usage) -> Map<String, Value> {
    let mut written = Map::new();
    let output = match (usage.output_tokens, usage.reasoning_tokens) {
        (None, None) => None,
        (output, reasoning) => Some(output.unwrap_or(0) + reasoning.unwrap_or(0)),
    };
    for (name, count) in [
        ("input_tokens", usage.input_tokens),
        ("cache_creation_input_tokens", usage.cache_write_tokens),
        ("cache_read_input_tokens", usage.cached_input_tokens),
        ("output_tokens", output),
    ] {
        if let Some(count) = count {
            written.insert(name.to_owned(), count.into());
        }
    }
    if let Some(thinking) = usage.reasoning_tokens {
        written.insert(
            "output_tokens_details".to_owned(),
            json!({"thinking_tokens": thinking}),
        );
    }
    written
}

pub(super) fn finish(reason: &str) -> Finish {
    match reason {
        "end_turn" | "stop_sequence" => Finish::Stop,
        "max_tokens" | "model_context_window_exceeded" => Finish::Length,
        "tool_use" => Finish::ToolCalls,
        "refusal" => Finish::ContentFilter,
        "pause_turn" => Finish::Pause,
        other => Finish::Other(other.to_owned()),
    }
}

pub(super) fn finish_text<'a>(finish: &'a Finish, stop_sequence: Option<&str>) -> &'a str {
    match finish {
        Finish::Stop if stop_sequence.is_some() => "stop_sequence",
        Finish::Stop => "end_turn",
        Finish::Length => "max_tokens",
        Finish::ToolCalls => "tool_use",
        Finish::ContentFilter => "refusal",
        Finish::Pause => "pause_turn",
        Finish::Other(other) => other,
    }
}

/// The reply's name in the form that this dialect's clients know.
pub(super) fn message_id(id: Option<&str>, context: &ReplyContext) -> String {
    match id.filter(|id| id.starts_with("msg_")) {
        Some(id) => id.to_owned(),
        None if context.id.starts_with("msg_") => context.id.clone(),
        None => format!("msg_{}", context.id),
    }
}

pub(super) fn write(reply: &Reply, context: &ReplyContext) -> Vec<u8> {
    let source = reply.source.or(context.source);
    let own = source == Some(Dialect::Messages);
    let mut content: Vec<Value> = reply
        .blocks
        .iter()
        .filter_map(|block| self::block(block, source))
        .collect();
    let calls = reply
        .blocks
        .iter()
        .any(|block| matches!(block, Block::ToolCall { .. }));
    let finish = match &reply.finish {
        // Some vendors end a reply with calls as any other.
        Finish::Stop if calls && !own => &Finish::ToolCalls,
        finish => finish,
    };
    if content.is_empty() && !own {
        content.push(json!({"type": "text", "text": ""}));
    }
    let mut usage = self::usage(&reply.usage);
    if let Some(tier) = reply.service_tier.as_deref().filter(|_| own) {
        usage.insert("service_tier".to_owned(), tier.into());
    }
    let mut body = Map::new();
    body.insert(
        "id".to_owned(),
        message_id(reply.id.as_deref(), context).into(),
    );
    body.insert("type".to_owned(), "message".into());
    body.insert("role".to_owned(), "assistant".into());
    body.insert(
        "model".to_owned(),
        reply.model.as_deref().unwrap_or(&context.model).into(),
    );
    body.insert("content".to_owned(), Value::Array(content));
    body.insert(
        "stop_reason".to_owned(),
        finish_text(finish, reply.stop_sequence.as_deref()).into(),
    );
    body.insert(
        "stop_sequence".to_owned(),
        reply.stop_sequence.as_deref().into(),
    );
    body.insert("usage".to_owned(), Value::Object(usage));
    if own {
        for (name, value) in &reply.extra {
            match (body.get_mut(name), value) {
                (Some(Value::Object(there)), Value::Object(more)) => there.extend(more.clone()),
                _ => {
                    body.insert(name.clone(), value.clone());
                }
            }
        }
    }
    serde_json::to_vec(&Value::Object(body)).unwrap_or_default()
}

/// A block of a reply as this dialect's callers read it; `None` where they cannot.
fn block(block: &Block, source: Option<Dialect>) -> Option<Value> {
    Some(match block {
        Block::Text {
            text, annotations, ..
        } => {
            let mut value = json!({"type": "text", "text": text});
            if let Some(citations) = annotations
                .as_ref()
                .filter(|_| source == Some(Dialect::Messages))
            {
                value["citations"] = citations.clone();
            }
            value
        }
        Block::Refusal { text } => json!({"type": "text", "text": text}),
        Block::ToolCall {
            id,
            name,
            arguments,
            ..
        } => {
            json!({"type": "tool_use", "id": wire_id(id), "name": name, "input": input(arguments)})
        }
        Block::Thinking {
            text,
            signature,
            id,
        } => json!({
            "type": "thinking",
            "thinking": text,
            "signature": signature_text(signature.as_deref(), id.as_deref(), source),
        }),
        Block::RedactedThinking { data, id } => {
            json!({"type": "redacted_thinking", "data": redacted_data(data, id.as_deref(), source)})
        }
        Block::Other(value) if source == Some(Dialect::Messages) => value.clone(),
        Block::Other(_) | Block::Image { .. } | Block::ToolResult { .. } => return None,
    })
}

/// The signature that a caller gets: another dialect's proof is sealed, so that it comes back as such.
pub(super) fn signature_text(
    signature: Option<&str>,
    id: Option<&str>,
    source: Option<Dialect>,
) -> String {
    Proof {
        dialect: source.unwrap_or(Dialect::Messages),
        redacted: false,
        id: id.map(str::to_owned),
        text: signature.map(str::to_owned),
    }
    .for_caller(Dialect::Messages)
    .unwrap_or_default()
}

pub(super) fn redacted_data(data: &str, id: Option<&str>, source: Option<Dialect>) -> String {
    Proof {
        dialect: source.unwrap_or(Dialect::Messages),
        redacted: true,
        id: id.map(str::to_owned),
        text: Some(data.to_owned()),
    }
    .for_caller(Dialect::Messages)
    .unwrap_or_default()
}

fn error_type(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::InvalidRequest => "invalid_request_error",
        ErrorKind::Authentication => "authentication_error",
        ErrorKind::Billing => "billing_error",
        ErrorKind::Permission => "permission_error",
        ErrorKind::NotFound => "not_found_error",
        ErrorKind::TooLarge => "request_too_large",
        ErrorKind::RateLimit => "rate_limit_error",
        ErrorKind::Server => "api_error",
        ErrorKind::Overloaded => "overloaded_error",
        ErrorKind::Timeout => "timeout_error",
    }
}

fn error_kind(name: &str) -> ErrorKind {
    match name {
        "invalid_request_error" => ErrorKind::InvalidRequest,
        "authentication_error" => ErrorKind::Authentication,
        "billing_error" => ErrorKind::Billing,
        "permission_error" => ErrorKind::Permission,
        "not_found_error" => ErrorKind::NotFound,
        "request_too_large" => ErrorKind::TooLarge,
        "rate_limit_error" => ErrorKind::RateLimit,
        "overloaded_error" => ErrorKind::Overloaded,
        "timeout_error" => ErrorKind::Timeout,
        _ => ErrorKind::Server,
    }
}

pub(super) fn write_error(error: &ErrorReply) -> Value {
    let mut inner = Map::new();
    inner.insert("type".to_owned(), error_type(error.kind).into());
    inner.insert("message".to_owned(), error.message.as_str().into());
    if let Some(code) = &error.code {
        inner.insert("code".to_owned(), code.as_str().into());
    }
    if let Some(param) = &error.param {
        inner.insert("param".to_owned(), param.as_str().into());
    }
    json!({"type": "error", "error": inner})
}

/// What the `error` of a body or an event says.
pub(super) fn error_reply(error: &Value) -> ErrorReply {
    let text = |name: &str| error.get(name).and_then(Value::as_str);
    ErrorReply {
        kind: error_kind(text("type").unwrap_or_default()),
        message: text("message")
            .or(error.as_str())
            .unwrap_or("the vendor gave no reason")
            .to_owned(),
        code: text("code").or(text("type")).map(str::to_owned),
        param: text("param").map(str::to_owned),
    }
}
