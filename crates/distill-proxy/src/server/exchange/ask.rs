//! Asking the members of a route, and what is done with the answer once it is whole.

use std::{convert::Infallible, sync::Arc};

use axum::{
    body::{Body, Bytes},
    http::{HeaderValue, Response, header},
};
use distill_wire::{Dialect, Dropped};
use futures_util::StreamExt as _;
use tokio::sync::oneshot::error::TryRecvError;

use super::{
    Asking, Ready,
    redacted::{self, Restoring, Sent},
};
use crate::{
    cache::Lead,
    forward::{self, AnswerBody, Done, Forwarded},
    server::{Shared, live::Live, story::Story},
    telemetry::TraceContext,
};

/// Forwards a request; `lead`: its answer is waited for by the cache.
pub(super) async fn ask(
    asking: Asking<'_>,
    ready: Ready,
    sent: Sent,
    lead: Option<Lead>,
    story: Story,
) -> Response<Body> {
    let shared = asking.shared.clone();
    let trace = asking
        .headers
        .get("traceparent")
        .and_then(|value| TraceContext::parse(value.to_str().ok()?));
    if let Some(context) = trace {
        shared.traces.remember(&asking.id, context);
    }
    let stored = Stored::of(&asking, &ready);
    let misses = lead.is_some();
    let dropped = ready.task.map(|task| task.dropped).unwrap_or_default();
    let restoring = sent.restorer.is_some().then(|| Restoring {
        endpoint: asking.asked.endpoint(),
        id: asking.id.clone(),
        model: ready.envelope.model.clone().unwrap_or_default(),
        stream_usage: ready.envelope.stream_usage,
        request: sent.request.clone(),
    });
    let (body, envelope) = sent.body.unwrap_or((asking.body, ready.envelope));
    let answer = forward::forward(
        &shared.engine,
        Forwarded {
            request_id: asking.id,
            endpoint: asking.asked.endpoint(),
            body,
            envelope,
            request: sent.request,
            headers: asking.headers,
            route: ready.route,
            only: None,
            open: ready.open,
            collect: lead.is_some() || stored.is_some(),
        },
    )
    .await;
    let body = match (sent.restorer, &restoring) {
        (Some(restorer), Some(restoring)) => redacted::restored(answer.body, restorer, restoring),
        _ => answer.body,
    };
    let mut response = Response::new(match body {
        AnswerBody::Whole(bytes) => Body::from(bytes),
        AnswerBody::Stream(stream) => Body::from_stream(stream.map(Ok::<_, Infallible>)),
    });
    *response.status_mut() = answer.status;
    *response.headers_mut() = answer.headers;
    if restoring.is_some() {
        response.headers_mut().remove(header::CONTENT_LENGTH);
    }
    if misses {
        response
            .headers_mut()
            .insert("x-distill-cache", HeaderValue::from_static("miss"));
    }
    tell_dropped(&mut response, &dropped);
    let ending = Ending {
        shared: shared.clone(),
        story,
        lead,
        stored,
    };
    let mut done = answer.done;
    match done.try_recv() {
        Ok(done) => ending.finish(Some(&done)),
        Err(TryRecvError::Closed) => ending.finish(None),
        Err(TryRecvError::Empty) => {
            shared.endings.spawn(async move {
                ending.finish(done.await.ok().as_ref());
            });
        }
    }
    response
}

/// What is left to do when the last byte is out.
struct Ending {
    shared: Arc<Shared>,
    story: Story,
    lead: Option<Lead>,
    stored: Option<Stored>,
}

impl Ending {
    /// `None`: the caller hung up.
    fn finish(self, done: Option<&Done>) {
        if let (Some(lead), Some(done)) = (self.lead, done) {
            lead.finish(done);
        }
        if let Some(stored) = self.stored {
            stored.keep(&self.shared, done.and_then(|done| done.body.as_ref()));
        }
        self.story.done(done);
    }
}

/// A request whose route says that bodies are kept.
struct Stored {
    id: String,
    live: Arc<Live>,
    dialect: Dialect,
    request: Bytes,
    redacts: bool,
}

impl Stored {
    fn of(asking: &Asking<'_>, ready: &Ready) -> Option<Self> {
        let config = ready.route.config();
        config.store_bodies.then(|| Self {
            id: asking.id.clone(),
            live: asking.live.clone(),
            dialect: asking.asked.endpoint().dialect(),
            request: asking.body.clone(),
            redacts: config.redact.before_storing,
        })
    }

    fn keep(&self, shared: &Shared, reply: Option<&Bytes>) {
        let text = |bytes: &Bytes| {
            let kept = if self.redacts {
                self.live.redactor.stored(self.dialect, bytes)
            } else {
                bytes.to_vec()
            };
            String::from_utf8_lossy(&kept).into_owned()
        };
        let (request, reply) = (text(&self.request), reply.map(text));
        if !shared.ledger.store_body(&self.id, request, reply) {
            shared.notice(
                "ledger",
                format!("no room to store the bodies of {}", self.id),
            );
        }
    }
}

/// Adds what a task left out to what the target could not express.
fn tell_dropped(response: &mut Response<Body>, dropped: &[Dropped]) {
    const HEADER: &str = "x-distill-dropped";
    if dropped.is_empty() {
        return;
    }
    let mut parts: Vec<String> = dropped
        .iter()
        .map(|dropped| format!("{} ({})", dropped.field, dropped.reason))
        .collect();
    if let Some(said) = response.headers().get(HEADER) {
        parts.push(said.to_str().unwrap_or_default().to_owned());
    }
    let text: String = parts
        .join("; ")
        .chars()
        .map(|character| {
            if character == ' ' || character.is_ascii_graphic() {
                character
            } else {
                '?'
            }
        })
        .take(4096)
        .collect();
    if let Ok(value) = HeaderValue::try_from(text) {
        response.headers_mut().insert(HEADER, value);
    }
}
