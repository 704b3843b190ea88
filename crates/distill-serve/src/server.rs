//! The HTTP server: who is asked is looked up in the registry at each request, so that a release
//! or a rollback takes effect with the next one.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

use axum::{
    Json, Router,
    body::{Body, Bytes},
    extract::{DefaultBodyLimit, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
    serve::ListenerExt as _,
};
use distill_student::device::DeviceChoice;
use serde_json::json;
use tokio::{
    net::TcpListener,
    sync::{Mutex, mpsc::UnboundedReceiver},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

use crate::{
    Registry, RegistryError, Release,
    wire::{self, ChatBody, Envelope, StreamOptions, error},
    worker::{AskError, Part, Worker},
};

/// Bytes that a request may have.
const BODY_LIMIT: usize = 1 << 20;

/// How a server listens and when it ends.
pub struct ServeOptions {
    pub address: SocketAddr,
    /// Where decoders run.
    pub device: DeviceChoice,
    /// Cancelled: the server takes no further request and finishes those in flight.
    pub stop: CancellationToken,
}

/// Why a server does not start or ended.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error("cannot listen on {address}")]
    Listen {
        address: SocketAddr,
        #[source]
        source: std::io::Error,
    },
    #[error(transparent)]
    Registry(#[from] RegistryError),
    #[error("nothing is released")]
    NothingReleased,
    #[error("the bundle of route `{route}` cannot be served")]
    Bundle {
        route: String,
        #[source]
        source: distill_student::bundle::BundleError,
    },
    #[error("the server ended")]
    Ended(#[source] std::io::Error),
}

/// A server that listens.
pub struct Server {
    address: SocketAddr,
    routes: Vec<String>,
    task: JoinHandle<std::io::Result<()>>,
}

impl Server {
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Routes that had a release when the server started.
    pub fn routes(&self) -> &[String] {
        &self.routes
    }

    /// Waits until the server has ended.
    ///
    /// # Errors
    /// [`ServeError::Ended`] when it did not end by its stop token.
    pub async fn finished(self) -> Result<(), ServeError> {
        let result = self
            .task
            .await
            .map_err(|error| ServeError::Ended(std::io::Error::other(error)))?;
        result.map_err(ServeError::Ended)
    }
}

/// Loads and checks every released student, then listens.
///
/// # Errors
/// [`ServeError`] when the address is taken, nothing is released, or a bundle does not hold.
pub async fn serve(registry: Registry, options: ServeOptions) -> Result<Server, ServeError> {
    let state = Arc::new(Students {
        registry,
        device: options.device,
        loaded: Mutex::new(HashMap::new()),
        answered: AtomicU64::new(0),
    });
    let (mut routes, mut damaged) = (Vec::new(), None);
    for route in state.registry.routes()? {
        if let Some(release) = route.current() {
            // One damaged bundle must not silence the other routes: its callers are told, by name.
            match state.worker(release).await {
                Ok(_) => routes.push(route.name.clone()),
                Err(error) => damaged = Some(error),
            }
        }
    }
    if routes.is_empty() {
        return Err(damaged.unwrap_or(ServeError::NothingReleased));
    }
    let listen = |source| ServeError::Listen {
        address: options.address,
        source,
    };
    let listener = TcpListener::bind(options.address).await.map_err(listen)?;
    let address = listener.local_addr().map_err(listen)?;
    // Without it the kernel holds a piece of an answer back until the last one is acknowledged,
    // which takes the caller's side 40 ms.
    let listener = listener.tap_io(|stream| {
        // A connection that refuses is slower, not wrong.
        let _ = stream.set_nodelay(true);
    });
    let router = Router::new()
        .route("/v1/chat/completions", post(chat))
        .route("/v1/models", get(models))
        .route("/health", get(|| async { "ok" }))
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .with_state(state);
    let stop = options.stop;
    let task = tokio::spawn(async move {
        axum::serve(listener, router)
            .with_graceful_shutdown(async move { stop.cancelled().await })
            .await
    });
    Ok(Server {
        address,
        routes,
        task,
    })
}

struct Students {
    registry: Registry,
    device: DeviceChoice,
    /// By content hash of the bundle: two routes with one bundle share a student.
    loaded: Mutex<HashMap<String, Arc<Worker>>>,
    answered: AtomicU64,
}

impl Students {
    async fn worker(&self, release: &Release) -> Result<Arc<Worker>, ServeError> {
        let mut loaded = self.loaded.lock().await;
        if let Some(worker) = loaded.get(&release.bundle) {
            return Ok(worker.clone());
        }
        let (path, route) = (self.registry.bundle(release), release.route.clone());
        let device = self.device;
        let worker = tokio::task::spawn_blocking(move || Worker::start(&path, device))
            .await
            .map_err(|error| ServeError::Ended(std::io::Error::other(error)))?
            .map_err(|source| ServeError::Bundle { route, source })?;
        let worker = Arc::new(worker);
        loaded.insert(release.bundle.clone(), worker.clone());
        Ok(worker)
    }
}

async fn models(State(students): State<Arc<Students>>) -> Response {
    let Ok(routes) = students.registry.routes() else {
        return failed(
            StatusCode::INTERNAL_SERVER_ERROR,
            "server_error",
            "the release registry cannot be read",
        );
    };
    let models: Vec<_> = routes
        .iter()
        .filter_map(|route| route.current())
        .map(|release| {
            json!({
                "id": release.route,
                "object": "model",
                "created": 0,
                "owned_by": "distill",
                "release": release.id,
                "student": release.student,
                "run": release.run,
                "gate_met": release.gate.met,
            })
        })
        .collect();
    Json(json!({"object": "list", "data": models})).into_response()
}

async fn chat(State(students): State<Arc<Students>>, body: Bytes) -> Response {
    let body: ChatBody = match serde_json::from_slice(&body) {
        Ok(body) => body,
        Err(error) => {
            return failed(
                StatusCode::BAD_REQUEST,
                "invalid_request_error",
                &format!("the body is not a chat request: {error}"),
            );
        }
    };
    let model = body.model.clone();
    let stream = body.stream.then_some(body.stream_options);
    let release = match students
        .registry
        .route(&model)
        .map(|route| route.current().cloned())
    {
        Ok(Some(release)) => release,
        Ok(None) | Err(RegistryError::Name(_)) => {
            let message =
                format!("no student is released as `{model}`; GET /v1/models lists those that are");
            return failed(StatusCode::NOT_FOUND, "not_found_error", &message);
        }
        Err(_) => {
            return failed(
                StatusCode::INTERNAL_SERVER_ERROR,
                "server_error",
                "the release registry cannot be read",
            );
        }
    };
    let conversation = match body.conversation() {
        Ok(conversation) => conversation,
        Err(message) => return failed(StatusCode::BAD_REQUEST, "invalid_request_error", &message),
    };
    let Ok(worker) = students.worker(&release).await else {
        return failed(
            StatusCode::INTERNAL_SERVER_ERROR,
            "server_error",
            "the released student cannot be loaded",
        );
    };
    let number = students.answered.fetch_add(1, Ordering::Relaxed);
    let created = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    let envelope = Envelope {
        id: format!("chatcmpl-{created}-{number}"),
        created,
        model,
        fingerprint: release.id,
    };
    if let Some(options) = stream {
        return match worker.stream(conversation) {
            Ok(parts) => streamed(envelope, parts, options).await,
            Err(error) => refused(&error),
        };
    }
    match worker.ask(conversation).await {
        Ok(answer) => Json(envelope.completion(&answer)).into_response(),
        Err(error) => refused(&error),
    }
}

/// An answer as server-sent events, each sent when its text is there. What fails before the first
/// piece still gets its own status.
async fn streamed(
    envelope: Envelope,
    mut parts: UnboundedReceiver<Part>,
    options: StreamOptions,
) -> Response {
    let first = match parts.recv().await {
        Some(Part::Done(Err(message))) => return refused(&AskError::Student(message)),
        None => return refused(&AskError::Stopped),
        Some(part) => part,
    };
    let opening = envelope.opening();
    let state = (envelope, parts, Some(first), Some(opening));
    let events = futures_util::stream::unfold(state, move |state| async move {
        let (envelope, mut parts, first, opening) = state;
        let part = match first {
            Some(part) => part,
            // After the last part, and where the student stopped amid an answer: the missing
            // `[DONE]` says so.
            None => parts.recv().await?,
        };
        let events = match part {
            Part::Text(text) => envelope.piece(&text),
            Part::Done(Ok(answer)) => {
                parts.close();
                envelope.closing(&answer, options.include_usage)
            }
            Part::Done(Err(message)) => {
                parts.close();
                wire::event(&error("invalid_request_error", &message))
            }
        };
        let events = opening.unwrap_or_default() + &events;
        Some((
            Ok::<_, std::convert::Infallible>(events),
            (envelope, parts, None, None),
        ))
    });
    (
        [(header::CONTENT_TYPE, "text/event-stream")],
        Body::from_stream(events),
    )
        .into_response()
}

fn refused(error: &AskError) -> Response {
    let (status, kind) = match error {
        AskError::Busy => (StatusCode::TOO_MANY_REQUESTS, "rate_limit_error"),
        AskError::Student(_) => (StatusCode::BAD_REQUEST, "invalid_request_error"),
        AskError::Stopped => (StatusCode::SERVICE_UNAVAILABLE, "server_error"),
    };
    failed(status, kind, &error.to_string())
}

fn failed(status: StatusCode, kind: &str, message: &str) -> Response {
    (status, Json(error(kind, message))).into_response()
}
