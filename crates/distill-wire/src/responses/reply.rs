//! Whole replies, both ways, and what streams share with them.

use distill_chat::Usage;
use serde_json::{Map, Value, json};

use super::{
    echo::{self, Echo, State},
    read,
    tools::{self, Call},
};
use crate::{
    Block, Dialect, ErrorKind, ErrorReply, Finish, Malformed, Reply, ReplyContext, TokenLogprob,
    proof::Proof,
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
    let Some(Value::Array(output)) = fields.shift_remove("output") else {
        return Err(Malformed::Missing("output"));
    };
    let mut blocks = Vec::with_capacity(output.len());
    let mut logprobs = None;
    for item in output {
        read_item(item, &mut blocks, &mut logprobs);
    }
    let usage = fields
        .shift_remove("usage")
        .map(|usage| read_usage(&usage))
        .unwrap_or_default();
    let finish = finish(
        fields.get("status").and_then(Value::as_str),
        fields.get("incomplete_details"),
        blocks
            .iter()
            .any(|block| matches!(block, Block::ToolCall { .. })),
    );
    for known in ["object", "status", "incomplete_details", "error"] {
        fields.shift_remove(known);
    }
    let mut text = |name: &str| match fields.shift_remove(name) {
        Some(Value::String(text)) => Some(text),
        _ => None,
    };
    Ok(Reply {
        id: text("id"),
        model: text("model"),
        service_tier: text("service_tier"),
        created: fields
            .shift_remove("created_at")
            .and_then(|created| created.as_f64())
            .map(|created| created as i64),
        blocks,
        finish,
        stop_sequence: None,
        usage,
        logprobs,
        fingerprint: None,
        source: Some(Dialect::Responses),
        extra: fields,
    })
}

/// Appends the blocks of an output item. An item that is not as described is kept as it is.
fn read_item(item: Value, blocks: &mut Vec<Block>, logprobs: &mut Option<Vec<TokenLogprob>>) {
    match item.get("type").and_then(Value::as_str) {
        Some("message") => {
            for part in item
                .get("content")
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
            {
                if let Some(list) = part.get("logprobs").and_then(Value::as_array)
                    && !list.is_empty()
                {
                    logprobs
                        .get_or_insert_with(Vec::new)
                        .extend(list.iter().filter_map(read_logprob));
                }
                match read::content(json!([part]), "content") {
                    Ok(read) => blocks.extend(read),
                    Err(_) => blocks.push(Block::Other(part.clone())),
                }
            }
        }
        Some("function_call" | "custom_tool_call" | "local_shell_call" | "reasoning") => {
            match read::output_block(item.clone(), String::new()) {
                Ok(block) => blocks.extend(block),
                Err(_) => blocks.push(Block::Other(item)),
            }
        }
        _ => blocks.push(Block::Other(item)),
    }
}

/// The classes of a usage object, made disjoint. Parts that exceed their whole are not believed.
pub(super) fn read_usage(written: &Value) -> Usage {
    let count = |pointer: &str| written.pointer(pointer).and_then(Value::as_u64);
    let input = count("/input_tokens");
    let cached = count("/input_tokens_details/cached_tokens")
        .filter(|cached| input.is_some_and(|input| input >= *cached));
    let written_to_cache = count("/input_tokens_details/cache_write_tokens")
        .filter(|more| input.is_some_and(|input| input >= *more + cached.unwrap_or(0)));
    let output = count("/output_tokens");
    let reasoning = count("/output_tokens_details/reasoning_tokens")
        .filter(|reasoning| output.is_some_and(|output| output >= *reasoning));
    Usage {
        input_tokens: input
            .map(|input| input - cached.unwrap_or(0) - written_to_cache.unwrap_or(0)),
        cached_input_tokens: cached,
        cache_write_tokens: written_to_cache,
        output_tokens: output.map(|output| output - reasoning.unwrap_or(0)),
        reasoning_tokens: reasoning,
    }
}

pub(super) fn finish(status: Option<&str>, incomplete: Option<&Value>, calls: bool) -> Finish {
    let reason = incomplete
        .and_then(|details| details.get("reason"))
        .and_then(Value::as_str);
    match (status, reason) {
        (Some("incomplete"), Some("content_filter")) => Finish::ContentFilter,
        (Some("incomplete"), None | Some("max_output_tokens")) => Finish::Length,
        (Some("completed") | None, _) if calls => Finish::ToolCalls,
        (Some("completed") | None, _) => Finish::Stop,
        (Some("incomplete"), Some(other)) | (Some(other), _) => Finish::Other(other.to_owned()),
    }
}

pub(super) fn read_logprob(value: &Value) -> Option<TokenLogprob> {
    Some(TokenLogprob {
        token: value.get("token")?.as_str()?.to_owned(),
        logprob: value.get("logprob")?.as_f64()?,
        bytes: value.get("bytes").and_then(Value::as_array).map(|bytes| {
            bytes
                .iter()
                .filter_map(|byte| byte.as_u64().and_then(|byte| u8::try_from(byte).ok()))
                .collect()
        }),
        top: value
            .get("top_logprobs")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(read_logprob)
            .collect(),
    })
}

pub(super) fn write_logprob(logprob: &TokenLogprob) -> Value {
    let bytes = |logprob: &TokenLogprob| {
        logprob
            .bytes
            .clone()
            .unwrap_or_else(|| logprob.token.clone().into_bytes())
    };
    json!({
        "token": logprob.token,
        "logprob": logprob.logprob,
        "bytes": bytes(logprob),
        "top_logprobs": logprob
            .top
            .iter()
            .map(|top| json!({"token": top.token, "logprob": top.logprob, "bytes": bytes(top)}))
            .collect::<Vec<_>>(),
    })
}

pub(super) fn write(reply: &Reply, context: &ReplyContext) -> Vec<u8> {
    let source = reply.source.or(context.source);
    let own = source == Some(Dialect::Responses);
    let echo = Echo::new(
        context,
        reply.id.as_deref(),
        reply.model.as_deref(),
        reply.created,
    );
    let (status, incomplete) = echo::status(&reply.finish);
    let output = items(reply, context, source, &echo, status);
    let text = echo.response(&State {
        status,
        error: Value::Null,
        incomplete,
        output: &output,
        usage: Some(&reply.usage),
        service_tier: reply.service_tier.as_deref().filter(|_| own),
    });
    if !own || reply.extra.is_empty() {
        return text.into_bytes();
    }
    match serde_json::from_str::<Value>(&text) {
        Ok(Value::Object(mut object)) => {
            object.extend(reply.extra.clone());
            Value::Object(object).to_string().into_bytes()
        }
        _ => text.into_bytes(),
    }
}

fn items(
    reply: &Reply,
    context: &ReplyContext,
    source: Option<Dialect>,
    echo: &Echo,
    status: &'static str,
) -> Vec<String> {
    let mut items = Vec::new();
    let mut parts: Vec<Value> = Vec::new();
    let mut logprobs = reply.logprobs.as_deref();
    for block in &reply.blocks {
        match block {
            Block::Text {
                text, annotations, ..
            } => {
                let annotations = annotations
                    .as_ref()
                    .filter(|_| source == Some(Dialect::Responses));
                let tokens = logprobs.take().unwrap_or_default();
                parts.push(text_part(text, annotations, tokens));
            }
            Block::Refusal { text } => parts.push(json!({"type": "refusal", "refusal": text})),
            block => {
                let index = items.len() + usize::from(!parts.is_empty());
                let Some(item) = self::item(block, context, source, echo, index) else {
                    continue;
                };
                flush(&mut parts, &mut items, echo, "completed");
                items.push(item.to_string());
            }
        }
    }
    flush(&mut parts, &mut items, echo, status);
    items
}

fn flush(parts: &mut Vec<Value>, items: &mut Vec<String>, echo: &Echo, status: &str) {
    if !parts.is_empty() {
        let id = echo.item_id("msg", items.len());
        items.push(message_item(&id, std::mem::take(parts), status).to_string());
    }
}

pub(super) fn message_item(id: &str, parts: Vec<Value>, status: &str) -> Value {
    json!({
        "type": "message",
        "id": id,
        "status": status,
        "role": "assistant",
        "content": parts,
    })
}

pub(super) fn text_part(
    text: &str,
    annotations: Option<&Value>,
    logprobs: &[TokenLogprob],
) -> Value {
    json!({
        "type": "output_text",
        "text": text,
        "annotations": annotations.cloned().unwrap_or_else(|| json!([])),
        "logprobs": logprobs.iter().map(write_logprob).collect::<Vec<_>>(),
    })
}

/// An item that is no message; `None` where this dialect's callers cannot read it.
fn item(
    block: &Block,
    context: &ReplyContext,
    source: Option<Dialect>,
    echo: &Echo,
    index: usize,
) -> Option<Value> {
    match block {
        Block::ToolCall {
            id,
            name,
            arguments,
            ..
        } => {
            let tool = tools::named(context.request.as_deref(), name);
            Some(
                Call {
                    tool: &tool,
                    id,
                    arguments: said_arguments(arguments),
                    item: Some(&echo.item_id(call_prefix(&tool), index)),
                    status: Some("completed"),
                }
                .item(),
            )
        }
        Block::Thinking {
            text,
            signature,
            id,
        } => Some(reasoning_item(
            &echo.item_id("rs", index),
            text,
            Proof {
                dialect: source.unwrap_or(Dialect::Responses),
                redacted: false,
                id: id.clone(),
                text: signature.clone(),
            },
            context,
        )),
        Block::RedactedThinking { data, id } => Some(reasoning_item(
            &echo.item_id("rs", index),
            "",
            Proof {
                dialect: source.unwrap_or(Dialect::Responses),
                redacted: true,
                id: id.clone(),
                text: Some(data.clone()),
            },
            context,
        )),
        Block::Other(value) if source == Some(Dialect::Responses) => Some(value.clone()),
        _ => None,
    }
}

/// A call without arguments has an empty object of them.
pub(super) fn said_arguments(arguments: &str) -> &str {
    if arguments.is_empty() {
        "{}"
    } else {
        arguments
    }
}

pub(super) fn call_prefix(tool: &tools::Named) -> &'static str {
    match tool.kind {
        tools::Kind::Function => "fc",
        tools::Kind::Custom => "ctc",
        tools::Kind::LocalShell => "lsh",
    }
}

/// A reasoning item. Its proof is shown to those who asked for it, as the vendor does.
pub(super) fn reasoning_item(
    id: &str,
    summary: &str,
    proof: Proof,
    context: &ReplyContext,
) -> Value {
    let own_id = proof
        .id
        .clone()
        .filter(|_| proof.dialect == Dialect::Responses);
    let mut item = json!({
        "type": "reasoning",
        "id": own_id.as_deref().unwrap_or(id),
        "summary": [],
    });
    if !summary.is_empty() {
        item["summary"] = json!([{"type": "summary_text", "text": summary}]);
    }
    let asked = context.request.as_ref().is_none_or(|request| {
        request
            .extra
            .get("include")
            .and_then(Value::as_array)
            .is_some_and(|list| list.contains(&json!("reasoning.encrypted_content")))
    });
    if asked && let Some(text) = proof.for_caller(Dialect::Responses) {
        item["encrypted_content"] = text.into();
    }
    item
}

/// The code of a failed response: the words that clients know.
pub(super) fn failure_code(error: &ErrorReply) -> &str {
    if let Some(code) = &error.code {
        return code;
    }
    match error.kind {
        ErrorKind::RateLimit => "rate_limit_exceeded",
        ErrorKind::InvalidRequest | ErrorKind::TooLarge => "invalid_prompt",
        ErrorKind::Billing => "insufficient_quota",
        ErrorKind::Overloaded => "server_is_overloaded",
        _ => "server_error",
    }
}

/// What the `error` of a body, a response or an event says.
pub(super) fn error_reply(error: &Value) -> ErrorReply {
    let text = |name: &str| error.get(name).and_then(Value::as_str).map(str::to_owned);
    let code = text("code").or_else(|| text("type").filter(|kind| kind != "error"));
    let kind = match code.as_deref().unwrap_or_default() {
        "rate_limit_exceeded" | "rate_limit_error" => ErrorKind::RateLimit,
        "insufficient_quota" => ErrorKind::Billing,
        "server_is_overloaded" | "slow_down" => ErrorKind::Overloaded,
        "invalid_api_key" | "authentication_error" => ErrorKind::Authentication,
        "model_not_found" => ErrorKind::NotFound,
        "invalid_prompt" | "invalid_request_error" | "context_length_exceeded" => {
            ErrorKind::InvalidRequest
        }
        code if code.contains("image") => ErrorKind::InvalidRequest,
        _ => ErrorKind::Server,
    };
    ErrorReply {
        kind,
        message: text("message")
            .or_else(|| error.as_str().map(str::to_owned))
            .unwrap_or_else(|| "the vendor gave no reason".to_owned()),
        code,
        param: text("param"),
    }
}

pub(super) fn write_error(error: &ErrorReply) -> Vec<u8> {
    let kind = match error.kind {
        ErrorKind::InvalidRequest | ErrorKind::TooLarge | ErrorKind::NotFound => {
            "invalid_request_error"
        }
        ErrorKind::Authentication => "authentication_error",
        ErrorKind::Billing => "insufficient_quota",
        ErrorKind::Permission => "permission_error",
        ErrorKind::RateLimit => "rate_limit_error",
        ErrorKind::Server | ErrorKind::Overloaded => "server_error",
        ErrorKind::Timeout => "timeout_error",
    };
    let mut inner = Map::new();
    inner.insert("message".to_owned(), error.message.as_str().into());
    inner.insert("type".to_owned(), kind.into());
    inner.insert("param".to_owned(), error.param.as_deref().into());
    inner.insert("code".to_owned(), error.code.as_deref().into());
    json!({ "error": inner }).to_string().into_bytes()
}
