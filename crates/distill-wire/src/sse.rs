//! Server-sent events (WHATWG HTML, section 9.2): a decoder that takes any split into chunks.

use memchr::{memchr, memchr2};

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

/// Turns chunks of bytes into frames. What is not whole at the end of the stream is no frame: a
/// stream that was cut in mid-event has no such event.
#[derive(Debug)]
pub struct Decoder {
    limit: usize,
    /// The line that has begun; a line is read once it is whole, so that a character that is split
    /// between chunks is whole as well.
    line: Vec<u8>,
    event: Option<String>,
    data: Option<Vec<u8>>,
    /// The last byte was a carriage return: a line feed that follows belongs to it.
    after_return: bool,
    /// Whether a line was read, after which a byte order mark is text.
    begun: bool,
    failed: bool,
}

impl Decoder {
    /// `limit`: the most bytes of one event.
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            line: Vec::new(),
            event: None,
            data: None,
            after_return: false,
            begun: false,
            failed: false,
        }
    }

    /// Takes bytes; appends the frames that are whole.
    ///
    /// # Errors
    /// [`TooLong`]; the stream is then to be given up, and every later call fails too.
    pub fn push(&mut self, bytes: &[u8], frames: &mut Vec<Frame>) -> Result<(), TooLong> {
        let too_long = TooLong { limit: self.limit };
        if self.failed {
            return Err(too_long);
        }
        let mut rest = bytes;
        while !rest.is_empty() {
            if std::mem::take(&mut self.after_return) && rest[0] == b'\n' {
                rest = &rest[1..];
                continue;
            }
            let Some(end) = memchr2(b'\n', b'\r', rest) else {
                self.line.extend_from_slice(rest);
                self.fits(self.line.len()).ok_or(too_long)?;
                break;
            };
            let (head, tail) = rest.split_at(end);
            self.after_return = tail[0] == b'\r';
            rest = &tail[1..];
            // Most lines come whole and are read where they lie.
            if self.line.is_empty() {
                self.fits(head.len()).ok_or(too_long)?;
                self.read_line(head, frames);
            } else {
                self.line.extend_from_slice(head);
                self.fits(self.line.len()).ok_or(too_long)?;
                let mut line = std::mem::take(&mut self.line);
                self.read_line(&line, frames);
                line.clear();
                self.line = line;
            }
        }
        Ok(())
    }

    /// `None` where the event would grow beyond the limit with a line of this length.
    fn fits(&mut self, line: usize) -> Option<()> {
        let held =
            self.data.as_ref().map_or(0, Vec::len) + self.event.as_ref().map_or(0, String::len);
        self.failed = held + line > self.limit;
        (!self.failed).then_some(())
    }

    fn read_line(&mut self, line: &[u8], frames: &mut Vec<Frame>) {
        let line = if std::mem::replace(&mut self.begun, true) {
            line
        } else {
            line.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(line)
        };
        if line.is_empty() {
            let event = self.event.take();
            // An event without data is none.
            if let Some(data) = self.data.take() {
                frames.push(Frame {
                    event,
                    data: into_text(data),
                });
            }
            return;
        }
        let (field, value) = match memchr(b':', line) {
            Some(colon) => {
                let value = &line[colon + 1..];
                (&line[..colon], value.strip_prefix(b" ").unwrap_or(value))
            }
            None => (line, &line[line.len()..]),
        };
        match field {
            b"data" => match &mut self.data {
                Some(data) => {
                    data.push(b'\n');
                    data.extend_from_slice(value);
                }
                None => self.data = Some(value.to_vec()),
            },
            // An empty name is as good as none.
            b"event" => {
                self.event = Some(into_text(value.to_vec())).filter(|name| !name.is_empty());
            }
            // `id` and `retry` concern clients that connect again, which nobody does in mid-answer; a
            // line that begins with a colon is a comment.
            _ => {}
        }
    }
}

fn into_text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
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

#[cfg(test)]
mod tests;
