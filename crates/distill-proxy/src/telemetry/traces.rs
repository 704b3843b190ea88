//! Traces with the semantic conventions of `OpenTelemetry` for generative AI, as OTLP over HTTP in its
//! JSON encoding: a span for each request and below it one for each attempt. They hold no prompt,
//! no reply, no key and no person.

use distill_chat::Usage;
use distill_gateway::Usd;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// Where a request stands in its caller's trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceContext {
    pub trace: [u8; 16],
    /// The caller's span.
    pub parent: Option<[u8; 8]>,
    /// What the caller decided about recording it; `None`: it is ours to decide.
    pub sampled: Option<bool>,
}

impl TraceContext {
    /// A trace of its own for a request that brings none: the same for every span of it.
    pub fn of_request(id: &str) -> Self {
        let digest = Sha256::digest(id.as_bytes());
        let mut trace = [0; 16];
        trace.copy_from_slice(&digest[..16]);
        Self {
            trace,
            parent: None,
            sampled: None,
        }
    }

    /// Reads a `traceparent` (W3C Trace Context, version 00 and what later versions keep of it).
    pub fn parse(header: &str) -> Option<Self> {
        let mut parts = header.trim().split('-');
        let version = parts.next()?;
        let (trace, parent, flags) = (parts.next()?, parts.next()?, parts.next()?);
        if version.len() != 2 || version == "ff" || (version == "00" && parts.next().is_some()) {
            return None;
        }
        let trace: [u8; 16] = bytes_of(trace)?;
        let parent: [u8; 8] = bytes_of(parent)?;
        let [flags] = bytes_of(flags)?;
        (trace != [0; 16] && parent != [0; 8]).then_some(Self {
            trace,
            parent: Some(parent),
            sampled: Some(flags & 1 == 1),
        })
    }

    /// Whether the request is recorded, when this share of all is.
    pub fn is_sampled(&self, share: f64) -> bool {
        self.sampled.unwrap_or_else(|| {
            let mut low = [0; 8];
            low.copy_from_slice(&self.trace[8..]);
            // The top 53 bits are a fair draw between 0 and 1.
            ((u64::from_be_bytes(low) >> 11) as f64 / (1u64 << 53) as f64) < share
        })
    }
}

fn bytes_of<const N: usize>(text: &str) -> Option<[u8; N]> {
    let plain = |byte: &u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(byte);
    if text.len() != 2 * N || !text.as_bytes().iter().all(plain) {
        return None;
    }
    let mut bytes = [0; N];
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * index..2 * index + 2)?, 16).ok()?;
    }
    Some(bytes)
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The name of a span within its trace, the same whenever it is asked for.
fn span_id(request: &str, number: u32) -> String {
    let digest = Sha256::digest(format!("{request}/{number}").as_bytes());
    hexadecimal(&digest[..8])
}

/// A request as its span tells it.
#[derive(Debug, Clone, PartialEq)]
pub struct RequestSpan {
    pub id: String,
    pub dialect: String,
    pub route: String,
    /// `name@version`.
    pub task: Option<String>,
    pub model_asked: String,
    pub streamed: bool,
    pub status: u16,
    pub outcome: String,
    pub answered_by: Option<String>,
    pub cache: Option<String>,
    /// Microseconds since 1970.
    pub started_us: i64,
    pub ended_us: i64,
}

/// An attempt as its span tells it.
#[derive(Debug, Clone, PartialEq)]
pub struct AttemptSpan {
    pub number: u32,
    /// `vendor/model`.
    pub target: String,
    pub simulated: bool,
    pub outcome: String,
    pub usage: Usage,
    pub usd: Option<Usd>,
    /// As the vendor named it.
    pub model: Option<String>,
    pub first_token_us: Option<i64>,
    pub started_us: i64,
    pub ended_us: i64,
}

/// `Span.SpanKind` and `Status.StatusCode` of the protocol.
const SERVER: u8 = 2;
const CLIENT: u8 = 3;
const ERROR: u8 = 2;

/// The spans of one request.
pub fn spans(
    context: &TraceContext,
    request: &RequestSpan,
    attempts: &[AttemptSpan],
) -> Vec<Value> {
    let root = span_id(&request.id, 0);
    let operation = operation(&request.dialect);
    let mut all = Vec::with_capacity(1 + attempts.len());
    let mut attributes = Attributes::default();
    attributes
        .text("http.request.method", "POST")
        .text("gen_ai.operation.name", operation)
        .text("gen_ai.request.model", &request.model_asked)
        .whole("http.response.status_code", u64::from(request.status))
        .text("distill.request.id", &request.id)
        .text("distill.dialect", &request.dialect)
        .text("distill.route", &request.route)
        .text("distill.outcome", &request.outcome)
        .yes_no("distill.streamed", request.streamed)
        .whole("distill.attempts", attempts.len() as u64)
        .optional("distill.task", request.task.as_deref())
        .optional("distill.target", request.answered_by.as_deref())
        .optional("distill.cache", request.cache.as_deref());
    let failed = request.status >= 500;
    if request.status >= 400 {
        attributes.text("error.type", &request.status.to_string());
    }
    let parent = context.parent.map(|parent| hexadecimal(&parent));
    all.push(span(
        context,
        Place {
            id: root.clone(),
            parent,
            kind: SERVER,
        },
        &format!("{operation} {}", request.route),
        (request.started_us, request.ended_us),
        attributes,
        failed.then_some(request.outcome.as_str()),
    ));
    for attempt in attempts {
        all.push(attempt_span(context, request, attempt, &root, operation));
    }
    all
}

fn attempt_span(
    context: &TraceContext,
    request: &RequestSpan,
    attempt: &AttemptSpan,
    root: &str,
    operation: &str,
) -> Value {
    let (vendor, model) = attempt
        .target
        .split_once('/')
        .unwrap_or(("", attempt.target.as_str()));
    let usage = attempt.usage;
    let mut attributes = Attributes::default();
    attributes
        .text("gen_ai.operation.name", operation)
        .text("gen_ai.provider.name", provider(vendor))
        .text("gen_ai.request.model", model)
        .optional("gen_ai.response.model", attempt.model.as_deref())
        .number(
            "gen_ai.usage.input_tokens",
            // The convention counts every class of input here.
            sum(&[
                usage.input_tokens,
                usage.cached_input_tokens,
                usage.cache_write_tokens,
            ]),
        )
        .number(
            "gen_ai.usage.output_tokens",
            sum(&[usage.output_tokens, usage.reasoning_tokens]),
        )
        .number(
            "gen_ai.usage.cache_read.input_tokens",
            usage.cached_input_tokens,
        )
        .number(
            "gen_ai.usage.cache_creation.input_tokens",
            usage.cache_write_tokens,
        )
        .number(
            "gen_ai.usage.reasoning.output_tokens",
            usage.reasoning_tokens,
        )
        .whole("distill.attempt", u64::from(attempt.number))
        .text("distill.outcome", &attempt.outcome)
        .yes_no("distill.simulated", attempt.simulated);
    if let Some(first_token) = attempt.first_token_us {
        attributes.float("distill.first_token.seconds", first_token as f64 / 1e6);
    }
    if let Some(usd) = attempt.usd {
        attributes.float("distill.cost.usd", usd.dollars());
    }
    let failed = attempt.outcome != "answered";
    if failed {
        attributes.text("error.type", &attempt.outcome);
    }
    span(
        context,
        Place {
            id: span_id(&request.id, attempt.number),
            parent: Some(root.to_owned()),
            kind: CLIENT,
        },
        &format!("{operation} {model}"),
        (attempt.started_us, attempt.ended_us),
        attributes,
        failed.then_some(attempt.outcome.as_str()),
    )
}

/// The known part of a sum; `None` where nothing of it was reported.
fn sum(classes: &[Option<u64>]) -> Option<u64> {
    classes
        .iter()
        .flatten()
        .copied()
        .reduce(|sum, next| sum + next)
}

/// The convention's word for what a dialect does.
fn operation(dialect: &str) -> &'static str {
    if dialect.contains("embeddings") {
        "embeddings"
    } else {
        "chat"
    }
}

/// The convention's name of a vendor, where it has one.
fn provider(vendor: &str) -> &str {
    match vendor {
        "gemini" => "gcp.gemini",
        "vertex" => "gcp.vertex_ai",
        "azure" => "azure.ai.openai",
        "bedrock" => "aws.bedrock",
        "mistral" => "mistral_ai",
        "xai" => "x_ai",
        vendor => vendor,
    }
}

struct Place {
    id: String,
    parent: Option<String>,
    kind: u8,
}

fn span(
    context: &TraceContext,
    place: Place,
    name: &str,
    (started_us, ended_us): (i64, i64),
    attributes: Attributes,
    error: Option<&str>,
) -> Value {
    let mut span = json!({
        "traceId": hexadecimal(&context.trace),
        "spanId": place.id,
        "name": name,
        "kind": place.kind,
        // 64-bit integers are strings in the protocol's JSON.
        "startTimeUnixNano": nanoseconds(started_us),
        "endTimeUnixNano": nanoseconds(ended_us.max(started_us)),
        "attributes": attributes.0,
    });
    if let Some(parent) = place.parent {
        span["parentSpanId"] = parent.into();
    }
    if let Some(error) = error {
        span["status"] = json!({"code": ERROR, "message": error});
    }
    span
}

fn nanoseconds(microseconds: i64) -> String {
    (i128::from(microseconds) * 1000).to_string()
}

/// What a collector is sent.
pub fn export(service: &str, spans: Vec<Value>) -> Value {
    let mut resource = Attributes::default();
    resource
        .text("service.name", service)
        .text("service.version", env!("CARGO_PKG_VERSION"));
    json!({"resourceSpans": [{
        "resource": {"attributes": resource.0},
        "scopeSpans": [{
            "scope": {"name": "distill-proxy", "version": env!("CARGO_PKG_VERSION")},
            "spans": spans,
        }],
    }]})
}

#[derive(Default)]
struct Attributes(Vec<Value>);

impl Attributes {
    fn push(&mut self, key: &str, value: Value) -> &mut Self {
        self.0.push(json!({"key": key, "value": value}));
        self
    }

    fn text(&mut self, key: &str, value: &str) -> &mut Self {
        self.push(key, json!({"stringValue": value}))
    }

    fn optional(&mut self, key: &str, value: Option<&str>) -> &mut Self {
        match value {
            Some(value) => self.text(key, value),
            None => self,
        }
    }

    fn whole(&mut self, key: &str, value: u64) -> &mut Self {
        self.push(key, json!({"intValue": value.to_string()}))
    }

    fn number(&mut self, key: &str, value: Option<u64>) -> &mut Self {
        match value {
            Some(value) => self.whole(key, value),
            None => self,
        }
    }

    fn float(&mut self, key: &str, value: f64) -> &mut Self {
        self.push(key, json!({"doubleValue": value}))
    }

    fn yes_no(&mut self, key: &str, value: bool) -> &mut Self {
        self.push(key, json!({"boolValue": value}))
    }
}

#[cfg(test)]
mod tests;
