//! What a router must know of a body that it passes on untouched: found by a scan that builds
//! nothing and skips strings.
//!
//! The scan holds that a body is one JSON object (RFC 8259): its punctuation, its literals, its
//! numbers, its nesting, its UTF-8. The inside of a string that nothing here reads is the target's to
//! judge. A key that is read may stand once only: a target that takes the first of two would
//! answer another request than the one that was permitted and paid for.

mod scanner;

use std::ops::Range;

use crate::{Dialect, RequestError};
use scanner::Scanner;

/// The facts of a request that routing, money and caching rest on.
#[derive(Debug, Clone, Default, PartialEq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a fact of its own, not a state"
)]
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
    /// Images, and documents of other kinds, that are parts of messages or of results of tools.
    pub images: u64,
    pub files: u64,
    /// Bytes of those parts: how many tokens they come to has little to do with their length.
    pub attached_bytes: usize,
    /// Whether the prompt goes on from something that its target keeps (`previous_response_id`,
    /// `conversation`, a stored `prompt`).
    pub refers_back: bool,
    /// Where another tier than the usual is asked for (`service_tier`, `speed`): how many times the
    /// usual price it costs at most.
    pub dearer: Option<u64>,
    /// Whether the reply is to be held to a JSON schema.
    pub has_schema: bool,
    /// Whether a sealed proof of thinking stands somewhere ([`crate::SEAL`]): the body must then be
    /// read and written anew, whichever dialect the target speaks.
    pub has_seal: bool,
    /// Whether usage comes at the end of a stream: the caller asked for it, or the dialect always
    /// sends it.
    pub stream_usage: bool,
    /// The caller's key of prompt-cache affinity (`prompt_cache_key`, `metadata.user_id`, `user`).
    pub session: Option<String>,
    /// Where the value of `stream_options` stands.
    pub stream_options: Option<Range<usize>>,
    /// Where the value of `stream_options.include_usage` stands.
    pub include_usage: Option<Range<usize>>,
    /// Where the outermost object ends (its closing brace).
    pub end: usize,
}

/// Scans a body. Bodies of `/v1/embeddings` are scanned as chat completions.
///
/// # Errors
/// [`RequestError`] where it is no JSON object, a field that is read has the wrong type, or stands
/// twice.
pub fn scan(dialect: Dialect, body: &[u8]) -> Result<Envelope, RequestError> {
    if let Err(error) = std::str::from_utf8(body) {
        return Err(RequestError::NotJson(format!(
            "byte {} is not UTF-8",
            error.valid_up_to()
        )));
    }
    let mut scanner = Scanner::new(body);
    let mut fields = Fields::new(dialect);
    scanner.whole(&mut |scanner, key| fields.read(scanner, key))?;
    fields.envelope.end = scanner.last();
    fields.envelope.has_seal = memchr::memmem::find(body, crate::SEAL.as_bytes()).is_some();
    fields.envelope.session = fields
        .cache_key
        .or(fields.metadata_user)
        .or(fields.user)
        .filter(|session| !session.is_empty());
    Ok(fields.envelope)
}

/// A tier of priority costs up to twice the usual price at `OpenAI` (its price list, 2026).
const DEAREST_TIER: u64 = 2;
/// The fast mode of Anthropic's models costs six times the usual price (its price list, 2026).
const FASTEST: u64 = 6;

/// A top-level key that is read. The numbers are bits of [`Fields::seen`].
#[derive(Clone, Copy)]
enum Key {
    Model,
    Stream,
    MaxTokens,
    MaxCompletionTokens,
    Temperature,
    N,
    Tools,
    Functions,
    Conversation,
    Format,
    StreamOptions,
    Affinity,
    Metadata,
    User,
    PreviousResponse,
    Thread,
    StoredPrompt,
    Tier,
    Speed,
}

impl Key {
    /// The key of that name, where the dialect has it.
    fn of(dialect: Dialect, name: &[u8]) -> Option<Self> {
        let chat = dialect == Dialect::ChatCompletions;
        let responses = dialect == Dialect::Responses;
        let messages = dialect == Dialect::Messages;
        Some(match name {
            b"model" => Self::Model,
            b"stream" => Self::Stream,
            b"temperature" => Self::Temperature,
            b"tools" => Self::Tools,
            b"metadata" => Self::Metadata,
            b"service_tier" => Self::Tier,
            b"speed" if messages => Self::Speed,
            b"max_tokens" if chat || messages => Self::MaxTokens,
            b"messages" if chat || messages => Self::Conversation,
            b"max_completion_tokens" if chat => Self::MaxCompletionTokens,
            b"n" if chat => Self::N,
            b"functions" if chat => Self::Functions,
            b"response_format" if chat => Self::Format,
            b"stream_options" if chat => Self::StreamOptions,
            b"prompt_cache_key" if chat || responses => Self::Affinity,
            b"user" if chat || responses => Self::User,
            b"max_output_tokens" if responses => Self::MaxTokens,
            b"input" if responses => Self::Conversation,
            b"text" if responses => Self::Format,
            b"previous_response_id" if responses => Self::PreviousResponse,
            b"conversation" if responses => Self::Thread,
            b"prompt" if responses => Self::StoredPrompt,
            b"output_config" | b"output_format" if messages => Self::Format,
            _ => return None,
        })
    }
}

/// The facts as they are found.
struct Fields {
    dialect: Dialect,
    envelope: Envelope,
    /// Which names were met, to refuse the second.
    seen: u32,
    cache_key: Option<String>,
    metadata_user: Option<String>,
    user: Option<String>,
}

impl Fields {
    fn new(dialect: Dialect) -> Self {
        Self {
            dialect,
            envelope: Envelope {
                stream_usage: dialect != Dialect::ChatCompletions,
                ..Envelope::default()
            },
            seen: 0,
            cache_key: None,
            metadata_user: None,
            user: None,
        }
    }

    /// Reads the value of a top-level key.
    fn read(&mut self, scanner: &mut Scanner<'_>, name: &[u8]) -> Result<(), RequestError> {
        let Some(key) = Key::of(self.dialect, name) else {
            return scanner.skip();
        };
        let field = std::str::from_utf8(name).unwrap_or_default();
        // `output_config` and `output_format` are two names, and each may stand once.
        let bit = 1 << (key as u32 + if name == b"output_format" { 16 } else { 0 });
        if self.seen & bit != 0 {
            return Err(invalid(field, "stands twice"));
        }
        self.seen |= bit;
        let envelope = &mut self.envelope;
        match key {
            Key::Model => {
                let start = scanner.position();
                envelope.model = scanner.string(field)?;
                envelope.model_span = envelope.model.is_some().then(|| start..scanner.position());
            }
            Key::Stream => envelope.stream = scanner.boolean(field)?.unwrap_or_default(),
            // Of the two names of chat completions a target may know either: the larger one is what
            // the reply can come to.
            Key::MaxTokens | Key::MaxCompletionTokens => {
                let bound = scanner.count(field)?;
                envelope.max_tokens = envelope.max_tokens.max(bound);
            }
            Key::Temperature => envelope.temperature = scanner.number(field)?,
            Key::N => envelope.n = scanner.count(field)?,
            Key::Tools | Key::Functions => envelope.has_tools |= scanner.is_filled()?,
            Key::Conversation => {
                let attached = scanner.attached()?;
                envelope.has_images = attached.images > 0;
                envelope.images = attached.images;
                envelope.files = attached.files;
                envelope.attached_bytes = attached.bytes;
            }
            Key::Tier => {
                envelope.dearer = envelope
                    .dearer
                    .max(match scanner.string(field)?.as_deref() {
                        None | Some("auto" | "default" | "standard" | "standard_only") => None,
                        Some("flex") => Some(1),
                        Some(_) => Some(DEAREST_TIER),
                    });
            }
            Key::Speed => {
                envelope.dearer = envelope
                    .dearer
                    .max(match scanner.string(field)?.as_deref() {
                        None | Some("standard") => None,
                        Some(_) => Some(FASTEST),
                    });
            }
            Key::PreviousResponse | Key::Thread | Key::StoredPrompt => {
                envelope.refers_back |= scanner.is_present()?;
            }
            Key::Format => envelope.has_schema |= asks_for_schema(scanner, name)?,
            Key::StreamOptions => self.stream_options(scanner)?,
            Key::Affinity => self.cache_key = scanner.string(field)?,
            Key::User => self.user = scanner.string(field)?,
            Key::Metadata => {
                let user = &mut self.metadata_user;
                scanner.object_or_skip(&mut |scanner, key| {
                    if key == b"user_id" {
                        *user = scanner.string_or_skip()?;
                        return Ok(());
                    }
                    scanner.skip()
                })?;
            }
        }
        Ok(())
    }

    fn stream_options(&mut self, scanner: &mut Scanner<'_>) -> Result<(), RequestError> {
        let envelope = &mut self.envelope;
        let start = scanner.position();
        scanner.object_or_skip(&mut |scanner, key| {
            if key != b"include_usage" {
                return scanner.skip();
            }
            if envelope.include_usage.is_some() {
                return Err(invalid("stream_options.include_usage", "stands twice"));
            }
            let start = scanner.position();
            envelope.stream_usage = scanner
                .boolean("stream_options.include_usage")?
                .unwrap_or_default();
            envelope.include_usage = Some(start..scanner.position());
            Ok(())
        })?;
        envelope.stream_options = Some(start..scanner.position());
        Ok(())
    }
}

/// Whether the format that stands here asks for a JSON schema.
fn asks_for_schema(scanner: &mut Scanner<'_>, name: &[u8]) -> Result<bool, RequestError> {
    // `response_format` and `output_format` are the format; `text` and `output_config` hold it.
    let direct = matches!(name, b"response_format" | b"output_format");
    let mut found = false;
    let mut format = |scanner: &mut Scanner<'_>| {
        scanner.object_or_skip(&mut |scanner, key| {
            if key == b"type" {
                found = scanner.string_or_skip()?.as_deref() == Some("json_schema");
                return Ok(());
            }
            scanner.skip()
        })
    };
    if direct {
        format(scanner)?;
    } else {
        scanner.object_or_skip(&mut |scanner, key| {
            if key == b"format" {
                return format(scanner);
            }
            scanner.skip()
        })?;
    }
    Ok(found)
}

fn invalid(field: &str, problem: &str) -> RequestError {
    RequestError::Invalid {
        field: field.to_owned(),
        problem: problem.to_owned(),
    }
}

impl Envelope {
    /// The body with another model's name and, where `meter` is set, a request for usage at the end of
    /// the stream; every other byte as it came.
    pub fn rewritten(&self, body: &[u8], model: &str, meter: bool) -> Vec<u8> {
        const ASKED: &str = r#"{"include_usage":true}"#;
        let name = serde_json::Value::from(model).to_string();
        let mut changes = Changes::new(body, name.len() + 64);
        let mut appended = String::new();
        let usage = meter && self.stream && !self.stream_usage;
        let mut spans: Vec<(Range<usize>, String)> = Vec::with_capacity(2);
        match &self.model_span {
            Some(span) => spans.push((span.clone(), name)),
            None => appended = format!(r#""model":{name}"#),
        }
        match (&self.include_usage, &self.stream_options) {
            _ if !usage => {}
            (Some(span), _) => spans.push((span.clone(), "true".to_owned())),
            (None, Some(span)) if body.get(span.start) == Some(&b'{') => {
                let inside = span.start + 1;
                let comma = if is_empty_object(body, span.end - 1) {
                    ""
                } else {
                    ","
                };
                spans.push((inside..inside, format!(r#""include_usage":true{comma}"#)));
            }
            (None, Some(span)) => spans.push((span.clone(), ASKED.to_owned())),
            (None, None) => {
                if !appended.is_empty() {
                    appended.push(',');
                }
                appended.push_str(r#""stream_options":"#);
                appended.push_str(ASKED);
            }
        }
        spans.sort_by_key(|(span, _)| span.start);
        for (span, text) in spans {
            changes.replace(span, &text);
        }
        if !appended.is_empty() {
            if !is_empty_object(body, self.end) {
                appended.insert(0, ',');
            }
            changes.replace(self.end..self.end, &appended);
        }
        changes.finish()
    }
}

/// Whether the object whose closing brace stands at `end` has no member.
fn is_empty_object(body: &[u8], end: usize) -> bool {
    body[..end]
        .iter()
        .rev()
        .find(|byte| !byte.is_ascii_whitespace())
        == Some(&b'{')
}

/// Copies a body but for some spans, from front to back.
struct Changes<'a> {
    body: &'a [u8],
    copied: usize,
    new: Vec<u8>,
}

impl<'a> Changes<'a> {
    fn new(body: &'a [u8], growth: usize) -> Self {
        Self {
            body,
            copied: 0,
            new: Vec::with_capacity(body.len() + growth),
        }
    }

    fn replace(&mut self, span: Range<usize>, text: &str) {
        self.new
            .extend_from_slice(&self.body[self.copied..span.start]);
        self.new.extend_from_slice(text.as_bytes());
        self.copied = span.end;
    }

    fn finish(mut self) -> Vec<u8> {
        self.new.extend_from_slice(&self.body[self.copied..]);
        self.new
    }
}

#[cfg(test)]
mod tests;
