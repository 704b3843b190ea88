//! A request comes in: which endpoint it is for, who asks, and what a fault of ours looks like.

use std::{
    future::Future,
    net::SocketAddr,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    sync::Arc,
    task::Poll,
};

use axum::{
    body::{Body, Bytes, HttpBody},
    http::{HeaderValue, Request, Response, StatusCode, header, request::Parts},
};
use distill_ledger::Caller;
use distill_wire::{Dialect, ErrorKind};
use hyper::service::Service as _;
use hyper_util::service::TowerToHyperService;

use super::{
    Shared, admin,
    authenticate::{self, Sender},
    body,
    exchange::{self, Answered, Asked, Asking},
    live::Live,
    models,
    paths::{self, Addressed, Endpoint},
    service,
    story::{Story, now_ms},
};
use crate::{forward, problem::Problem};

const REQUEST_ID: &str = "x-distill-request-id";

/// Answers one request, whatever happens.
pub(crate) async fn respond<B>(
    shared: Arc<Shared>,
    peer: SocketAddr,
    request: Request<B>,
) -> Response<Body>
where
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: std::fmt::Display + Send + Sync,
{
    let id = shared.ids.next(now_ms());
    // A listener for both families shows addresses of the old one in the form of the new.
    let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
    let (parts, body) = request.into_parts();
    let dialect = paths::dialect_of_errors(parts.uri.path(), &parts.headers);
    let story = Story::new(&shared, &id, parts.method.as_str(), parts.uri.path());
    let answered = unpanicked(handle(&shared, peer, &id, parts, body, story)).await;
    let mut response = answered.unwrap_or_else(|| {
        // What a panic says may hold a piece of a prompt: where it was is in the log.
        shared.notice("panic", format!("request {id} met a fault of the program"));
        Problem::new(
            ErrorKind::Server,
            format!("a fault of the proxy, not of the request; its log names {id}"),
        )
        .code("internal_error")
        .response(dialect)
    });
    if let (false, Ok(value)) = (
        response.headers().contains_key(REQUEST_ID),
        HeaderValue::try_from(id),
    ) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    response
}

/// Runs a future to its end; `None` where it panicked. Its connection goes on.
async fn unpanicked<F: Future>(future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    std::future::poll_fn(|context| {
        // The future is dropped after a panic and never polled again.
        match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context))) {
            Ok(Poll::Ready(output)) => Poll::Ready(Some(output)),
            Ok(Poll::Pending) => Poll::Pending,
            Err(_) => Poll::Ready(None),
        }
    })
    .await
}

async fn handle<B>(
    shared: &Arc<Shared>,
    peer: SocketAddr,
    id: &str,
    parts: Parts,
    body: B,
    mut story: Story,
) -> Response<Body>
where
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: std::fmt::Display + Send + Sync,
{
    let dialect = paths::dialect_of_errors(parts.uri.path(), &parts.headers);
    let endpoint = match paths::address(&parts.method, parts.uri.path()) {
        Addressed::To(endpoint) => endpoint,
        Addressed::WrongMethod(allowed) => {
            let problem = Problem::new(
                ErrorKind::InvalidRequest,
                format!("this path takes {allowed}"),
            )
            .status(StatusCode::METHOD_NOT_ALLOWED)
            .code("method_not_allowed");
            let mut response = refused(story, &problem, dialect);
            response
                .headers_mut()
                .insert(header::ALLOW, HeaderValue::from_static(allowed));
            return response;
        }
        Addressed::Nowhere => {
            let problem = Problem::new(
                ErrorKind::NotFound,
                "there is nothing at this path; GET /openapi.json lists what there is",
            )
            .code("unknown_path");
            return refused(story, &problem, dialect);
        }
    };
    let live = shared.live();
    let (asked, dialect) = match endpoint {
        Endpoint::Chat(dialect) => (Asked::Model(forward::Endpoint::Chat(dialect)), dialect),
        Endpoint::CountTokens => (
            Asked::Model(forward::Endpoint::CountTokens),
            Dialect::Messages,
        ),
        Endpoint::Embeddings => (
            Asked::Model(forward::Endpoint::Embeddings),
            Dialect::ChatCompletions,
        ),
        Endpoint::Task(name) => (Asked::Task(name), Dialect::ChatCompletions),
        endpoint => {
            let answered = own(shared, &live, peer, endpoint, parts, body, &mut story).await;
            return match answered {
                Ok(response) => {
                    story.answered(response.status().as_u16());
                    response
                }
                Err(problem) => refused(story, &problem, dialect),
            };
        }
    };
    let (caller, body) = match admitted(shared, &live, peer, &parts, body, &mut story).await {
        Ok(admitted) => admitted,
        Err(problem) => return refused(story, &problem, dialect),
    };
    let asking = Asking {
        shared,
        live,
        id: id.to_owned(),
        caller,
        headers: parts.headers,
        asked,
        body,
    };
    match exchange::answer(asking, story).await {
        Answered::Response(response) => response,
        Answered::Problem(refusal) => {
            let (problem, story) = *refusal;
            refused(story, &problem, dialect)
        }
    }
}

fn refused(story: Story, problem: &Problem, dialect: Dialect) -> Response<Body> {
    story.refused(problem);
    problem.response(dialect)
}

/// Recognises the caller, then reads the body: whoever is not let in is not read.
async fn admitted<B>(
    shared: &Shared,
    live: &Live,
    peer: SocketAddr,
    parts: &Parts,
    body: B,
    story: &mut Story,
) -> Result<(Arc<Caller>, Bytes), Problem>
where
    B: HttpBody<Data = Bytes>,
    B::Error: std::fmt::Display,
{
    let caller = recognised(shared, live, peer, parts).await?;
    story.caller(&caller);
    let security = &live.config.security;
    let body = body::read(
        &parts.headers,
        body,
        security.max_body_bytes,
        security.body_timeout,
    )
    .await?;
    Ok((caller, body))
}

async fn recognised(
    shared: &Shared,
    live: &Live,
    peer: SocketAddr,
    parts: &Parts,
) -> Result<Arc<Caller>, Problem> {
    let sender = Sender {
        address: peer.ip(),
        headers: &parts.headers,
        uri: &parts.uri,
    };
    authenticate::recognise(
        &sender,
        &live.config.security,
        &shared.anonymous,
        |key| async move { shared.ledger.identify(&key).await },
    )
    .await
}

/// The endpoints of the proxy itself.
async fn own<B>(
    shared: &Arc<Shared>,
    live: &Arc<Live>,
    peer: SocketAddr,
    endpoint: Endpoint,
    parts: Parts,
    body: B,
    story: &mut Story,
) -> Result<Response<Body>, Problem>
where
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: std::fmt::Display + Send + Sync,
{
    match endpoint {
        Endpoint::Root => Ok(service::root()),
        Endpoint::Health => Ok(service::health(shared)),
        Endpoint::OpenApi => Ok(service::openapi()),
        Endpoint::Metrics => {
            metrics_allowed(shared, live, peer, &parts).await?;
            Ok(service::metrics(shared))
        }
        Endpoint::Models => {
            let caller = recognised(shared, live, peer, &parts).await?;
            story.caller(&caller);
            Ok(models::list(live, &caller, &parts.headers))
        }
        Endpoint::Model(name) => {
            let caller = recognised(shared, live, peer, &parts).await?;
            story.caller(&caller);
            models::one(live, &caller, &parts.headers, &name)
        }
        Endpoint::Admin(path) => {
            let (caller, body) = admitted(shared, live, peer, &parts, body, story).await?;
            authenticate::require_admin(&caller)?;
            admin::answer(shared, &caller, &parts, &path, &body).await
        }
        Endpoint::Pages => pages(shared, live, parts, body).await,
        Endpoint::Chat(_) | Endpoint::CountTokens | Endpoint::Embeddings | Endpoint::Task(_) => {
            unreachable!("answered by the exchange")
        }
    }
}

/// The pages look after their visitors themselves: whoever is not logged in sees a form.
async fn pages<B>(
    shared: &Shared,
    live: &Live,
    parts: Parts,
    body: B,
) -> Result<Response<Body>, Problem>
where
    B: HttpBody<Data = Bytes>,
    B::Error: std::fmt::Display,
{
    let patience = live.config.security.body_timeout;
    let body = body::read(&parts.headers, body, LARGEST_FORM, patience).await?;
    let request = Request::from_parts(parts, Body::from(body));
    let router = TowerToHyperService::new(shared.pages.clone());
    let Ok(response) = router.call(request).await;
    Ok(response)
}

/// Bytes of a form of the pages.
const LARGEST_FORM: u64 = 64 << 10;

/// Scrapers of this machine need no key; others an admin's.
async fn metrics_allowed(
    shared: &Shared,
    live: &Live,
    peer: SocketAddr,
    parts: &Parts,
) -> Result<(), Problem> {
    if !live.config.telemetry.prometheus {
        return Err(Problem::new(
            ErrorKind::NotFound,
            "metrics are switched off (`telemetry.prometheus`)",
        ));
    }
    let sender = Sender {
        address: peer.ip(),
        headers: &parts.headers,
        uri: &parts.uri,
    };
    if sender.is_local() {
        return authenticate::refuse_foreign_pages(&sender, &live.config.security);
    }
    let caller = recognised(shared, live, peer, parts).await?;
    authenticate::require_admin(&caller)
}

#[cfg(test)]
mod tests {
    use super::unpanicked;

    #[tokio::test]
    async fn a_panic_ends_one_request_and_nothing_else() {
        let fault = async {
            tokio::task::yield_now().await;
            assert!(std::hint::black_box(false), "planted");
        };
        assert_eq!(unpanicked(fault).await, None);
        assert_eq!(unpanicked(async { 7 }).await, Some(7));
    }
}
