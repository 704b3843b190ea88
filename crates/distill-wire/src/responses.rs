//! Responses.

use crate::{
    ErrorReply, Malformed, ReadStream, Reply, ReplyContext, Request, RequestError, Unsupported,
    WriteStream, Written, quirks::Writing,
};

pub(crate) fn read_request(_body: &[u8]) -> Result<Request, RequestError> {
    unimplemented!()
}

pub(crate) fn write_request(
    _request: &Request,
    _writing: &Writing<'_>,
) -> Result<Written, Unsupported> {
    unimplemented!()
}

pub(crate) fn read_reply(_body: &[u8]) -> Result<Reply, Malformed> {
    unimplemented!()
}

pub(crate) fn write_reply(_reply: &Reply, _context: &ReplyContext) -> Vec<u8> {
    unimplemented!()
}

pub(crate) fn write_error(_error: &ErrorReply) -> Vec<u8> {
    unimplemented!()
}

pub(crate) fn stream_reader() -> Box<dyn ReadStream> {
    unimplemented!()
}

pub(crate) fn stream_writer(_context: &ReplyContext) -> Box<dyn WriteStream> {
    unimplemented!()
}
