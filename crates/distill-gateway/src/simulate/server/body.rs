//! What becomes of an attempt, and the body that its client gets.

use std::time::Duration;

use axum::{
    Json,
    body::{Body, Bytes},
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use distill_wire::Dialect;
use futures_util::stream;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::{
    super::{
        asked::Asked,
        draw,
        settings::FaultShares,
        wire::{self, Events, Spoken},
    },
    Provider,
};

/// What becomes of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Answered,
    RateLimited,
    ServerError,
    Hang,
    Stall,
    Malformed,
    Cut,
    EarlyError,
    LateError,
}

impl Fate {
    pub(super) fn draw(shares: &FaultShares, seed: u64, request: &str, attempt: u64) -> Self {
        let names: [&[u8]; 3] = [b"fault", request.as_bytes(), &attempt.to_le_bytes()];
        let mut left = draw::uniform(seed, &names);
        for (share, fate) in [
            (shares.rate_limit, Self::RateLimited),
            (shares.server_error, Self::ServerError),
            (shares.hang, Self::Hang),
            (shares.stall, Self::Stall),
            (shares.malformed, Self::Malformed),
            (shares.cut, Self::Cut),
            (shares.early_error, Self::EarlyError),
            (shares.late_error, Self::LateError),
        ] {
            left -= share;
            if left < 0.0 {
                return fate;
            }
        }
        Self::Answered
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::RateLimited => "rate_limited",
            Self::ServerError => "server_error",
            Self::Hang => "hang",
            Self::Stall => "stall",
            Self::Malformed => "malformed",
            Self::Cut => "cut",
            Self::EarlyError => "early_error",
            Self::LateError => "late_error",
        }
    }
}

pub(super) async fn respond(
    dialect: Dialect,
    fate: Fate,
    spoken: &Spoken,
    asked: &Asked,
    latency: Duration,
    provider: &Provider,
) -> Response {
    let never_begun = matches!(fate, Fate::Hang | Fate::RateLimited | Fate::ServerError);
    if asked.stream && !never_begun {
        let events = wire::events(dialect, spoken, asked.usage_chunk);
        return streamed(dialect, fate, events, latency, provider.stop.clone());
    }
    let body = wire::whole(dialect, spoken);
    whole(dialect, fate, body, latency, provider).await
}

/// A whole answer, or what becomes of it.
pub(super) async fn whole(
    dialect: Dialect,
    fate: Fate,
    body: Value,
    latency: Duration,
    provider: &Provider,
) -> Response {
    match fate {
        Fate::Hang => return std::future::pending().await,
        Fate::RateLimited => {
            let rest = provider.settings.retry_after;
            let body = wire::error(dialect, "rate_limit_exceeded", "too many requests");
            let headers = [
                ("retry-after-ms", rest.as_millis().to_string()),
                ("retry-after", rest.as_secs_f64().ceil().to_string()),
            ];
            return (StatusCode::TOO_MANY_REQUESTS, headers, Json(body)).into_response();
        }
        Fate::ServerError => {
            let body = wire::error(dialect, "api_error", "the simulated server failed");
            return (StatusCode::INTERNAL_SERVER_ERROR, Json(body)).into_response();
        }
        _ => {}
    }
    if !latency.is_zero() {
        tokio::time::sleep(latency).await;
    }
    let body = match fate {
        Fate::EarlyError | Fate::LateError => wire::error(dialect, "api_error", FAILED).to_string(),
        _ => body.to_string(),
    };
    let half = body.floor_char_boundary(body.len() / 2);
    let first = || vec![Bytes::copy_from_slice(&body.as_bytes()[..half])];
    let body = match fate {
        Fate::Malformed => Body::from(body[..half].to_owned()),
        Fate::Stall => pieces(first(), Pauses::NONE, End::Stall(provider.stop.clone())),
        Fate::Cut => pieces(first(), Pauses::NONE, End::Cut),
        _ => Body::from(body),
    };
    ([(CONTENT_TYPE, "application/json")], body).into_response()
}

/// What a simulated error in an answer says.
const FAILED: &str = "the simulated server failed while it answered";

/// A streamed answer: half the latency before the first piece, the rest between the pieces.
fn streamed(
    dialect: Dialect,
    fate: Fate,
    events: Events,
    latency: Duration,
    stop: CancellationToken,
) -> Response {
    let mut all = events.all;
    let half = (all.len() / 2)
        .max(events.before_content + 1)
        .min(all.len());
    let mut end = End::Whole;
    match fate {
        Fate::Malformed => {
            let half = all.len() / 2;
            let whole = &all[half];
            all[half] = [&whole[..whole.len() / 2], b"\n\n"].concat().into();
            all.truncate(half + 1);
        }
        Fate::Stall => {
            all.truncate(all.len() / 2);
            end = End::Stall(stop);
        }
        Fate::Cut => {
            all.truncate(half);
            end = End::Cut;
        }
        Fate::EarlyError => {
            all.truncate(events.before_content);
            all.push(wire::error_event(dialect, FAILED));
        }
        Fate::LateError => {
            all.truncate(half);
            all.push(wire::error_event(dialect, FAILED));
        }
        _ => {}
    }
    let between = latency / 2 / u32::try_from(all.len()).unwrap_or(u32::MAX).max(1);
    let pauses = Pauses {
        first: latency / 2,
        between,
    };
    (
        [(CONTENT_TYPE, "text/event-stream")],
        pieces(all, pauses, end),
    )
        .into_response()
}

/// How a body in pieces ends.
enum End {
    Whole,
    /// It stays open until this says stop, and never ends as a whole one does.
    Stall(CancellationToken),
    /// The connection breaks.
    Cut,
}

/// The pauses before the pieces of a body.
#[derive(Clone, Copy)]
struct Pauses {
    first: Duration,
    between: Duration,
}

impl Pauses {
    const NONE: Self = Self {
        first: Duration::ZERO,
        between: Duration::ZERO,
    };
}

/// A body in pieces, with a pause before each.
fn pieces(pieces: Vec<Bytes>, pauses: Pauses, end: End) -> Body {
    let state = (pieces.into_iter(), pauses.first, end);
    Body::from_stream(stream::unfold(
        state,
        move |(mut pieces, pause, end)| async move {
            if let Some(piece) = pieces.next() {
                if !pause.is_zero() {
                    tokio::time::sleep(pause).await;
                }
                return Some((
                    Ok::<_, std::io::Error>(piece),
                    (pieces, pauses.between, end),
                ));
            }
            match end {
                End::Whole => return None,
                End::Stall(stop) => stop.cancelled().await,
                // Lets what was written leave before the connection is closed.
                End::Cut => tokio::task::yield_now().await,
            }
            // Ending here would look like a whole body.
            Some((
                Err(std::io::ErrorKind::ConnectionAborted.into()),
                (pieces, pause, End::Whole),
            ))
        },
    ))
}
