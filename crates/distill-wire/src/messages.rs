//! Anthropic messages.

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
