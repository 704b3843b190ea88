//! Anthropic messages, by the vendor's reference of `POST /v1/messages` (version 2023-06-01).
//!
//! What a request of another dialect becomes here:
//!
//! | there | here |
//! |---|---|
//! | instructions before the conversation | `system`; alone, the user's words |
//! | instructions in mid-conversation | the user's words in `<system>` tags |
//! | results of tools, and what the user says beside them | one user message, results first |
//! | names of calls | letters, digits, `_` and `-`; others become `_` |
//! | arguments that are no object | an object with the text in `arguments` |
//! | files, documents by data or address | `document` |
//! | `prompt_cache_key` | marks at the end of the instructions and of the conversation |
//! | effort | a budget, or adaptive thinking with an effort: see `thinking` |
//! | JSON schema | `output_config.format` |
//! | `parallel_tool_calls: false` | `disable_parallel_tool_use` |
//! | no bound of the reply | the target's default: the vendor requires one |
//! | a temperature above 1 | 1, named |
//!
//! What is left out by name, and what is refused, stands in [`NOT_CARRIED`]. Thinking that another
//! vendor made is left out; thinking of this vendor that travelled through a caller of another dialect
//! comes back with its signature.
//!
//! To callers: blocks that only another dialect knows are not shown, nor are log-probabilities; a
//! refusal is text with the stop reason `refusal`. In streams, blocks that interleave are told one
//! after the other, and a call that says nothing says `{}`. The counts in `message_start` are
//! placeholders where the vendor reports none there, as the vendor's own output count is: the last
//! event counts.

mod read;
mod reply;
mod stream;
mod thinking;
mod write;

use crate::{
    ErrorReply, Malformed, ReadStream, Reply, ReplyContext, Request, RequestError, Unsupported,
    WriteStream, Written, quirks::Writing,
};

pub(crate) use thinking::effort_of_budget;

/// Fields of other dialects that this one cannot say, and whether a request with them is refused (else
/// they are left out and named).
pub const NOT_CARRIED: [(&str, bool); 21] = [
    ("n above 1", true),
    ("state that another vendor keeps", true),
    ("parts that no document can hold: audio, stored files", true),
    ("a forced tool that another vendor runs", true),
    ("other tools that another vendor runs", false),
    ("tools[].strict", false),
    ("presence_penalty", false),
    ("frequency_penalty", false),
    ("seed", false),
    ("logprobs", false),
    ("store", false),
    ("metadata but for the user's name", false),
    ("service_tier but for `auto` and `default`", false),
    ("speakers' names", false),
    ("JSON mode without a schema", false),
    ("resolution of images", false),
    ("annotations", false),
    ("thinking of another vendor", false),
    ("temperature, top_p and top_k beside thinking", false),
    ("top_p beside a temperature", false),
    ("fields that only the caller's dialect knows", false),
];

pub(crate) fn read_request(body: &[u8]) -> Result<Request, RequestError> {
    read::request(body)
}

pub(crate) fn write_request(
    request: &Request,
    writing: &Writing<'_>,
) -> Result<Written, Unsupported> {
    write::request(request, writing)
}

pub(crate) fn read_reply(body: &[u8]) -> Result<Reply, Malformed> {
    reply::read(body)
}

pub(crate) fn write_reply(reply: &Reply, context: &ReplyContext) -> Vec<u8> {
    reply::write(reply, context)
}

pub(crate) fn write_error(error: &ErrorReply) -> Vec<u8> {
    reply::write_error(error).to_string().into_bytes()
}

pub(crate) fn stream_reader() -> Box<dyn ReadStream> {
    Box::<stream::Reader>::default()
}

pub(crate) fn stream_writer(context: &ReplyContext) -> Box<dyn WriteStream> {
    Box::new(stream::Writer::new(context))
}

#[cfg(test)]
mod tests;
