//! The way of a request for a model through the proxy: who may ask, what the ledger says, who
//! answers, how it ends.

use std::{convert::Infallible, sync::Arc};

use axum::{
    body::{Body, Bytes},
    http::{HeaderMap, Response},
};
use distill_ledger::{Caller, OpenRequest, RequestStart};
use distill_wire::{
    ErrorKind,
    envelope::{self, Envelope},
};
use futures_util::StreamExt as _;

use super::{Shared, count_tokens, live::Live, models, permission, story::Story};
use crate::{
    forward::{self, AnswerBody, Forwarded},
    problem::Problem,
    route::Route,
    telemetry::TraceContext,
};

/// A request for a model whose caller is known and whose body has come.
pub(crate) struct Asking<'a> {
    pub(crate) shared: &'a Arc<Shared>,
    pub(crate) live: Arc<Live>,
    pub(crate) id: String,
    pub(crate) caller: Arc<Caller>,
    pub(crate) headers: HeaderMap,
    pub(crate) endpoint: forward::Endpoint,
    pub(crate) body: Bytes,
}

/// What answers a request: a response, and how it ended where that is known already.
pub(crate) enum Answered {
    /// The story goes on until the last byte is out.
    Response(Response<Body>),
    Problem(Box<Problem>, Story),
}

/// Answers a request, or says why not.
pub(crate) async fn answer(asking: Asking<'_>, mut story: Story) -> Answered {
    match prepare(&asking, &mut story).await {
        Ok(Prepared::Ready(ready)) => Answered::Response(forwarded(asking, *ready, story).await),
        Ok(Prepared::Estimate(response)) => {
            story.answered(response.status().as_u16());
            Answered::Response(response)
        }
        Err(problem) => Answered::Problem(Box::new(problem), story),
    }
}

/// A request that was let in.
struct Ready {
    envelope: Envelope,
    route: Arc<Route>,
    open: Arc<OpenRequest>,
}

enum Prepared {
    Ready(Box<Ready>),
    /// Nobody is asked: tokens are estimated here.
    Estimate(Response<Body>),
}

/// The name of an endpoint's form in the ledger and the metrics.
pub(crate) fn form(endpoint: forward::Endpoint) -> &'static str {
    match endpoint {
        forward::Endpoint::Chat(dialect) => dialect.as_str(),
        forward::Endpoint::Embeddings => "openai.embeddings",
        forward::Endpoint::CountTokens => "anthropic.count_tokens",
    }
}

async fn prepare(asking: &Asking<'_>, story: &mut Story) -> Result<Prepared, Problem> {
    let (live, caller, endpoint) = (&asking.live, &asking.caller, asking.endpoint);
    let mut envelope = envelope::scan(endpoint.dialect(), &asking.body)?;
    let model = envelope.model.clone().ok_or_else(|| {
        Problem::new(ErrorKind::InvalidRequest, "`model` is missing").param("model")
    })?;
    story.asks(form(endpoint), &model);
    let route = live
        .routes
        .find(&model)
        .ok_or_else(|| models::unknown(live, caller, &model))?;
    permission::require(caller, &model, &route.config().allow)?;
    story.route(route.name(), None);
    check_size(&asking.body, &route)?;
    if envelope.session.is_none() {
        envelope.session = session_of(&asking.headers);
    }
    if endpoint == forward::Endpoint::CountTokens && !route.counts_tokens() {
        let estimate = count_tokens::estimate(&asking.body)?;
        return Ok(Prepared::Estimate(estimate));
    }
    let worst_tokens = worst_tokens(asking, &envelope);
    let open = asking
        .shared
        .ledger
        .begin(RequestStart {
            id: asking.id.clone(),
            caller: caller.clone(),
            task: None,
            route: route.name().to_owned(),
            model_asked: model,
            dialect: form(endpoint),
            streamed: envelope.stream,
            session: envelope.session.clone(),
            worst_tokens,
        })
        .await?;
    Ok(Prepared::Ready(Box::new(Ready {
        envelope,
        route,
        open: Arc::new(open),
    })))
}

fn check_size(body: &Bytes, route: &Route) -> Result<(), Problem> {
    match route.config().max_prompt_bytes {
        Some(limit) if body.len() as u64 > limit => Err(Problem::new(
            ErrorKind::TooLarge,
            format!("`{}` takes requests of {limit} bytes at most", route.name()),
        )),
        _ => Ok(()),
    }
}

/// Headers by which harnesses name a session.
const SESSION_HEADERS: [&str; 4] = [
    "x-distill-session",
    "session_id",
    "x-session-id",
    "x-claude-code-session-id",
];

fn session_of(headers: &HeaderMap) -> Option<String> {
    SESSION_HEADERS
        .iter()
        .find_map(|name| headers.get(*name)?.to_str().ok())
        .filter(|session| !session.is_empty() && session.len() <= 256)
        .map(str::to_owned)
}

/// Bytes of a token, assumed on the safe side of usual text.
const BYTES_PER_TOKEN: u64 = 3;

/// The tokens that the rate limit is charged until the answer tells.
fn worst_tokens(asking: &Asking<'_>, envelope: &Envelope) -> u64 {
    let input = (asking.body.len() as u64).div_ceil(BYTES_PER_TOKEN);
    let output = match asking.endpoint {
        forward::Endpoint::Chat(_) => {
            let one = envelope
                .max_tokens
                .unwrap_or(asking.shared.engine.settings().assumed_output_tokens);
            one.saturating_mul(envelope.n.unwrap_or(1))
        }
        forward::Endpoint::Embeddings | forward::Endpoint::CountTokens => 0,
    };
    input.saturating_add(output)
}

async fn forwarded(asking: Asking<'_>, ready: Ready, story: Story) -> Response<Body> {
    let shared = asking.shared.clone();
    if let Some(context) = asking
        .headers
        .get("traceparent")
        .and_then(|value| TraceContext::parse(value.to_str().ok()?))
    {
        shared.traces.remember(&asking.id, context);
    }
    let answer = forward::forward(
        &shared.engine,
        Forwarded {
            request_id: asking.id,
            endpoint: asking.endpoint,
            body: asking.body,
            envelope: ready.envelope,
            request: None,
            headers: asking.headers,
            route: ready.route,
            only: None,
            open: ready.open,
            collect: false,
        },
    )
    .await;
    let mut response = Response::new(match answer.body {
        AnswerBody::Whole(bytes) => Body::from(bytes),
        AnswerBody::Stream(stream) => Body::from_stream(stream.map(Ok::<_, Infallible>)),
    });
    *response.status_mut() = answer.status;
    *response.headers_mut() = answer.headers;
    let mut done = answer.done;
    match done.try_recv() {
        Ok(done) => story.done(Some(&done)),
        Err(_) => {
            shared.endings.spawn(async move {
                story.done(done.await.ok().as_ref());
            });
        }
    }
    response
}
