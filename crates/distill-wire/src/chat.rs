//! Chat completions: `OpenAI`'s dialect, and what the compatible servers (Mistral, `DeepSeek`, Groq,
//! xAI, `OpenRouter`, vLLM, Ollama) make of it. Sources: `OpenAI`'s API description 2.3.0, and
//! answers that these vendors gave.
//!
//! What becomes of a request's parts when it is written for a target of this dialect is in
//! [`CARRIED`]. A reply loses on its way to a caller of this dialect: citations of other dialects
//! (their shape is unknown here), the sequence that stopped it, blocks that only their own dialect
//! knows. Thinking is shown as `reasoning_content`; where there is a proof to it, also as
//! `reasoning_details`, the form that `OpenRouter`'s clients send back.

mod chunk;
mod failure;
mod part;
mod read_stream;
mod reply;
mod request;
mod thinking;
mod usage;
mod write;
mod write_stream;

use crate::{
    Dialect, ErrorReply, Malformed, ReadStream, Reply, ReplyContext, Request, RequestError,
    Unsupported, WriteStream, Written, quirks::Writing,
};

const OWN: Dialect = Dialect::ChatCompletions;

/// What a writer of this dialect does with a part of a request, and when.
pub const CARRIED: [(&str, &str); 22] = [
    (
        "system",
        "one message, texts joined by an empty line; parts where cache hints are known",
    ),
    (
        "system in mid-conversation",
        "a system message at its place",
    ),
    (
        "text, images",
        "parts; an image's address only where the vendor fetches images, else refused",
    ),
    (
        "documents",
        "files of type PDF or text as `file` or text parts; other kinds refused",
    ),
    (
        "tool calls and results",
        "carried; names that the vendor refuses replaced by a hash",
    ),
    (
        "images in a tool's result",
        "shown in a user message that follows the results",
    ),
    ("error mark of a tool's result", "dropped: its text stands"),
    (
        "thinking of the same dialect",
        "in the vendor's field for it, else dropped",
    ),
    (
        "thinking of another dialect",
        "dropped: another vendor refuses the proof",
    ),
    (
        "cache hints",
        "`cache_control` where known (OpenRouter), else dropped",
    ),
    ("citations", "dropped: a reply's notes are not sent back"),
    (
        "tools",
        "functions carried; tools that another vendor runs dropped, refused if insisted on",
    ),
    ("tool choice", "carried; refused where no tool is left"),
    (
        "parallel_tool_calls",
        "carried; a ban that the vendor does not know dropped",
    ),
    (
        "JSON schema",
        "carried; where the vendor knows JSON alone or nothing, in words and dropped by name",
    ),
    (
        "sampling",
        "temperature, top_p, penalties, stop, n carried; seed, top_k, logprobs where known",
    ),
    (
        "bound of the reply",
        "always sent, under the vendor's name for it",
    ),
    (
        "reasoning",
        "effort, switch or object as the vendor knows it; a budget becomes an effort",
    ),
    ("usage of a stream", "asked for where known"),
    (
        "metadata, service tier, store, cache key",
        "to OpenAI; dropped elsewhere",
    ),
    ("user", "carried up to 64 bytes, where known"),
    (
        "fields that only this dialect knows",
        "carried from its own callers; others' dropped by name",
    ),
];

pub(crate) fn read_request(body: &[u8]) -> Result<Request, RequestError> {
    request::read(body)
}

pub(crate) fn write_request(
    request: &Request,
    writing: &Writing<'_>,
) -> Result<Written, Unsupported> {
    write::write(request, writing)
}

pub(crate) fn read_reply(body: &[u8]) -> Result<Reply, Malformed> {
    reply::read(body)
}

pub(crate) fn write_reply(reply: &Reply, context: &ReplyContext) -> Vec<u8> {
    reply::write(reply, context)
}

pub(crate) fn write_error(error: &ErrorReply) -> Vec<u8> {
    failure::write(error)
}

pub(crate) fn stream_reader() -> Box<dyn ReadStream> {
    Box::new(read_stream::Reader::default())
}

pub(crate) fn stream_writer(context: &ReplyContext) -> Box<dyn WriteStream> {
    Box::new(write_stream::Writer::new(context))
}

/// The vendor's name of the exchange, unless it has the form of another dialect.
fn reply_id<'a>(id: Option<&'a str>, context: &'a ReplyContext) -> &'a str {
    match id {
        Some(id)
            if context.id.is_empty() || !(id.starts_with("msg_") || id.starts_with("resp_")) =>
        {
            id
        }
        _ => &context.id,
    }
}

#[cfg(test)]
mod tests;
