//! What a request to the simulated provider meets.

use std::{borrow::Cow, sync::Arc, time::Duration};

use axum::{
    Json, Router,
    body::{Body, Bytes},
    extract::{DefaultBodyLimit, RawQuery, State},
    http::{HeaderMap, StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::{get, post},
    serve::ListenerExt,
};
use distill_chat::{FinishReason, Usage};
use futures_util::stream;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::{
    SAMPLE_HEADER,
    bill::{BillRow, Ledger},
    draw,
    gold::GoldTable,
    judge, price_of,
    settings::{FaultShares, LatencySettings, ModelSettings, SimulatorSettings},
    wire::{self, Asked, Spoken},
};
use crate::Dialect;

/// The state behind every handler.
#[derive(Debug)]
pub(super) struct Provider {
    pub(super) table: GoldTable,
    pub(super) settings: SimulatorSettings,
    pub(super) ledger: Ledger,
    pub(super) stop: CancellationToken,
}

/// Longest request body.
const LARGEST_BODY: usize = 32 * 1024 * 1024;

/// Serves until the provider is stopped.
pub(super) async fn serve(listener: TcpListener, provider: Arc<Provider>) {
    let stop = provider.stop.clone();
    let router = Router::new()
        .route("/v1/chat/completions", post(openai))
        .route("/v1/messages", post(anthropic))
        .route("/v1/models", get(models))
        .route("/simulated/bill", get(bill))
        .layer(DefaultBodyLimit::max(LARGEST_BODY))
        .with_state(provider);
    let listener = listener.tap_io(|connection| {
        // Without it small answers wait for acknowledgements; on loopback that is all the latency.
        drop(connection.set_nodelay(true));
    });
    // Serving a bound listener does not fail; accepting is retried inside.
    drop(
        axum::serve(listener, router)
            .with_graceful_shutdown(stop.cancelled_owned())
            .await,
    );
}

async fn openai(provider: State<Arc<Provider>>, headers: HeaderMap, body: Bytes) -> Response {
    answer(Dialect::ChatCompletions, &provider, &headers, &body).await
}

async fn anthropic(provider: State<Arc<Provider>>, headers: HeaderMap, body: Bytes) -> Response {
    answer(Dialect::Messages, &provider, &headers, &body).await
}

async fn models(provider: State<Arc<Provider>>) -> Json<Value> {
    let models: Vec<Value> = provider
        .settings
        .models
        .iter()
        .map(|model| json!({"id": model.name, "object": "model", "created": 0, "owned_by": "simulated"}))
        .collect();
    Json(json!({"object": "list", "data": models}))
}

/// The bill; with `?rows` each line of it.
async fn bill(provider: State<Arc<Provider>>, RawQuery(query): RawQuery) -> Response {
    let mut bill = provider.ledger.bill();
    if !query.is_some_and(|query| query.starts_with("rows")) {
        bill.rows.clear();
    }
    Json(bill).into_response()
}

/// What becomes of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Answered,
    RateLimited,
    ServerError,
    Hang,
    Stall,
    Malformed,
}

impl Fate {
    fn draw(shares: &FaultShares, seed: u64, request: &str, attempt: u64) -> Self {
        let names: [&[u8]; 3] = [b"fault", request.as_bytes(), &attempt.to_le_bytes()];
        let mut left = draw::uniform(seed, &names);
        for (share, fate) in [
            (shares.rate_limit, Self::RateLimited),
            (shares.server_error, Self::ServerError),
            (shares.hang, Self::Hang),
            (shares.stall, Self::Stall),
            (shares.malformed, Self::Malformed),
        ] {
            left -= share;
            if left < 0.0 {
                return fate;
            }
        }
        Self::Answered
    }

    fn name(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::RateLimited => "rate_limited",
            Self::ServerError => "server_error",
            Self::Hang => "hang",
            Self::Stall => "stall",
            Self::Malformed => "malformed",
        }
    }
}

async fn answer(
    dialect: Dialect,
    provider: &Provider,
    headers: &HeaderMap,
    body: &[u8],
) -> Response {
    let bad = |message: &str| {
        let body = wire::error(dialect, "invalid_request_error", message);
        (StatusCode::BAD_REQUEST, Json(body)).into_response()
    };
    let asked = match wire::read(dialect, body) {
        Ok(asked) => asked,
        Err(message) => return bad(&message),
    };
    let settings = &provider.settings;
    let Some(model) = settings
        .models
        .iter()
        .find(|model| model.name == asked.model)
    else {
        let message = format!("the model `{}` does not exist", asked.model);
        let body = wire::error(dialect, "model_not_found", &message);
        return (StatusCode::NOT_FOUND, Json(body)).into_response();
    };
    let Some(text) = text(provider, model, &asked, sample_of(headers)) else {
        return bad("unknown row: the gold table of this simulated provider has no such message");
    };
    let (text, finish) = cut(&text, &asked, settings, model);
    let client_attempt = headers
        .get("x-client-request-id")
        .and_then(|value| Some(value.to_str().ok()?.to_owned()));
    let mut fate = Fate::Answered;
    let entered = provider.ledger.enter(&asked.hash, |attempt| {
        fate = Fate::draw(
            &settings.faults_of(model),
            settings.seed,
            &asked.hash,
            attempt,
        );
        row(dialect, fate, model, &asked, text, attempt, client_attempt)
    });
    let Ok(row) = entered else {
        // The disk of the simulation is full; to the client that is a server error like any other.
        let body = wire::error(dialect, "api_error", "the state file cannot be written");
        return (StatusCode::INTERNAL_SERVER_ERROR, Json(body)).into_response();
    };
    let spoken = Spoken {
        id: row.response_id,
        model: format!("{}-sim-2026-01", model.name),
        text: text.to_owned(),
        finish,
        input_tokens: tokens(asked.input_bytes),
        output_tokens: tokens(text.len()),
    };
    let latency = latency(
        settings.latency_of(model),
        settings.seed,
        &asked.hash,
        row.attempt,
    );
    tokio::select! {
        response = respond(dialect, fate, &spoken, &asked, latency, provider) => response,
        () = provider.stop.cancelled() => StatusCode::SERVICE_UNAVAILABLE.into_response(),
    }
}

/// What the model says: its answer to a row of the table, or its verdict on answers of others.
fn text<'a>(
    provider: &'a Provider,
    model: &ModelSettings,
    asked: &Asked,
    sample: u32,
) -> Option<Cow<'a, str>> {
    let settings = &provider.settings;
    if let Some(verdict) = judge::verdict(&asked.prompt, &provider.table, settings) {
        return Some(verdict.into());
    }
    let accuracy = settings.accuracy_of(model);
    let answer = if sample > 0
        && draw::uniform(
            settings.seed,
            &[b"unsteady", asked.prompt.as_bytes(), &sample.to_le_bytes()],
        ) < settings.unsteady
    {
        provider.table.other_answer(&asked.prompt, accuracy)
    } else {
        provider.table.answer(&asked.prompt, accuracy)
    };
    answer.map(Cow::from)
}

/// Which repetition of a question this is; see [`SAMPLE_HEADER`].
fn sample_of(headers: &HeaderMap) -> u32 {
    headers
        .get(SAMPLE_HEADER)
        .and_then(|value| value.to_str().ok()?.parse().ok())
        .unwrap_or_default()
}

/// The line of the bill. A fault before the answer costs nothing; one in it costs what was made.
fn row(
    dialect: Dialect,
    fate: Fate,
    model: &ModelSettings,
    asked: &Asked,
    text: &str,
    attempt: u64,
    client_attempt: Option<String>,
) -> BillRow {
    let (input_tokens, output_tokens) = match fate {
        Fate::RateLimited | Fate::ServerError | Fate::Hang => (0, 0),
        Fate::Answered | Fate::Malformed => (tokens(asked.input_bytes), tokens(text.len())),
        Fate::Stall => (tokens(asked.input_bytes), tokens(text.len()).div_ceil(2)),
    };
    let usage = Usage {
        input_tokens: Some(input_tokens),
        output_tokens: Some(output_tokens),
        ..Usage::default()
    };
    let prefix = match dialect {
        Dialect::Messages => "msg_sim",
        _ => "chatcmpl-sim",
    };
    BillRow {
        response_id: format!("{prefix}-{}-{attempt}", &asked.hash[..16]),
        request: asked.hash.clone(),
        attempt,
        model: model.name.clone(),
        outcome: fate.name().to_owned(),
        input_tokens,
        output_tokens,
        usd_pico: price_of(model)
            .cost(&usage)
            .expect("both token counts are given")
            .pico(),
        client_attempt,
    }
}

async fn respond(
    dialect: Dialect,
    fate: Fate,
    spoken: &Spoken,
    asked: &Asked,
    latency: Duration,
    provider: &Provider,
) -> Response {
    match fate {
        Fate::Hang => std::future::pending().await,
        Fate::RateLimited => {
            let rest = provider.settings.retry_after;
            let body = wire::error(dialect, "rate_limit_exceeded", "too many requests");
            let headers = [
                ("retry-after-ms", rest.as_millis().to_string()),
                ("retry-after", rest.as_secs_f64().ceil().to_string()),
            ];
            (StatusCode::TOO_MANY_REQUESTS, headers, Json(body)).into_response()
        }
        Fate::ServerError => {
            let body = wire::error(dialect, "api_error", "the simulated server failed");
            (StatusCode::INTERNAL_SERVER_ERROR, Json(body)).into_response()
        }
        Fate::Answered | Fate::Stall | Fate::Malformed if asked.stream => {
            let events = wire::events(dialect, spoken, asked.usage_chunk);
            streamed(fate, events, latency, provider.stop.clone())
        }
        Fate::Answered | Fate::Stall | Fate::Malformed => {
            if !latency.is_zero() {
                tokio::time::sleep(latency).await;
            }
            let body = wire::whole(dialect, spoken).to_string();
            let half = body.floor_char_boundary(body.len() / 2);
            let body = match fate {
                Fate::Malformed => Body::from(body[..half].to_owned()),
                Fate::Stall => {
                    let first = Bytes::copy_from_slice(&body.as_bytes()[..half]);
                    pieces(vec![first], Duration::ZERO, Some(provider.stop.clone()))
                }
                _ => Body::from(body),
            };
            ([(CONTENT_TYPE, "application/json")], body).into_response()
        }
    }
}

/// A streamed answer: half the latency before the first piece, the rest between the pieces.
fn streamed(
    fate: Fate,
    mut events: Vec<Bytes>,
    latency: Duration,
    stop: CancellationToken,
) -> Response {
    let half = events.len() / 2;
    if fate == Fate::Malformed {
        let whole = &events[half];
        events[half] = [&whole[..whole.len() / 2], b"\n\n"].concat().into();
        events.truncate(half + 1);
    }
    let stall = (fate == Fate::Stall).then(|| {
        events.truncate(half);
        stop
    });
    let pause = latency / u32::try_from(events.len() + 1).unwrap_or(u32::MAX);
    let body = pieces(events, pause, stall);
    ([(CONTENT_TYPE, "text/event-stream")], body).into_response()
}

/// A body in pieces, with a pause before each. With `stall` it then stays open until that says stop.
fn pieces(pieces: Vec<Bytes>, pause: Duration, stall: Option<CancellationToken>) -> Body {
    let pieces = pieces.into_iter();
    Body::from_stream(stream::unfold(
        (pieces, stall),
        move |(mut pieces, stall)| async move {
            if let Some(piece) = pieces.next() {
                if !pause.is_zero() {
                    tokio::time::sleep(pause).await;
                }
                return Some((Ok::<_, std::io::Error>(piece), (pieces, stall)));
            }
            let stop = stall?;
            stop.cancelled().await;
            // Ending here would look like a whole body.
            Some((
                Err(std::io::ErrorKind::ConnectionAborted.into()),
                (pieces, None),
            ))
        },
    ))
}

/// Cuts the text where the request's own limit or a drawn truncation ends it.
fn cut<'a>(
    text: &'a str,
    asked: &Asked,
    settings: &SimulatorSettings,
    model: &ModelSettings,
) -> (&'a str, FinishReason) {
    let drawn = draw::uniform(settings.seed, &[b"truncate", asked.prompt.as_bytes()])
        < settings.faults_of(model).truncate;
    let limit = asked.max_tokens.unwrap_or(u64::MAX).saturating_mul(4);
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let limit = if drawn {
        limit.min(text.len() / 2)
    } else {
        limit
    };
    if text.len() <= limit {
        return (text, FinishReason::Stop);
    }
    (
        &text[..text.floor_char_boundary(limit)],
        FinishReason::Length,
    )
}

/// Four bytes a token, rounded up.
fn tokens(bytes: usize) -> u64 {
    (bytes as u64).div_ceil(4)
}

/// A log-normal draw.
fn latency(settings: LatencySettings, seed: u64, request: &str, attempt: u64) -> Duration {
    if settings.median.is_zero() {
        return Duration::ZERO;
    }
    // 95% of a normal distribution lie below 1.645 deviations.
    let spread = (settings.p95.as_secs_f64() / settings.median.as_secs_f64()).ln() / 1.644_853_6;
    let chance = draw::normal(
        seed,
        &[b"latency", request.as_bytes(), &attempt.to_le_bytes()],
    );
    settings.median.mul_f64((spread * chance).exp())
}
