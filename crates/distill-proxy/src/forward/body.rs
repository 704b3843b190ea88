//! The body for a target, and what it can cost at most.

use axum::body::Bytes;
use distill_gateway::Usd;
use distill_wire::{Dialect, Dropped, RequestError};
use reqwest::Url;
use serde_json::{Map, Value};

use super::{Context, Endpoint};
use crate::route::Member;

/// A request as it leaves for a target.
#[derive(Debug)]
pub(super) struct Prepared<'a> {
    pub(super) url: &'a Url,
    pub(super) body: Bytes,
    pub(super) dialect: Dialect,
    /// Whether the caller speaks the target's dialect, so that the answer is passed on as it is.
    pub(super) passes: bool,
    /// Whether usage was asked for that the caller did not ask for and is not shown.
    pub(super) hides_usage: bool,
    pub(super) dropped: Vec<Dropped>,
    /// The most that the attempt can cost.
    pub(super) reserved: Usd,
}

/// Why a target cannot be asked this.
#[derive(Debug)]
pub(super) enum Unfit {
    /// The body itself cannot be read; no other target would help.
    Request(RequestError),
    /// This target cannot be asked it.
    Target { field: String, reason: String },
}

pub(super) fn prepare<'a>(context: &Context, member: &'a Member) -> Result<Prepared<'a>, Unfit> {
    let live = &member.live;
    let (url, dialect) = match context.endpoint {
        Endpoint::Chat(dialect) => {
            let spoken = live.dialect_for(dialect);
            (live.url(spoken, context.streams()), spoken)
        }
        Endpoint::Embeddings => (live.embeddings.as_ref(), Dialect::ChatCompletions),
        Endpoint::CountTokens => (live.count_tokens.as_ref(), Dialect::Messages),
    };
    let url = url.ok_or_else(|| Unfit::Target {
        field: "model".to_owned(),
        reason: "its vendor has no such endpoint".to_owned(),
    })?;
    let caller = context.endpoint.dialect();
    let envelope = &context.envelope;
    let target = &live.target;
    let passes = dialect == caller;
    let mut dropped = Vec::new();
    let meter = context.streams()
        && dialect == Dialect::ChatCompletions
        && target.vendor().quirks.stream_options;
    // A request that a task or redaction made, or that holds a sealed proof, is no longer the body.
    let body = if passes && context.changed.is_none() && !envelope.has_seal {
        envelope.rewritten(
            &context.body,
            target.model(),
            meter && !envelope.stream_usage,
        )
    } else {
        let request = context.request().map_err(Unfit::Request)?;
        let writing = target.writing(context.engine.0.assumed_output_tokens, meter);
        let written = dialect
            .write_request(&request, &writing)
            .map_err(|unsupported| Unfit::Target {
                field: unsupported.field,
                reason: unsupported.reason,
            })?;
        dropped = written.dropped;
        written.body
    };
    let body = if member.options.is_empty() {
        body
    } else {
        with_options(&body, &member.options).map_err(Unfit::Request)?
    };
    Ok(Prepared {
        url,
        dialect,
        passes,
        hides_usage: passes && meter && !envelope.stream_usage,
        dropped,
        reserved: worst_case(context, member, body.len()),
        body: body.into(),
    })
}

/// Tokens that a chat template adds beyond the bytes of the body.
const TEMPLATE_TOKENS: u64 = 32;
/// Tokens of the instructions that vendors add when tools or a schema come with a request.
const TOOL_TOKENS: u64 = 1024;
/// Tokens of images that are named by their address: more than one of the largest.
const IMAGE_TOKENS: u64 = 16_384;

/// The most that sending so many bytes can cost: no tokenizer makes more tokens than there are bytes.
/// Where the request names no bound of its answer, the engine's assumption stands in for it.
fn worst_case(context: &Context, member: &Member, bytes: usize) -> Usd {
    let envelope = &context.envelope;
    let mut input = bytes as u64 + TEMPLATE_TOKENS;
    if envelope.has_tools || envelope.has_schema {
        input += TOOL_TOKENS;
    }
    if envelope.has_images {
        input += IMAGE_TOKENS;
    }
    let output = match context.endpoint {
        Endpoint::Chat(_) => context
            .changed
            .as_ref()
            .map_or(envelope.max_tokens, |request| request.max_tokens)
            .unwrap_or(context.engine.0.assumed_output_tokens)
            .saturating_mul(envelope.n.unwrap_or(1).max(1)),
        Endpoint::Embeddings => 0,
        Endpoint::CountTokens => return Usd::ZERO,
    };
    member.live.target.price().worst_case(input, output)
}

/// Sets fields of a body. The rest is written anew with the same values and order of fields.
fn with_options(body: &[u8], options: &Map<String, Value>) -> Result<Vec<u8>, RequestError> {
    let mut object: Map<String, Value> =
        serde_json::from_slice(body).map_err(|error| RequestError::NotJson(error.to_string()))?;
    for (name, value) in options {
        object.insert(name.clone(), value.clone());
    }
    Ok(Value::Object(object).to_string().into_bytes())
}
