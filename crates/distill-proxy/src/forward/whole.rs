//! A whole answer: read, checked, booked, and put into the caller's dialect.

use std::{sync::Arc, time::Duration};

use axum::body::Bytes;
use distill_chat::{ObjectSchema, Usage};
use distill_gateway::{Failure, Usd};
use distill_wire::{Block, Dropped, Finish, OutputFormat, Reply, ReplyContext};
use serde::Deserialize;
use tokio::time::{Instant, timeout_at};

use super::{
    Context, Endpoint,
    attempt::Ended,
    body::Prepared,
    booked::{Booked, Broken, Facts},
    send::{LARGEST_BODY, late, of_transport},
    unix_seconds,
};
use crate::cache::gather;

/// An answer as the caller gets it.
#[derive(Debug)]
pub(super) struct WholeAnswer {
    pub(super) body: Bytes,
    pub(super) target: String,
    pub(super) simulated: bool,
    pub(super) model: Option<String>,
    pub(super) usage: Usage,
    pub(super) usd: Option<Usd>,
    pub(super) dropped: Vec<Dropped>,
    pub(super) elapsed: Duration,
    /// Whether it holds what was asked for.
    pub(super) valid: bool,
}

/// Reads an answer. `until`: when it must have come.
pub(super) async fn read(
    context: &Arc<Context>,
    prepared: Prepared<'_>,
    response: reqwest::Response,
    booked: Booked,
    until: Instant,
) -> Ended {
    let status = response.status().as_u16();
    let understood = match collect(context, response, until).await {
        Ok(body) => understand(context, &prepared, &body).map(|understood| (body, understood)),
        Err(broken) => Err(broken),
    };
    let (body, (facts, reply)) = match understood {
        Ok(read) => read,
        Err(broken) => {
            let mut broken = Broken {
                status: Some(status),
                ..broken
            };
            booked.failed(&mut broken, Facts::default());
            return Ended::Failed(broken);
        }
    };
    let invalid = reply
        .as_ref()
        .is_some_and(|reply| breaks_schema(context, reply));
    let usd = match context.endpoint {
        Endpoint::CountTokens => Some(Usd::ZERO),
        _ => booked.price(facts.usage),
    };
    let body = match reply {
        Some(reply) if !prepared.passes => {
            let shown = reply_context(context, &prepared);
            context
                .endpoint
                .dialect()
                .write_reply(&reply, &shown)
                .into()
        }
        _ => body,
    };
    let live = Arc::clone(booked.live());
    let answer = Box::new(WholeAnswer {
        body,
        target: live.name().to_owned(),
        simulated: live.target.simulated(),
        model: facts.model.clone(),
        usage: facts.usage,
        dropped: prepared.dropped,
        elapsed: context.started.elapsed(),
        valid: !invalid,
        usd: booked.answered(
            facts,
            usd,
            if invalid {
                Failure::InvalidOutput.rule().name
            } else {
                "answered"
            },
        ),
    });
    if invalid {
        Ended::Invalid(answer)
    } else {
        Ended::Whole(answer)
    }
}

/// What a writer of replies must know here.
pub(super) fn reply_context(context: &Context, prepared: &Prepared<'_>) -> ReplyContext {
    ReplyContext {
        source: Some(prepared.dialect),
        model: context.model_asked().to_owned(),
        id: context.id.clone(),
        created: unix_seconds(),
        stream_usage: context.envelope.stream_usage,
        request: context.request().ok(),
    }
}

async fn collect(
    context: &Context,
    mut response: reqwest::Response,
    until: Instant,
) -> Result<Bytes, Broken> {
    let between = context.route.config.timeouts.between_tokens;
    let mut first = Bytes::new();
    let mut body: Vec<u8> = Vec::new();
    loop {
        let stall = Instant::now() + between;
        match timeout_at(until.min(stall), response.chunk()).await {
            Err(_) if stall < until => {
                return Err(Broken::new(
                    Failure::Stalled,
                    format!("no byte for {} s", between.as_secs_f64()),
                ));
            }
            Err(_) => return Err(late(context, until)),
            Ok(Err(error)) => return Err(of_transport(&error)),
            Ok(Ok(None)) if body.is_empty() => return Ok(first),
            Ok(Ok(None)) => return Ok(body.into()),
            Ok(Ok(Some(chunk))) => {
                if first.len().max(body.len()) + chunk.len() > LARGEST_BODY {
                    return Err(Broken::new(
                        Failure::Malformed,
                        format!("the answer is larger than {LARGEST_BODY} bytes"),
                    ));
                }
                // One piece, as most answers come, is not copied.
                if first.is_empty() && body.is_empty() {
                    first = chunk;
                } else {
                    if body.is_empty() {
                        body.extend_from_slice(&first);
                    }
                    body.extend_from_slice(&chunk);
                }
            }
        }
    }
}

/// The parts of an answer of embeddings that are read.
#[derive(Deserialize)]
struct Embeddings {
    model: Option<String>,
    #[serde(rename = "data")]
    _data: Vec<serde::de::IgnoredAny>,
    usage: Option<EmbeddingUsage>,
}

#[derive(Deserialize)]
struct EmbeddingUsage {
    prompt_tokens: Option<u64>,
    /// All that some vendors tell; a vector has no other tokens.
    total_tokens: Option<u64>,
}

/// No vendor charges for counting: the number is what was asked for, not what was used.
pub(super) const NOTHING_CHARGED: Usage = Usage {
    input_tokens: Some(0),
    cached_input_tokens: None,
    cache_write_tokens: None,
    output_tokens: Some(0),
    reasoning_tokens: None,
};

#[derive(Deserialize)]
struct Counted {
    #[serde(rename = "input_tokens")]
    _input_tokens: u64,
}

/// What an answer says of itself; its words only where it is a conversation's.
fn understand(
    context: &Context,
    prepared: &Prepared<'_>,
    body: &[u8],
) -> Result<(Facts, Option<Reply>), Broken> {
    let malformed = |problem: String| Broken::new(Failure::Malformed, problem);
    match context.endpoint {
        Endpoint::Chat(_) => {
            let reply = prepared
                .dialect
                .read_reply(body)
                .map_err(|error| malformed(error.to_string()))?;
            let facts = Facts {
                usage: reply.usage,
                model: reply.model.clone(),
                id: reply.id.clone(),
                fingerprint: reply.fingerprint.clone(),
            };
            Ok((facts, Some(reply)))
        }
        Endpoint::Embeddings => {
            let read: Embeddings =
                serde_json::from_slice(body).map_err(|error| malformed(error.to_string()))?;
            let usage = Usage {
                input_tokens: read
                    .usage
                    .and_then(|usage| usage.prompt_tokens.or(usage.total_tokens)),
                // A vector is no token.
                output_tokens: Some(0),
                ..Usage::default()
            };
            let facts = Facts {
                usage,
                model: read.model,
                ..Facts::default()
            };
            Ok((facts, None))
        }
        Endpoint::CountTokens => {
            let _: Counted =
                serde_json::from_slice(body).map_err(|error| malformed(error.to_string()))?;
            let facts = Facts {
                usage: NOTHING_CHARGED,
                ..Facts::default()
            };
            Ok((facts, None))
        }
    }
}

/// Whether a stream that was sent whole breaks the schema that was asked for: too late for its caller,
/// but not for who would give it again.
pub(super) fn stream_breaks_schema(context: &Context, sent: &[u8]) -> bool {
    asks_for_form(context)
        && gather(context.endpoint.dialect(), sent)
            .is_some_and(|reply| breaks_schema(context, &reply))
}

fn asks_for_form(context: &Context) -> bool {
    context.envelope.has_schema || context.changed.is_some()
}

/// Whether a whole reply is not the JSON that the request asks for. A reply that was cut, withheld or
/// calls a tool is not judged: another model will not mend the limit or the question.
fn breaks_schema(context: &Context, reply: &Reply) -> bool {
    if !asks_for_form(context) || reply.finish != Finish::Stop {
        return false;
    }
    let Ok(request) = context.request() else {
        return false;
    };
    let schema = match &request.output {
        Some(OutputFormat::JsonSchema { schema, .. }) => Some(schema),
        Some(OutputFormat::JsonObject) => None,
        Some(OutputFormat::Text) | None => return false,
    };
    let mut text = String::new();
    for block in &reply.blocks {
        match block {
            Block::Text { text: part, .. } => text.push_str(part),
            Block::ToolCall { .. } | Block::Refusal { .. } => return false,
            _ => {}
        }
    }
    let Ok(value) = serde_json::from_str::<serde_json::Value>(text.trim()) else {
        return true;
    };
    // A schema beyond what this project can check was held by the vendor or by nobody.
    schema
        .and_then(|schema| ObjectSchema::parse(schema).ok())
        .is_some_and(|schema| schema.check(&value).is_err())
}
