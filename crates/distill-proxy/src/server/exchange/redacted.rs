//! Redaction on the way out, and the way back.

use std::{pin::Pin, sync::Arc};

use axum::body::Bytes;
use distill_wire::{
    ErrorKind, ErrorReply, Event, ReplyContext, Request,
    envelope::{self, Envelope},
};
use futures_util::{Stream, StreamExt as _, stream};

use super::{Asking, Ready};
use crate::{
    forward::{AnswerBody, Endpoint},
    problem::Problem,
    redact::{Redacted, Restorer, StreamRestorer},
    server::story::now_ms,
};

/// What is sent in place of what came.
#[derive(Default)]
pub(super) struct Sent {
    /// Written anew for every target.
    pub(super) request: Option<Arc<Request>>,
    /// A body of another kind, with what its scan says.
    pub(super) body: Option<(Bytes, Envelope)>,
    pub(super) restorer: Option<Restorer>,
}

/// What a request is sent as: with a task's question, and without what its route takes out. One in
/// which nothing is found goes on byte by byte.
///
/// # Errors
/// A [`Problem`] where the body cannot be read, and so not be redacted.
pub(super) fn sent(asking: &Asking<'_>, ready: &Ready) -> Result<Sent, Problem> {
    let redact = ready.route.config().redact;
    let of_task = ready.task.as_ref().map(|task| &task.request);
    if !redact.before_sending {
        return Ok(Sent {
            request: of_task.cloned(),
            ..Sent::default()
        });
    }
    let redactor = &asking.live.redactor;
    let restorer = |redacted: &Redacted| redacted.restorer().filter(|_| redact.reversible);
    match asking.asked.endpoint() {
        Endpoint::Chat(dialect) => {
            let mut request = match of_task {
                Some(request) => request.as_ref().clone(),
                None => dialect.read_request(&asking.body)?,
            };
            let redacted = redactor.redact(&mut request);
            let changed = of_task.is_some() || !redacted.is_empty();
            if redact.reversible
                && !redacted.is_empty()
                && request.stream
                && request.n.is_some_and(|n| n > 1)
            {
                // What is put back into a stream is put into its one reply.
                return Err(Problem::new(
                    ErrorKind::InvalidRequest,
                    "this route puts back what it took out of the request, and so streams one reply only; \
                     leave `n` or `stream` out",
                )
                .param("n"));
            }
            Ok(Sent {
                request: changed.then(|| Arc::new(request)),
                body: None,
                restorer: restorer(&redacted),
            })
        }
        endpoint @ (Endpoint::Embeddings | Endpoint::CountTokens) => {
            let unreadable = |error: serde_json::Error| {
                Problem::new(
                    ErrorKind::InvalidRequest,
                    format!("the body is not JSON ({error})"),
                )
            };
            let mut value = serde_json::from_slice(&asking.body).map_err(unreadable)?;
            let mut redacted = Redacted::default();
            if !redactor.value(&mut value, &mut redacted) {
                return Ok(Sent::default());
            }
            let body = Bytes::from(value.to_string());
            let mut scanned = envelope::scan(endpoint.dialect(), &body)?;
            scanned.session.clone_from(&ready.envelope.session);
            Ok(Sent {
                body: Some((body, scanned)),
                ..Sent::default()
            })
        }
    }
}

/// Fills the placeholders of an answer for its caller.
pub(super) fn restored(body: AnswerBody, restorer: Restorer, asking: &Restoring) -> AnswerBody {
    match (body, asking.endpoint) {
        (AnswerBody::Whole(bytes), _) => AnswerBody::Whole(restorer.body(&bytes).into()),
        (AnswerBody::Stream(stream), Endpoint::Chat(dialect)) => {
            let context = ReplyContext {
                model: asking.model.clone(),
                id: asking.id.clone(),
                created: now_ms() / 1000,
                stream_usage: asking.stream_usage,
                request: asking.request.clone(),
                source: Some(dialect),
            };
            let mut broken = Vec::new();
            dialect.stream_writer(&context).write(
                &Event::Error(ErrorReply {
                    kind: ErrorKind::Server,
                    message: "the answer cannot be read, so nothing can be put back into it"
                        .to_owned(),
                    code: Some("stream_broken".to_owned()),
                    param: None,
                }),
                &mut broken,
            );
            let filled = StreamRestorer::new(dialect, restorer, &context);
            AnswerBody::Stream(filled_stream(stream, filled, broken.into()))
        }
        (AnswerBody::Stream(stream), _) => {
            // Only conversations are streamed.
            let bytes = stream.map(move |bytes| restorer.body(&bytes).into());
            AnswerBody::Stream(Box::pin(bytes))
        }
    }
}

/// What the way back must know of a request.
pub(super) struct Restoring {
    pub(super) endpoint: Endpoint,
    pub(super) id: String,
    pub(super) model: String,
    pub(super) stream_usage: bool,
    pub(super) request: Option<Arc<Request>>,
}

type Bodies = Pin<Box<dyn Stream<Item = Bytes> + Send>>;

fn filled_stream(answer: Bodies, restorer: StreamRestorer, broken: Bytes) -> Bodies {
    let state = (answer, Some(restorer), broken);
    Box::pin(stream::unfold(
        state,
        |(mut answer, mut restorer, broken)| async move {
            loop {
                // Nothing is left after the end, and after what could not be read.
                let active = restorer.as_mut()?;
                let mut out = Vec::new();
                if let Some(bytes) = answer.next().await {
                    if active.push(&bytes, &mut out).is_err() {
                        out.extend_from_slice(&broken);
                        restorer = None;
                    }
                } else {
                    active.finish(&mut out);
                    restorer = None;
                }
                if !out.is_empty() {
                    return Some((Bytes::from(out), (answer, restorer, broken)));
                }
            }
        },
    ))
}
