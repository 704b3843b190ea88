//! Whole replies, and what streams share with them.

use distill_chat::Usage;
use serde_json::{Map, Value, json};

use super::{MADE_ID, error, request::text_blocks};
use crate::{Block, Dialect, Finish, Malformed, Reply, ReplyContext, TokenLogprob, rest::fill};

pub(crate) fn read_reply(body: &[u8]) -> Result<Reply, Malformed> {
    let value: Value =
        serde_json::from_slice(body).map_err(|error| Malformed::NotJson(error.to_string()))?;
    let Value::Object(mut answer) = value else {
        return Err(Malformed::NotJson("it is no object".into()));
    };
    let mut candidate = first_candidate(&mut answer);
    if candidate.is_none() {
        let body = Value::Object(answer.clone());
        if let Some(error) = error::read_value(&body) {
            return Err(Malformed::Error(error.message));
        }
        if block_reason(&body).is_none() {
            return Err(Malformed::Missing("candidate"));
        }
    }
    let (usage, usage_rest) = take_usage(&mut answer);
    let id = take_text(&mut answer, "responseId");
    let ids = Ids::new(id.as_deref(), &usage);
    let mut blocks = Vec::new();
    if let Some(candidate) = &mut candidate {
        for part in take_parts(candidate) {
            blocks.extend(read_part(part, &ids, blocks.len()));
        }
    }
    let called = blocks
        .iter()
        .any(|block| matches!(block, Block::ToolCall { .. }));
    let finish = match &mut candidate {
        None => Finish::ContentFilter,
        Some(candidate) => {
            let reason =
                take_text(candidate, "finishReason").ok_or(Malformed::Missing("finish reason"))?;
            let finish = finish(&reason, called);
            if finish_word(&finish) != reason {
                candidate.insert("finishReason".into(), reason.into());
            }
            finish
        }
    };
    let logprobs = candidate
        .as_mut()
        .and_then(|candidate| candidate.shift_remove("logprobsResult"))
        .map(|result| read_logprobs(&result));
    let model = take_text(&mut answer, "modelVersion");
    let mut extra = answer;
    if let Some(candidate) = candidate.filter(|candidate| !candidate.is_empty()) {
        extra.insert("candidates".into(), json!([candidate]));
    }
    if !usage_rest.is_empty() {
        extra.insert("usageMetadata".into(), usage_rest.into());
    }
    Ok(Reply {
        id,
        model,
        created: None,
        blocks,
        finish,
        stop_sequence: None,
        usage,
        logprobs,
        fingerprint: None,
        service_tier: None,
        source: Some(Dialect::Gemini),
        extra,
    })
}

/// The first candidate; more are not asked for.
pub(super) fn first_candidate(answer: &mut Map<String, Value>) -> Option<Map<String, Value>> {
    match answer.shift_remove("candidates")? {
        Value::Array(candidates) => match candidates.into_iter().next()? {
            Value::Object(candidate) => Some(candidate),
            _ => None,
        },
        _ => None,
    }
}

pub(super) fn block_reason(answer: &Value) -> Option<&str> {
    answer.pointer("/promptFeedback/blockReason")?.as_str()
}

pub(super) fn take_text(map: &mut Map<String, Value>, name: &str) -> Option<String> {
    match map.get_mut(name)? {
        Value::String(text) => {
            let text = std::mem::take(text);
            map.shift_remove(name);
            Some(text)
        }
        _ => None,
    }
}

/// The parts; what else the content holds (its role) is implied by its being an answer.
pub(super) fn take_parts(candidate: &mut Map<String, Value>) -> Vec<Map<String, Value>> {
    let Some(Value::Object(mut content)) = candidate.shift_remove("content") else {
        return Vec::new();
    };
    match content.shift_remove("parts") {
        Some(Value::Array(parts)) => parts
            .into_iter()
            .filter_map(|part| match part {
                Value::Object(part) => Some(part),
                _ => None,
            })
            .collect(),
        _ => Vec::new(),
    }
}

/// Names for calls that the vendor did not name: the same answer read twice gives the same names,
/// and two answers of one conversation, whose counts of tokens grow, give different ones.
pub(super) struct Ids {
    base: String,
}

impl Ids {
    pub(super) fn new(response: Option<&str>, usage: &Usage) -> Self {
        let base = match response {
            // Other vendors take 40 characters of these.
            Some(name) if name.len() <= 28 => name
                .chars()
                .filter(|letter| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_'))
                .collect(),
            Some(name) => format!("{:016x}", fnv(name)),
            None => format!("{:016x}", fnv(&format!("{usage:?}"))),
        };
        Self { base }
    }

    pub(super) fn name(&self, index: usize, call: &str) -> String {
        if self.base.len() == 16 {
            format!(
                "{MADE_ID}{:016x}_{index}",
                fnv(&format!("{}{call}", self.base))
            )
        } else {
            format!("{MADE_ID}{}_{index}", self.base)
        }
    }
}

/// Fowler-Noll-Vo, 64 bits: spreads names, protects nothing.
fn fnv(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

pub(super) fn read_part(mut part: Map<String, Value>, ids: &Ids, index: usize) -> Vec<Block> {
    let signature = take_text(&mut part, "thoughtSignature");
    let thought = part.shift_remove("thought") == Some(Value::Bool(true));
    if let Some(text) = take_text(&mut part, "text") {
        // A last part without text marks the end and says nothing.
        if text.is_empty() && signature.is_none() {
            return Vec::new();
        }
        return text_blocks(text, thought, signature);
    }
    if let Some(Value::Object(mut call)) = part.shift_remove("functionCall") {
        let name = take_text(&mut call, "name").unwrap_or_default();
        let arguments = call
            .shift_remove("args")
            .filter(|args| !args.is_null())
            .unwrap_or_else(|| json!({}))
            .to_string();
        let id = take_text(&mut call, "id")
            .unwrap_or_else(|| ids.name(index, &format!("{name}{arguments}")));
        // Callers' dialects have a place for a proof of thinking, most have none for one of a call: it
        // goes both ways, and the way back takes either.
        let proof = signature.clone().map(|signature| Block::Thinking {
            text: String::new(),
            signature: Some(signature),
            id: None,
        });
        let call = Block::ToolCall {
            id,
            name,
            arguments,
            cache: None,
            signature,
        };
        return proof.into_iter().chain([call]).collect();
    }
    vec![Block::Other(Value::Object(part))]
}

/// `called`: whether the answer holds a call, of which the vendor's word says nothing.
pub(super) fn finish(reason: &str, called: bool) -> Finish {
    match reason {
        "STOP" if called => Finish::ToolCalls,
        "STOP" => Finish::Stop,
        "MAX_TOKENS" => Finish::Length,
        "SAFETY" | "RECITATION" | "BLOCKLIST" | "PROHIBITED_CONTENT" | "SPII" | "IMAGE_SAFETY"
        | "LANGUAGE" => Finish::ContentFilter,
        other => Finish::Other(other.to_owned()),
    }
}

pub(super) fn finish_word(finish: &Finish) -> &str {
    match finish {
        Finish::Stop | Finish::ToolCalls => "STOP",
        Finish::Length => "MAX_TOKENS",
        Finish::ContentFilter => "SAFETY",
        Finish::Pause => "OTHER",
        Finish::Other(word) => word,
    }
}

/// The usage in disjoint classes, and what has no place there.
pub(super) fn take_usage(answer: &mut Map<String, Value>) -> (Usage, Map<String, Value>) {
    let Some(Value::Object(mut map)) = answer.shift_remove("usageMetadata") else {
        return (Usage::default(), Map::new());
    };
    let mut take = |name: &str| {
        let count = map.get(name)?.as_u64()?;
        map.shift_remove(name);
        Some(count)
    };
    let prompt = take("promptTokenCount");
    let cached = take("cachedContentTokenCount");
    let mut candidates = take("candidatesTokenCount");
    let thoughts = take("thoughtsTokenCount");
    let total = take("totalTokenCount");
    // What the vendor's own tools brought stays in the rest, to be written apart again.
    let tools = map.get("toolUsePromptTokenCount").and_then(Value::as_u64);
    let known = prompt.unwrap_or(0) + tools.unwrap_or(0);
    if let Some(total) = total {
        let thinking = thoughts.unwrap_or(0);
        match candidates {
            // Some versions count thinking inside: the total tells.
            Some(count) if thinking > 0 && count >= thinking && known + count == total => {
                candidates = Some(count - thinking);
            }
            None if total > known + thinking => candidates = Some(total - known - thinking),
            _ => {}
        }
    }
    // More from the cache than there was cannot be true.
    let cached = cached.filter(|cached| prompt.is_some_and(|prompt| *cached <= prompt));
    let input = match (prompt, tools) {
        (None, None) => None,
        (prompt, tools) => Some(prompt.unwrap_or(0) - cached.unwrap_or(0) + tools.unwrap_or(0)),
    };
    let usage = Usage {
        input_tokens: input,
        cached_input_tokens: cached,
        cache_write_tokens: None,
        output_tokens: candidates,
        reasoning_tokens: thoughts,
    };
    (usage, map)
}

/// The vendor's counts of this usage; `rest` holds those that have no class.
pub(super) fn usage_value(usage: &Usage, rest: Option<&Value>) -> Option<Value> {
    let classes = [
        usage.input_tokens,
        usage.cached_input_tokens,
        usage.cache_write_tokens,
        usage.output_tokens,
        usage.reasoning_tokens,
    ];
    if classes.iter().all(Option::is_none) {
        return rest.cloned();
    }
    let tools = rest
        .and_then(|rest| rest.get("toolUsePromptTokenCount"))
        .and_then(Value::as_u64)
        .unwrap_or(0);
    let mut value = json!({});
    let prompt = [
        usage.input_tokens,
        usage.cached_input_tokens,
        usage.cache_write_tokens,
    ];
    if prompt.iter().any(Option::is_some) {
        let prompt: u64 = prompt.into_iter().flatten().sum();
        value["promptTokenCount"] = prompt.saturating_sub(tools).into();
    }
    let mut set = |name: &str, count: Option<u64>| {
        if let Some(count) = count {
            value[name] = count.into();
        }
    };
    set("cachedContentTokenCount", usage.cached_input_tokens);
    set("candidatesTokenCount", usage.output_tokens);
    set("thoughtsTokenCount", usage.reasoning_tokens);
    set("totalTokenCount", Some(classes.into_iter().flatten().sum()));
    if let Some(rest) = rest {
        fill(&mut value, rest);
    }
    Some(value)
}

pub(super) fn read_logprobs(result: &Value) -> Vec<TokenLogprob> {
    let list = |name: &str| result.get(name).and_then(Value::as_array);
    let token = |value: &Value| TokenLogprob {
        token: value
            .get("token")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned(),
        // A probability of 0 has no finite logarithm.
        logprob: value
            .get("logProbability")
            .and_then(Value::as_f64)
            .unwrap_or(f64::NEG_INFINITY),
        bytes: None,
        top: Vec::new(),
    };
    let tops = list("topCandidates");
    list("chosenCandidates")
        .into_iter()
        .flatten()
        .enumerate()
        .map(|(index, chosen)| TokenLogprob {
            top: tops
                .and_then(|tops| tops.get(index)?.get("candidates")?.as_array())
                .into_iter()
                .flatten()
                .map(token)
                .collect(),
            ..token(chosen)
        })
        .collect()
}

pub(super) fn logprobs_value(logprobs: &[TokenLogprob]) -> Value {
    let token =
        |token: &TokenLogprob| json!({"token": token.token, "logProbability": token.logprob});
    let chosen: Vec<Value> = logprobs.iter().map(token).collect();
    let mut value = json!({ "chosenCandidates": chosen });
    if logprobs.iter().any(|chosen| !chosen.top.is_empty()) {
        value["topCandidates"] = logprobs
            .iter()
            .map(|chosen| json!({"candidates": chosen.top.iter().map(token).collect::<Vec<_>>()}))
            .collect();
    }
    value
}

pub(crate) fn write_reply(reply: &Reply, context: &ReplyContext) -> Vec<u8> {
    let own = reply.source == Some(Dialect::Gemini);
    let mut answer = json!({});
    let blocked = own && reply.blocks.is_empty() && reply.extra.contains_key("promptFeedback");
    if !blocked {
        let mut parts: Vec<Value> = Vec::new();
        for (place, block) in reply.blocks.iter().enumerate() {
            if !repeats(block, reply.blocks.get(place + 1)) {
                write_block(block, own, &mut parts);
            }
        }
        let mut candidate = json!({
            "content": {"parts": parts, "role": "model"},
            "finishReason": finish_word(&reply.finish),
        });
        if !own {
            candidate["index"] = 0.into();
        }
        if own {
            let said = |name: &str| {
                reply
                    .extra
                    .get("candidates")
                    .and_then(|candidates| candidates.get(0)?.get(name))
            };
            if let Some(reason) = said("finishReason") {
                candidate["finishReason"] = reason.clone();
            }
        }
        if let Some(logprobs) = &reply.logprobs {
            candidate["logprobsResult"] = logprobs_value(logprobs);
        }
        answer["candidates"] = json!([candidate]);
    }
    let rest = reply.extra.get("usageMetadata").filter(|_| own);
    if let Some(usage) = usage_value(&reply.usage, rest) {
        answer["usageMetadata"] = usage;
    }
    answer["modelVersion"] = reply.model.as_deref().unwrap_or(&context.model).into();
    let id = reply.id.as_deref().unwrap_or(&context.id);
    if !id.is_empty() {
        answer["responseId"] = id.into();
    }
    if own {
        fill(&mut answer, &Value::Object(reply.extra.clone()));
    }
    answer.to_string().into_bytes()
}

/// Whether a proof without a thought is that of the call after it.
fn repeats(block: &Block, next: Option<&Block>) -> bool {
    match (block, next) {
        (
            Block::Thinking {
                text,
                signature: Some(proof),
                ..
            },
            Some(Block::ToolCall {
                signature: Some(of_call),
                ..
            }),
        ) => text.is_empty() && proof == of_call,
        _ => false,
    }
}

fn write_block(block: &Block, own: bool, parts: &mut Vec<Value>) {
    match block {
        Block::Text { text, .. } | Block::Refusal { text } => parts.push(json!({ "text": text })),
        Block::Thinking {
            text, signature, ..
        } => {
            let signature = signature.as_deref().filter(|_| own);
            if text.is_empty() {
                match (signature, parts.last_mut()) {
                    (Some(signature), Some(Value::Object(part)))
                        if part.contains_key("text") && !part.contains_key("thought") =>
                    {
                        part.insert("thoughtSignature".into(), signature.into());
                    }
                    (Some(signature), _) => {
                        parts.push(json!({"text": "", "thoughtSignature": signature}));
                    }
                    (None, _) => {}
                }
                return;
            }
            let mut part = json!({"text": text, "thought": true});
            if let Some(signature) = signature {
                part["thoughtSignature"] = signature.into();
            }
            parts.push(part);
        }
        Block::ToolCall {
            id,
            name,
            arguments,
            signature,
            ..
        } => {
            let mut part = call_value(id, name, arguments);
            if let Some(signature) = signature.as_deref().filter(|_| own) {
                part["thoughtSignature"] = signature.into();
            }
            parts.push(part);
        }
        Block::Other(part) if own => parts.push(part.clone()),
        // Only its own vendor can read the one, no answer holds the others.
        Block::RedactedThinking { .. }
        | Block::Other(_)
        | Block::Image { .. }
        | Block::ToolResult { .. } => {}
    }
}

/// A call as a part; arguments that are no object stand under `arguments`, as the model wrote them.
pub(super) fn call_value(id: &str, name: &str, arguments: &str) -> Value {
    let args = match serde_json::from_str(arguments) {
        Ok(Value::Object(args)) => args,
        _ if arguments.trim().is_empty() => Map::new(),
        _ => Map::from_iter([("arguments".to_owned(), Value::from(arguments))]),
    };
    let mut call = json!({"name": name, "args": args});
    if !id.starts_with(MADE_ID) {
        call["id"] = id.into();
    }
    json!({ "functionCall": call })
}
