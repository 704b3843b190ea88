//! Whole replies, both ways.

use serde_json::{Map, Value, json};

use super::{OWN, failure, thinking, usage};
use crate::{Block, Finish, Malformed, Reply, ReplyContext, TokenLogprob, proof::Proof};

/// Names in [`Reply::extra`] of what stands deeper than the body: fields of the first choice, of its
/// message, further choices, and the usage as the vendor wrote it.
const CHOICE: &str = "choices[0]";
const MESSAGE: &str = "choices[0].message";
const CHOICES: &str = "choices";
const USAGE: &str = "usage";

pub(super) fn read(body: &[u8]) -> Result<Reply, Malformed> {
    let value: Value =
        serde_json::from_slice(body).map_err(|error| Malformed::NotJson(error.to_string()))?;
    let Value::Object(mut body) = value else {
        return Err(Malformed::Missing("choice"));
    };
    if let Some(error) = body.get("error").filter(|error| !error.is_null()) {
        return Err(Malformed::Error(failure::read(error).message));
    }
    let mut extra = Map::new();
    let Some(Value::Array(choices)) = body.shift_remove("choices") else {
        return Err(Malformed::Missing("choice"));
    };
    let mut choices = choices.into_iter();
    let Some(Value::Object(mut choice)) = choices.next() else {
        return Err(Malformed::Missing("choice"));
    };
    let others: Vec<Value> = choices.collect();
    if !others.is_empty() {
        extra.insert(CHOICES.to_owned(), others.into());
    }
    let Some(Value::Object(mut message)) = choice.shift_remove("message") else {
        return Err(Malformed::Missing("message"));
    };
    choice.shift_remove("index");
    let reason = choice.shift_remove("finish_reason");
    let logprobs = choice
        .shift_remove("logprobs")
        .and_then(|logprobs| read_logprobs(&logprobs));
    let blocks = read_message(&mut message)?;
    let mut finish = reason
        .as_ref()
        .and_then(Value::as_str)
        .map(read_finish)
        .ok_or(Malformed::Missing("finish reason"))?;
    let calls = blocks.iter().any(is_call);
    if calls && finish == Finish::Stop {
        // Some compatible servers say `stop` after a tool call.
        finish = Finish::ToolCalls;
    }
    if blocks.is_empty() && finish == Finish::Stop && !message.contains_key("content") {
        return Err(Malformed::Missing("content"));
    }
    message.shift_remove("content");
    for (name, rest) in [(CHOICE, choice), (MESSAGE, message)] {
        let rest: Map<String, Value> = said(rest).collect();
        if !rest.is_empty() {
            extra.insert(name.to_owned(), rest.into());
        }
    }
    body.shift_remove("object");
    let mut text = |name: &str| match body.shift_remove(name) {
        Some(Value::String(text)) if !text.is_empty() => Some(text),
        _ => None,
    };
    let id = text("id");
    let model = text("model");
    let fingerprint = text("system_fingerprint");
    let service_tier = text("service_tier");
    let created = body.shift_remove("created").and_then(|at| seconds(&at));
    let reported = body.shift_remove("usage").filter(|usage| !usage.is_null());
    let usage = reported.as_ref().map(usage::read).unwrap_or_default();
    if let Some(reported) = reported {
        extra.insert(USAGE.to_owned(), reported);
    }
    extra.extend(said(body));
    Ok(Reply {
        id,
        model,
        created,
        blocks,
        finish,
        stop_sequence: None,
        usage,
        logprobs,
        fingerprint,
        service_tier,
        source: Some(OWN),
        extra,
    })
}

fn said(fields: Map<String, Value>) -> impl Iterator<Item = (String, Value)> {
    fields.into_iter().filter(|(_, value)| !value.is_null())
}

/// Some servers give fractions of a second.
pub(super) fn seconds(at: &Value) -> Option<i64> {
    at.as_i64().or_else(|| at.as_f64().map(|at| at as i64))
}

pub(super) fn read_finish(reason: &str) -> Finish {
    match reason {
        "stop" | "eos" => Finish::Stop,
        // Mistral's word where the model's window is full.
        "length" | "model_length" => Finish::Length,
        "tool_calls" | "function_call" => Finish::ToolCalls,
        "content_filter" => Finish::ContentFilter,
        other => Finish::Other(other.to_owned()),
    }
}

pub(super) fn write_finish(finish: &Finish, calls: bool) -> &str {
    match finish {
        Finish::Stop if calls => "tool_calls",
        // The dialect has no word for a turn that is to be gone on with.
        Finish::Stop | Finish::Pause => "stop",
        Finish::Length => "length",
        Finish::ToolCalls => "tool_calls",
        Finish::ContentFilter => "content_filter",
        Finish::Other(other) => other,
    }
}

fn is_call(block: &Block) -> bool {
    match block {
        Block::ToolCall { .. } => true,
        Block::Other(value) => value.get("type").is_some_and(|kind| kind == "custom"),
        _ => false,
    }
}

/// Takes what the message says; what stays is what nobody here knows. `content` is read and left.
fn read_message(message: &mut Map<String, Value>) -> Result<Vec<Block>, Malformed> {
    let mut take = |name: &str| message.shift_remove(name).filter(|value| !value.is_null());
    take("role");
    let text = |value: Option<Value>| value.and_then(|value| value.as_str().map(str::to_owned));
    let details = take("reasoning_details");
    let content = text(take("reasoning_content"));
    let plain = text(take("reasoning"));
    let refusal = text(take("refusal"));
    let calls = take("tool_calls");
    let call = take("function_call");
    let annotations = take("annotations");
    let details = details.as_ref().and_then(Value::as_array);
    let mut blocks = thinking::blocks(details.map_or(&[], Vec::as_slice), content.or(plain));
    read_content(message.get("content"), &mut blocks);
    if let Some(annotations) = annotations {
        match blocks
            .iter_mut()
            .rfind(|block| matches!(block, Block::Text { .. }))
        {
            Some(Block::Text {
                annotations: of, ..
            }) if annotations.as_array().is_some_and(|some| !some.is_empty()) => {
                *of = Some(annotations);
            }
            _ => {
                message.insert("annotations".to_owned(), annotations);
            }
        }
    }
    if let Some(text) = refusal {
        blocks.push(Block::Refusal { text });
    }
    if let Some(Value::Array(calls)) = calls {
        for call in calls {
            blocks.push(read_call(call)?);
        }
    }
    if let Some(Value::Object(call)) = call {
        let name = call.get("name").and_then(Value::as_str);
        let name = name.ok_or(Malformed::Missing("name of a function"))?;
        blocks.push(Block::ToolCall {
            id: name.to_owned(),
            name: name.to_owned(),
            arguments: arguments(call.get("arguments")),
            cache: None,
            signature: None,
        });
    }
    Ok(blocks)
}

/// A string, or Mistral's parts.
fn read_content(content: Option<&Value>, blocks: &mut Vec<Block>) {
    match content {
        Some(Value::String(text)) if !text.is_empty() => blocks.push(Block::text(text)),
        Some(Value::Array(parts)) => {
            for part in parts {
                let text = part.get("text").and_then(Value::as_str);
                match (part.get("type").and_then(Value::as_str), text) {
                    (Some("text"), Some(text)) => blocks.push(Block::text(text)),
                    (Some("thinking"), _) => blocks.push(Block::Thinking {
                        text: thinking::text_of(part.get("thinking")),
                        signature: None,
                        id: None,
                    }),
                    _ => blocks.push(Block::Other(part.clone())),
                }
            }
        }
        _ => {}
    }
}

fn read_call(call: Value) -> Result<Block, Malformed> {
    if call
        .get("type")
        .is_some_and(|kind| !kind.is_null() && kind != "function")
    {
        return Ok(Block::Other(call));
    }
    let text = |at: &str| call.pointer(at).and_then(Value::as_str).map(str::to_owned);
    Ok(Block::ToolCall {
        id: text("/id").ok_or(Malformed::Missing("name of a tool call"))?,
        name: text("/function/name").ok_or(Malformed::Missing("name of a function"))?,
        arguments: arguments(call.pointer("/function/arguments")),
        cache: None,
        signature: text("/extra_content/google/thought_signature"),
    })
}

/// Text as the dialect has it; some servers send the object itself.
fn arguments(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => "{}".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(value) => value.to_string(),
    }
}

pub(super) fn read_logprobs(logprobs: &Value) -> Option<Vec<TokenLogprob>> {
    let tokens = logprobs.get("content")?.as_array()?;
    Some(tokens.iter().filter_map(read_logprob).collect())
}

fn read_logprob(token: &Value) -> Option<TokenLogprob> {
    let bytes = token.get("bytes").and_then(Value::as_array).map(|bytes| {
        let byte = |byte: &Value| byte.as_u64().and_then(|byte| u8::try_from(byte).ok());
        bytes.iter().filter_map(byte).collect()
    });
    let top = token.get("top_logprobs").and_then(Value::as_array);
    Some(TokenLogprob {
        token: token.get("token")?.as_str()?.to_owned(),
        logprob: token.get("logprob")?.as_f64()?,
        bytes,
        top: top
            .map(|top| top.iter().filter_map(read_logprob).collect())
            .unwrap_or_default(),
    })
}

pub(super) fn write_logprobs(tokens: &[TokenLogprob]) -> Value {
    let content: Vec<Value> = tokens
        .iter()
        .map(|token| {
            let mut value = write_logprob(token);
            value["top_logprobs"] = token.top.iter().map(write_logprob).collect();
            value
        })
        .collect();
    json!({"content": content, "refusal": null})
}

fn write_logprob(token: &TokenLogprob) -> Value {
    json!({"token": token.token, "logprob": token.logprob, "bytes": token.bytes})
}

pub(super) fn write(reply: &Reply, context: &ReplyContext) -> Vec<u8> {
    let own = reply.source == Some(OWN);
    let extra = |name: &str| reply.extra.get(name).filter(|_| own);
    let mut message = write_message(reply, context);
    if let Some(Value::Object(fields)) = extra(MESSAGE) {
        message.extend(fields.clone());
    }
    let calls = reply.blocks.iter().any(is_call);
    let mut choice = Map::new();
    choice.insert("index".to_owned(), 0.into());
    choice.insert("message".to_owned(), message.into());
    let logprobs = reply.logprobs.as_deref().map(write_logprobs);
    choice.insert("logprobs".to_owned(), logprobs.into());
    let finish = write_finish(&reply.finish, calls);
    choice.insert("finish_reason".to_owned(), finish.into());
    if let Some(Value::Object(fields)) = extra(CHOICE) {
        choice.extend(fields.clone());
    }
    let mut choices = vec![Value::from(choice)];
    if let Some(Value::Array(others)) = extra(CHOICES) {
        choices.extend(others.iter().cloned());
    }
    let mut body = Map::new();
    let id = super::reply_id(reply.id.as_deref(), context);
    body.insert("id".to_owned(), id.into());
    body.insert("object".to_owned(), "chat.completion".into());
    let created = reply.created.unwrap_or(context.created);
    body.insert("created".to_owned(), created.into());
    let model = reply.model.as_deref().unwrap_or(&context.model);
    body.insert("model".to_owned(), model.into());
    body.insert("choices".to_owned(), choices.into());
    // The vendor's own words where they say the same: they hold details that have no class here.
    let usage = match extra(USAGE) {
        Some(reported) if usage::read(reported) == reply.usage => Some(reported.clone()),
        _ => usage::write(&reply.usage),
    };
    if let Some(usage) = usage {
        body.insert("usage".to_owned(), usage);
    }
    if let Some(tier) = &reply.service_tier {
        body.insert("service_tier".to_owned(), tier.as_str().into());
    }
    if let Some(fingerprint) = &reply.fingerprint {
        body.insert("system_fingerprint".to_owned(), fingerprint.as_str().into());
    }
    if own {
        for (name, value) in &reply.extra {
            if ![CHOICE, MESSAGE, CHOICES, USAGE].contains(&name.as_str()) {
                body.insert(name.clone(), value.clone());
            }
        }
    }
    Value::Object(body).to_string().into_bytes()
}

fn write_message(reply: &Reply, context: &ReplyContext) -> Map<String, Value> {
    let mut text: Option<String> = None;
    let mut refusal: Option<String> = None;
    let mut plain = String::new();
    let mut details = Vec::new();
    let mut proven = false;
    let mut calls: Vec<Value> = Vec::new();
    let mut notes: Vec<Value> = Vec::new();
    let source = reply.source.or(context.source).unwrap_or(OWN);
    for block in &reply.blocks {
        match block {
            Block::Text {
                text: piece,
                annotations,
                ..
            } => {
                text.get_or_insert_default().push_str(piece);
                if let (OWN, Some(Value::Array(some))) = (source, annotations) {
                    notes.extend(some.iter().cloned());
                }
            }
            Block::Refusal { text: piece } => refusal.get_or_insert_default().push_str(piece),
            Block::Thinking {
                text: piece,
                signature,
                id,
            } => {
                plain.push_str(piece);
                proven |= signature.is_some();
                let proof = proof_for_caller(source, false, signature.as_deref(), id.as_deref());
                details.push(thinking::text_detail(
                    details.len(),
                    piece,
                    proof.as_deref(),
                    id.as_deref(),
                ));
            }
            Block::RedactedThinking { data, id } => {
                proven = true;
                let proof = proof_for_caller(source, true, Some(data), id.as_deref());
                let data = proof.unwrap_or_default();
                details.push(thinking::encrypted_detail(
                    details.len(),
                    &data,
                    id.as_deref(),
                ));
            }
            Block::ToolCall {
                id,
                name,
                arguments,
                signature,
                ..
            } => {
                let proof = proof_for_caller(source, false, signature.as_deref(), None);
                calls.push(write_call(id, name, arguments, proof.as_deref()));
            }
            Block::Other(value) if source == OWN && is_call(block) => calls.push(value.clone()),
            Block::Image { .. } | Block::ToolResult { .. } | Block::Other(_) => {}
        }
    }
    let mut message = Map::new();
    message.insert("role".to_owned(), "assistant".into());
    let silent = calls.is_empty() && refusal.is_none();
    let text = text.or_else(|| silent.then(String::new));
    message.insert("content".to_owned(), text.into());
    if !plain.is_empty() {
        message.insert("reasoning_content".to_owned(), plain.into());
    }
    if proven {
        message.insert("reasoning_details".to_owned(), details.into());
    }
    message.insert("refusal".to_owned(), refusal.into());
    if !notes.is_empty() {
        message.insert("annotations".to_owned(), notes.into());
    }
    if !calls.is_empty() {
        message.insert("tool_calls".to_owned(), calls.into());
    }
    message
}

fn write_call(id: &str, name: &str, arguments: &str, signature: Option<&str>) -> Value {
    let mut call = json!({
        "id": id,
        "type": "function",
        "function": {"name": name, "arguments": arguments},
    });
    if let Some(signature) = signature {
        call["extra_content"] = json!({"google": {"thought_signature": signature}});
    }
    call
}

/// The proof as a caller of this dialect gets it: sealed where another dialect's vendor made it.
pub(super) fn proof_for_caller(
    source: crate::Dialect,
    redacted: bool,
    text: Option<&str>,
    id: Option<&str>,
) -> Option<String> {
    let proof = Proof {
        dialect: source,
        redacted,
        id: id.map(str::to_owned),
        text: Some(text?.to_owned()),
    };
    proof.for_caller(OWN)
}
