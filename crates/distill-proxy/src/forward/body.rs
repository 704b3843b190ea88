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
    // A request that a task or redaction made, or that holds a sealed proof, is no longer the body; nor
    // is one that another vendor of the dialect takes and this one refuses.
    let as_it_came = passes
        && context.changed.is_none()
        && !envelope.has_seal
        && !target.vendor().quirks.refuses(&context.body);
    let body = if as_it_came {
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
        match context.endpoint {
            Endpoint::CountTokens => without_answer(&written.body).map_err(Unfit::Request)?,
            Endpoint::Chat(_) | Endpoint::Embeddings => written.body,
        }
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
/// Tokens of an image, however it is sent: one of the largest, at a vendor that counts them high.
const IMAGE_TOKENS: u64 = 16_384;
/// Tokens of documents and of what a target keeps of earlier requests: neither is in the body, and
/// both have to fit into a context. Few models have a longer one.
const CONTEXT_TOKENS: u64 = 262_144;
/// Output tokens of a request at most, over all its replies: callers may write any bound, and what no
/// model can write is not set aside.
const MOST_OUTPUT_TOKENS: u64 = 10_000_000;

/// The most that sending so many bytes can cost: no tokenizer makes more tokens than there are bytes
/// of text. Where the request names no bound of its answer, the engine's assumption stands in for it.
fn worst_case(context: &Context, member: &Member, bytes: usize) -> Usd {
    let envelope = &context.envelope;
    let text = bytes.saturating_sub(envelope.attached_bytes);
    let mut input = text as u64 + TEMPLATE_TOKENS;
    if envelope.has_tools || envelope.has_schema {
        input += TOOL_TOKENS;
    }
    input = input.saturating_add(envelope.images.saturating_mul(IMAGE_TOKENS));
    if envelope.files > 0 || envelope.refers_back {
        input = input.saturating_add(CONTEXT_TOKENS);
    }
    let output = match context.endpoint {
        Endpoint::Chat(_) => most_output(context, member),
        Endpoint::Embeddings => 0,
        Endpoint::CountTokens => return Usd::ZERO,
    };
    let usual = member.live.target.price().worst_case(input, output);
    usual * envelope.dearer.unwrap_or(1)
}

fn most_output(context: &Context, member: &Member) -> u64 {
    let changed = context.changed.as_deref();
    let asked = changed.map_or(context.envelope.max_tokens, |request| request.max_tokens);
    let replies = changed.map_or(context.envelope.n, |request| request.n);
    // What a member's options set counts where it is more.
    let set = |names: &[&str]| {
        let named = names.iter().filter_map(|name| member.options.get(*name));
        named.filter_map(Value::as_u64).max()
    };
    let bound = set(&["max_tokens", "max_completion_tokens", "max_output_tokens"]);
    let bound = asked
        .max(bound)
        .unwrap_or(context.engine.0.assumed_output_tokens);
    bound
        .saturating_mul(replies.max(set(&["n"])).unwrap_or(1).max(1))
        .min(MOST_OUTPUT_TOKENS)
}

/// A body of which tokens are counted: what only says how to answer is refused there.
fn without_answer(body: &[u8]) -> Result<Vec<u8>, RequestError> {
    const OF_THE_ANSWER: [&str; 8] = [
        "max_tokens",
        "stream",
        "temperature",
        "top_p",
        "top_k",
        "stop_sequences",
        "metadata",
        "service_tier",
    ];
    let mut object: Map<String, Value> =
        serde_json::from_slice(body).map_err(|error| RequestError::NotJson(error.to_string()))?;
    object.retain(|name, _| !OF_THE_ANSWER.contains(&name.as_str()));
    Ok(Value::Object(object).to_string().into_bytes())
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
