//! Labelling requests and their replies, by way of the normalised ones.

use distill_chat::{ChatRequest, Completion, FinishReason, Role, TokenLogprob};
use distill_wire::{
    Block, Dialect, Finish, Malformed, OutputFormat, Request, Turn, TurnRole, Unsupported, Writing,
};
use serde_json::Value;

use super::{Reply, Wire};

pub(super) fn body(
    dialect: Dialect,
    request: &ChatRequest,
    wire: Wire<'_>,
) -> Result<String, Unsupported> {
    let written = dialect.write_request(
        &normalised(dialect, request),
        &Writing {
            model: wire.model,
            quirks: wire.quirks,
            fixed_temperature: wire.fixed_temperature,
            default_max_tokens: u64::from(wire.max_tokens),
            meter: false,
        },
    )?;
    Ok(String::from_utf8_lossy(&written.body).into_owned())
}

pub(super) fn parse(dialect: Dialect, body: &[u8]) -> Result<Reply, Malformed> {
    let reply = dialect.read_reply(body)?;
    // A refusal is an answer that was withheld, whatever reason stands beside it.
    let refused = reply
        .blocks
        .iter()
        .any(|block| matches!(block, Block::Refusal { .. }));
    let text = reply
        .blocks
        .iter()
        .filter_map(|block| match block {
            Block::Text { text, .. } | Block::Refusal { text } => Some(text.as_str()),
            _ => None,
        })
        .collect();
    Ok(Reply {
        completion: Completion {
            text,
            finish: match reply.finish {
                _ if refused => FinishReason::ContentFilter,
                Finish::Stop => FinishReason::Stop,
                Finish::Length => FinishReason::Length,
                Finish::ToolCalls => FinishReason::ToolCalls,
                Finish::ContentFilter => FinishReason::ContentFilter,
                Finish::Pause => FinishReason::Other("pause".to_owned()),
                Finish::Other(other) => FinishReason::Other(other),
            },
            usage: reply.usage,
            model: reply.model.ok_or(Malformed::Missing("model"))?,
            logprob: None,
            token_logprobs: reply
                .logprobs
                .map(|tokens| tokens.into_iter().map(told).collect()),
        },
        response_id: reply.id,
    })
}

/// Whether an answer has the parts without which it would be taken for an empty one.
pub(super) fn is_whole(body: &Value) -> Result<(), Malformed> {
    let choice = body
        .pointer("/choices/0")
        .ok_or(Malformed::Missing("choice"))?;
    let message = choice
        .get("message")
        .filter(|message| message.is_object())
        .ok_or(Malformed::Missing("message"))?;
    let has = |name: &str| message.get(name).is_some_and(|value| !value.is_null());
    match choice.get("finish_reason").and_then(Value::as_str) {
        _ if has("refusal") => Ok(()),
        None => Err(Malformed::Missing("finish reason")),
        Some("stop") if !has("content") => Err(Malformed::Missing("content")),
        Some(_) => Ok(()),
    }
}

fn normalised(dialect: Dialect, request: &ChatRequest) -> Request {
    // Instructions in mid-conversation stay where they are, where the dialect has a place for them.
    let leading = request
        .messages
        .iter()
        .take_while(|message| message.role == Role::System)
        .count();
    let (system, turns): (Vec<_>, Vec<_>) =
        request
            .messages
            .iter()
            .enumerate()
            .partition(|(index, message)| {
                message.role == Role::System
                    && (*index < leading || dialect != Dialect::ChatCompletions)
            });
    Request {
        model: request.model.clone(),
        system: system
            .into_iter()
            .map(|(_, message)| Block::text(message.content.clone()))
            .collect(),
        turns: turns
            .into_iter()
            .map(|(_, message)| Turn {
                role: match message.role {
                    Role::Assistant => TurnRole::Assistant,
                    Role::System => TurnRole::System,
                    Role::User => TurnRole::User,
                },
                blocks: vec![Block::text(message.content.clone())],
                name: None,
                extra: serde_json::Map::new(),
            })
            .collect(),
        max_tokens: request.max_tokens.map(u64::from),
        temperature: request.temperature,
        stop: request.stop.clone(),
        seed: request.seed.and_then(|seed| i64::try_from(seed).ok()),
        output: request
            .response_schema
            .as_ref()
            .map(|schema| OutputFormat::JsonSchema {
                name: Some("answer".to_owned()),
                description: None,
                schema: schema.clone(),
                strict: None,
            }),
        logprobs: request.top_logprobs.map(u64::from),
        ..Request::default()
    }
}

fn told(token: distill_wire::TokenLogprob) -> TokenLogprob {
    TokenLogprob {
        token: token.token,
        logprob: token.logprob,
        top: token
            .top
            .into_iter()
            .map(|other| (other.token, other.logprob))
            .collect(),
    }
}
