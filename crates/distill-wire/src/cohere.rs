//! Cohere's chat, version 2 (`POST /v2/chat`).
//!
//! What becomes of a request stands in [`REQUEST_TABLE`]. A model's plan before it calls tools
//! (`tool_plan`) is thinking whose item is named [`PLAN`].
//!
//! What becomes of usage: the vendor reports what it bills (`billed_units`) apart from what its model
//! read and wrote with the tokens that it adds itself (`tokens`, of which `cached_tokens` came from a
//! cache). The bill counts: `billed_units` where it is there, `tokens` where not; the rest is kept in
//! the reply's `extra`.

mod reply;
mod request;
mod stream;
mod write;

use serde_json::json;

use crate::ErrorReply;

pub(crate) use reply::{read_reply, write_reply};
pub(crate) use request::read_request;
pub(crate) use stream::{stream_reader, stream_writer};
pub(crate) use write::write_request;

/// The name of a thinking block that is the plan of a message's calls.
const PLAN: &str = "tool_plan";

/// What becomes of each part of a request: what it is, and what is done where Cohere has no place
/// for it.
pub const REQUEST_TABLE: &[(&str, &str)] = &[
    ("system", "carried, also in mid-conversation"),
    ("text", "carried"),
    (
        "image",
        "carried; a file that another vendor keeps is refused, so is one in an answer's history",
    ),
    ("document, audio", "refused"),
    ("tool call", "carried"),
    (
        "tool result",
        "carried; that it is an error is said in its text; images are refused",
    ),
    ("thinking", "carried; signatures are dropped"),
    ("redacted thinking", "dropped"),
    ("refusal", "carried as text"),
    (
        "tools",
        "carried; `strict` holds for all of them where all ask for it, else it is dropped; other vendors' own tools are dropped, refused where one is forced",
    ),
    (
        "tool_choice",
        "carried; a single tool by sending only that one",
    ),
    ("parallel_tool_calls: false", "dropped"),
    (
        "max_tokens, temperature, top_p, top_k, penalties, seed",
        "carried; a negative seed is dropped",
    ),
    ("stop", "carried; more than 5 are refused"),
    ("logprobs", "carried; `top_logprobs` is dropped"),
    (
        "response format",
        "carried; refused beside tools; its name, description and `strict` are dropped",
    ),
    (
        "reasoning",
        "carried for models with `reasoning` in their names, dropped for others; an effort is dropped",
    ),
    ("n", "refused above 1"),
    ("cache_control, annotations, names of speakers", "dropped"),
    (
        "user, metadata, service_tier, store, prompt_cache_key",
        "dropped",
    ),
    ("anything else", "dropped"),
];

pub(crate) fn write_error(error: &ErrorReply) -> Vec<u8> {
    json!({ "message": error.message }).to_string().into_bytes()
}

#[cfg(test)]
mod tests;
