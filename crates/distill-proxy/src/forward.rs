//! The way of a request to a target and back.
//!
//! **Start reading** at [`forward`], which walks along the members of a route (`walk`); each step is
//! one attempt (`attempt`): its body (`body`), the reservation in the ledger (`booked`), the exchange
//! (`send`), and the answer, whole (`whole`) or as a stream (`relay`). What a failure means is decided
//! by `distill_gateway::failover`, what a caller is told by `outcome`.

mod attempt;
mod body;
mod booked;
mod estimate;
mod hedge;
mod outcome;
mod relay;
mod send;
mod settings;
mod splitter;
mod walk;
mod whole;

use std::{
    fmt,
    pin::Pin,
    sync::{Arc, OnceLock},
    time::{Duration, SystemTime},
};

use axum::{
    body::Bytes,
    http::{HeaderMap, StatusCode},
};
use distill_chat::Usage;
use distill_gateway::Usd;
use distill_ledger::OpenRequest;
use distill_wire::{Dialect, Request, RequestError, envelope::Envelope};
use futures_util::Stream;
use tokio::{sync::oneshot, time::Instant};

use crate::route::{Asked, Route};
pub(crate) use estimate::tokens as estimated_tokens;
pub use settings::{ASSUMED_OUTPUT_TOKENS, EngineSettings, OnAlert, OnLedgerFault};

/// What a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Endpoint {
    /// An answer, in the dialect that the caller speaks.
    Chat(Dialect),
    /// Embeddings, in the form of `OpenAI`.
    Embeddings,
    /// The tokens of a request in the messages dialect.
    CountTokens,
}

impl Endpoint {
    /// The dialect in which the caller reads errors.
    pub fn dialect(self) -> Dialect {
        match self {
            Self::Chat(dialect) => dialect,
            Self::Embeddings => Dialect::ChatCompletions,
            Self::CountTokens => Dialect::Messages,
        }
    }
}

/// A request that was let in: its caller is known and its route found.
#[derive(Debug)]
pub struct Forwarded {
    pub request_id: String,
    pub endpoint: Endpoint,
    pub body: Bytes,
    pub envelope: Envelope,
    /// Set where a task or redaction made another request of the body: it is then written anew for
    /// every target.
    pub request: Option<Arc<Request>>,
    /// The caller's own; only those of an allow-list go on, to the caller's own dialect.
    pub headers: HeaderMap,
    pub route: Arc<Route>,
    /// The targets of the route that may answer (a task's policy); `None`: all.
    pub only: Option<Arc<[String]>>,
    pub open: Arc<OpenRequest>,
    /// Whether [`Done::body`] is wanted.
    pub collect: bool,
}

/// What the caller gets. Errors have the shape of its dialect.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: AnswerBody,
    /// Comes when the last byte was handed over. Never comes where the caller hung up before.
    pub done: oneshot::Receiver<Done>,
}

/// The body of an answer.
pub enum AnswerBody {
    Whole(Bytes),
    /// Dropped before its end, it ends the vendor's stream too.
    Stream(Pin<Box<dyn Stream<Item = Bytes> + Send>>),
}

impl fmt::Debug for AnswerBody {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole(bytes) => write!(formatter, "Whole({} bytes)", bytes.len()),
            Self::Stream(_) => formatter.write_str("Stream"),
        }
    }
}

/// How a request ended.
#[derive(Debug, Clone, Default)]
pub struct Done {
    /// `answered`, `refused`, `failed`, `broken` (a stream that ended in an error).
    pub outcome: &'static str,
    pub status: u16,
    /// The target that answered.
    pub target: Option<String>,
    /// The model that answered, as it named itself.
    pub model: Option<String>,
    pub usage: Usage,
    /// Of the answering attempt; `None`: not known.
    pub usd: Option<Usd>,
    /// From the request's start to its first content.
    pub first_token: Option<Duration>,
    pub attempts: u32,
    pub simulated: bool,
    /// What the caller was sent, where it was asked for.
    pub body: Option<Bytes>,
    /// A whole, successful answer that holds what it had to: fit for a cache.
    pub valid: bool,
}

/// Forwards requests. Clones share everything.
#[derive(Debug, Clone, Default)]
pub struct Engine(Arc<EngineSettings>);

impl Engine {
    pub fn new(settings: EngineSettings) -> Self {
        Self(Arc::new(settings))
    }

    pub fn settings(&self) -> &EngineSettings {
        &self.0
    }
}

/// Asks the members of the request's route until one answers, books every attempt, and ends the
/// request in the ledger. Dropping the future cancels what is on its way.
pub async fn forward(engine: &Engine, forwarded: Forwarded) -> Answer {
    walk::walk(Arc::new(Context::new(engine.clone(), forwarded))).await
}

/// One request on its way.
#[derive(Debug)]
struct Context {
    engine: Engine,
    id: String,
    endpoint: Endpoint,
    body: Bytes,
    envelope: Envelope,
    changed: Option<Arc<Request>>,
    /// The request read from the body, where some target needs it written anew.
    read: OnceLock<Result<Arc<Request>, RequestError>>,
    headers: HeaderMap,
    route: Arc<Route>,
    only: Option<Arc<[String]>>,
    open: Arc<OpenRequest>,
    collect: bool,
    /// Bytes of the prompt, as conditions on its size mean it.
    prompt_bytes: usize,
    /// How much of a target's context it takes, in bytes of text: the bound of the reply is part of
    /// it, and what is attached counts by its usual tokens.
    size: usize,
    started: Instant,
    deadline: Instant,
}

impl Context {
    fn new(engine: Engine, forwarded: Forwarded) -> Self {
        let started = Instant::now();
        let (prompt_bytes, size) = estimate::sizes(
            &forwarded.body,
            &forwarded.envelope,
            forwarded.request.as_deref(),
        );
        Self {
            engine,
            id: forwarded.request_id,
            endpoint: forwarded.endpoint,
            body: forwarded.body,
            envelope: forwarded.envelope,
            changed: forwarded.request,
            read: OnceLock::new(),
            headers: forwarded.headers,
            deadline: started + forwarded.route.config.timeouts.total,
            route: forwarded.route,
            only: forwarded.only,
            open: forwarded.open,
            collect: forwarded.collect,
            prompt_bytes,
            size,
            started,
        }
    }

    /// The request in its normalised form.
    fn request(&self) -> Result<Arc<Request>, RequestError> {
        if let Some(changed) = &self.changed {
            return Ok(Arc::clone(changed));
        }
        self.read
            .get_or_init(|| {
                self.endpoint
                    .dialect()
                    .read_request(&self.body)
                    .map(Arc::new)
            })
            .clone()
    }

    fn asked(&self) -> Asked<'_> {
        Asked {
            prompt_bytes: self.prompt_bytes,
            embeds: self.endpoint == Endpoint::Embeddings,
            max_tokens: self.envelope.max_tokens,
            tools: self.envelope.has_tools,
            images: self.envelope.has_images,
            schema: self.envelope.has_schema,
            stream: self.streams(),
            session: self.envelope.session.as_deref(),
            only: self.only.as_deref(),
        }
    }

    fn streams(&self) -> bool {
        self.envelope.stream && matches!(self.endpoint, Endpoint::Chat(_))
    }

    /// The model as the caller named it.
    fn model_asked(&self) -> &str {
        self.envelope
            .model
            .as_deref()
            .unwrap_or_else(|| self.route.name())
    }
}

/// Seconds since 1970.
fn unix_seconds() -> i64 {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |time| i64::try_from(time.as_secs()).unwrap_or(i64::MAX))
}
