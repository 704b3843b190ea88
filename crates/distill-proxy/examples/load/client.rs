//! A client that costs next to nothing: prepared bytes out, as little reading as will do.

use std::{
    fmt::Write as _,
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// One kept connection.
pub(crate) struct Connection {
    address: String,
    stream: Option<TcpStream>,
    buffer: Vec<u8>,
}

/// What an exchange was.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Exchange {
    pub(crate) status: u16,
    /// Until the first piece of the body.
    pub(crate) first: Duration,
    pub(crate) whole: Duration,
    /// A stream that ended as a good one does: `[DONE]` was seen.
    pub(crate) done: bool,
    /// The stream said that it failed.
    pub(crate) error: bool,
}

impl Connection {
    pub(crate) fn new(address: &str) -> Self {
        Self {
            address: address.to_owned(),
            stream: None,
            buffer: Vec::with_capacity(64 * 1024),
        }
    }

    /// Sends a prepared request and reads the answer to its end.
    pub(crate) async fn exchange(&mut self, request: &[u8]) -> std::io::Result<Exchange> {
        let result = self.attempt(request).await;
        if result.is_err() {
            self.stream = None;
        }
        result
    }

    async fn attempt(&mut self, request: &[u8]) -> std::io::Result<Exchange> {
        if self.stream.is_none() {
            let stream = TcpStream::connect(&self.address).await?;
            stream.set_nodelay(true)?;
            self.stream = Some(stream);
        }
        let stream = self.stream.as_mut().unwrap();
        let start = Instant::now();
        stream.write_all(request).await?;
        self.buffer.clear();
        let head_end = loop {
            if let Some(end) = find(&self.buffer, b"\r\n\r\n") {
                break end + 4;
            }
            more(stream, &mut self.buffer).await?;
        };
        let head = String::from_utf8_lossy(&self.buffer[..head_end]).to_ascii_lowercase();
        let status = head
            .split(' ')
            .nth(1)
            .and_then(|text| text.parse().ok())
            .unwrap_or(0);
        let header = |name: &str| {
            head.lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
                .map(str::trim)
        };
        let mut first = None;
        if let Some(length) = header("content-length").and_then(|text| text.parse::<usize>().ok()) {
            while self.buffer.len() < head_end + length {
                more(stream, &mut self.buffer).await?;
            }
            first.get_or_insert_with(|| start.elapsed());
        } else {
            // Chunked: the last chunk is empty.
            loop {
                if self.buffer.len() > head_end && first.is_none() {
                    first = Some(start.elapsed());
                }
                if self.buffer[head_end..].ends_with(b"0\r\n\r\n") {
                    break;
                }
                more(stream, &mut self.buffer).await?;
            }
        }
        let body = &self.buffer[head_end..];
        let closes = header("connection") == Some("close");
        let exchange = Exchange {
            status,
            first: first.unwrap(),
            whole: start.elapsed(),
            done: find(body, b"[DONE]").is_some(),
            error: find(body, b"\"error\"").is_some(),
        };
        if closes {
            self.stream = None;
        }
        Ok(exchange)
    }
}

async fn more(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> std::io::Result<()> {
    if stream.read_buf(buffer).await? == 0 {
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    }
    Ok(())
}

fn find(bytes: &[u8], part: &[u8]) -> Option<usize> {
    bytes.windows(part.len()).position(|window| window == part)
}

/// The bytes of a request.
pub(crate) fn request(path: &str, headers: &[(String, String)], body: &str) -> Vec<u8> {
    let mut head = format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\n",
        body.len()
    );
    for (name, value) in headers {
        let _ = write!(head, "{name}: {value}\r\n");
    }
    head.push_str("\r\n");
    let mut bytes = head.into_bytes();
    bytes.extend_from_slice(body.as_bytes());
    bytes
}

/// A chat request with a prompt of so many bytes.
pub(crate) fn chat(model: &str, prompt_bytes: usize, stream: bool) -> String {
    let words = "the quick brown fox jumps over the lazy dog and asks for its parcel ";
    let prompt: String = words.chars().cycle().take(prompt_bytes).collect();
    let stream = if stream { ",\"stream\":true" } else { "" };
    format!(
        "{{\"model\":\"{model}\",\"messages\":[{{\"role\":\"user\",\"content\":\"{prompt}\"}}],\"max_tokens\":100{stream}}}"
    )
}

/// The value below which a share of them lies (nearest rank); sorts.
pub(crate) fn quantile(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    if values.is_empty() {
        return f64::NAN;
    }
    let rank = (share * values.len() as f64).ceil() as usize;
    values[rank.clamp(1, values.len()) - 1]
}
