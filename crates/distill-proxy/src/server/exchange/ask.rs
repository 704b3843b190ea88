//! Asking the members of a route, and what is done with the answer once it is whole.

use std::{convert::Infallible, sync::Arc};

use axum::{
    body::{Body, Bytes},
    http::{HeaderValue, Response},
};
use distill_wire::Dropped;
use futures_util::StreamExt as _;
use tokio::sync::oneshot::error::TryRecvError;

use super::{Asking, Ready};
use crate::{
    cache::Lead,
    forward::{self, AnswerBody, Done, Forwarded},
    server::{Shared, story::Story},
    telemetry::TraceContext,
};

/// Forwards a request; `lead`: its answer is waited for by the cache.
pub(super) async fn ask(
    asking: Asking<'_>,
    ready: Ready,
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
    let stored = stored(&asking, &ready);
    let misses = lead.is_some();
    let (request, dropped) = match ready.task {
        Some(task) => (Some(task.request), task.dropped),
        None => (None, Vec::new()),
    };
    let answer = forward::forward(
        &shared.engine,
        Forwarded {
            request_id: asking.id,
            endpoint: asking.asked.endpoint(),
            body: asking.body,
            envelope: ready.envelope,
            request,
            headers: asking.headers,
            route: ready.route,
            only: None,
            open: ready.open,
            collect: lead.is_some() || stored.is_some(),
        },
    )
    .await;
    let mut response = Response::new(match answer.body {
        AnswerBody::Whole(bytes) => Body::from(bytes),
        AnswerBody::Stream(stream) => Body::from_stream(stream.map(Ok::<_, Infallible>)),
    });
    *response.status_mut() = answer.status;
    *response.headers_mut() = answer.headers;
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
    stored: Option<(String, Bytes)>,
}

impl Ending {
    /// `None`: the caller hung up.
    fn finish(self, done: Option<&Done>) {
        if let (Some(lead), Some(done)) = (self.lead, done) {
            lead.finish(done);
        }
        if let Some((id, request)) = self.stored {
            let text = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
            let reply = done.and_then(|done| done.body.as_ref()).map(text);
            if !self.shared.ledger.store_body(&id, text(&request), reply) {
                self.shared
                    .notice("ledger", format!("no room to store the bodies of {id}"));
            }
        }
        self.story.done(done);
    }
}

/// The request's id and body, where its route says that bodies are stored.
fn stored(asking: &Asking<'_>, ready: &Ready) -> Option<(String, Bytes)> {
    ready
        .route
        .config()
        .store_bodies
        .then(|| (asking.id.clone(), asking.body.clone()))
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
