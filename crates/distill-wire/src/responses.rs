//! `OpenAI` responses, by the vendor's `OpenAPI` description (version 2.3.0) of `POST /v1/responses`.
//!
//! What a request of another dialect becomes here:
//!
//! | there | here |
//! |---|---|
//! | instructions before the conversation | `instructions`; alone, a developer's message |
//! | instructions in mid-conversation | a developer's message |
//! | a turn | its texts and images as messages, its calls, results and thoughts as items |
//! | documents and files by data or address | `input_file` |
//! | thinking of this vendor, sealed | a reasoning item with its name and `encrypted_content` |
//! | effort or a budget | `reasoning.effort`, `summary: auto` where thoughts are shown |
//! | `strict` not said | `false`: here it would be true |
//! | `store` not said | `false`: callers of other dialects expect nothing kept |
//!
//! Tools that only this dialect has, and their calls, become functions elsewhere and are translated
//! back in the reply: see `tools`. What is left out by name, and what is refused, stands in
//! [`NOT_CARRIED`].
//!
//! The names of items (`msg_`, `fc_`, ...) mean something only with state that the vendor keeps. In a
//! request that is written anew, messages keep theirs and calls have none; in replies they are made of
//! the reply's name and the place of the item.
//!
//! To callers: texts that follow each other are parts of one message; what only another dialect knows
//! is not shown. The input of a custom tool comes in one piece. A stream that fails says `error` and
//! `response.failed`: some clients know only the one, some only the other. Of the usage, a part that
//! was not reported is left out with its object, and without both totals there is no `usage`.

mod echo;
mod emit;
mod read;
mod reply;
mod stream;
mod tools;
mod write;

use crate::{
    ErrorReply, Malformed, ReadStream, Reply, ReplyContext, Request, RequestError, Unsupported,
    WriteStream, Written, quirks::Writing,
};

/// Fields of other dialects that this one cannot say, and whether a request with them is refused (else
/// they are left out and named).
pub const NOT_CARRIED: [(&str, bool); 17] = [
    ("n above 1", true),
    ("stop sequences", true),
    ("parts that no file can hold: search results, audio", true),
    ("images that another vendor keeps", true),
    ("a forced tool that another vendor runs", true),
    ("other tools that another vendor runs", false),
    ("top_k", false),
    ("presence_penalty", false),
    ("frequency_penalty", false),
    ("seed", false),
    ("cache_control", false),
    ("is_error of a tool's result", false),
    ("metadata of the messages dialect", false),
    ("a user's name above 64 bytes", false),
    ("reasoning, for models that do not think", false),
    ("thinking of another vendor", false),
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
    reply::write_error(error)
}

pub(crate) fn stream_reader() -> Box<dyn ReadStream> {
    Box::<stream::Reader>::default()
}

pub(crate) fn stream_writer(context: &ReplyContext) -> Box<dyn WriteStream> {
    Box::new(emit::Writer::new(context))
}

#[cfg(test)]
mod tests;
