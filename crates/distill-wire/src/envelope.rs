//! What a router must know of a body that it passes on untouched: found by a scan that builds
//! nothing and skips strings.

use std::ops::Range;

use crate::{Dialect, RequestError};

/// The facts of a request that routing, money and caching rest on.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Envelope {
    pub model: Option<String>,
    /// Where the model's JSON string stands in the body, quotes included.
    pub model_span: Option<Range<usize>>,
    pub stream: bool,
    /// The bound of the reply, under whichever name the dialect has for it.
    pub max_tokens: Option<u64>,
    pub temperature: Option<f64>,
    pub n: Option<u64>,
    pub has_tools: bool,
    pub has_images: bool,
    /// Whether the reply is to be held to a JSON schema.
    pub has_schema: bool,
    /// Whether the caller asked for usage at the end of a stream.
    pub stream_usage: bool,
    /// The caller's key of prompt-cache affinity (`prompt_cache_key`, `metadata.user_id`, `user`).
    pub session: Option<String>,
    /// Where the outermost object ends (its closing brace).
    pub end: usize,
}

/// Scans a body.
///
/// # Errors
/// [`RequestError`] where it is no JSON object or a field that is read has the wrong type.
pub fn scan(_dialect: Dialect, _body: &[u8]) -> Result<Envelope, RequestError> {
    unimplemented!()
}

impl Envelope {
    /// The body with another model's name and, where `meter` is set, a request for usage at the end of
    /// the stream; every other byte as it came.
    pub fn rewritten(&self, _body: &[u8], _model: &str, _meter: bool) -> Vec<u8> {
        unimplemented!()
    }
}
