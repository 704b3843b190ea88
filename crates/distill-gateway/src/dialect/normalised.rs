//! The dialects that labelling reaches through the normalised request and reply.

use distill_chat::{ChatRequest, Completion, FinishReason, Role};
use distill_wire::{
    Block, Dialect, Finish, Malformed, OutputFormat, Request, Turn, TurnRole, Unsupported, Writing,
};

use super::{Reply, Wire};

pub(super) fn body(
    dialect: Dialect,
    request: &ChatRequest,
    wire: Wire<'_>,
) -> Result<String, Unsupported> {
    let written = dialect.write_request(
        &normalised(request),
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
        },
        response_id: reply.id,
    })
}

fn normalised(request: &ChatRequest) -> Request {
    let (system, turns) = request
        .messages
        .iter()
        .partition::<Vec<_>, _>(|message| message.role == Role::System);
    Request {
        model: request.model.clone(),
        system: system
            .into_iter()
            .map(|message| Block::text(message.content.clone()))
            .collect(),
        turns: turns
            .into_iter()
            .map(|message| Turn {
                role: match message.role {
                    Role::Assistant => TurnRole::Assistant,
                    Role::System | Role::User => TurnRole::User,
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
        ..Request::default()
    }
}
