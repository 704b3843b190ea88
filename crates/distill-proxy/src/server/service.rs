//! The endpoints about the proxy itself: health, metrics, its description.

use std::sync::atomic::Ordering;

use axum::{
    body::Body,
    http::{HeaderValue, Response, StatusCode, header},
};
use serde_json::{Value, json};

use super::Shared;

/// The description of every endpoint, kept by hand; a test holds it to what answers.
pub(crate) const OPENAPI: &str = include_str!("openapi.json");

pub(crate) fn json_response(value: &Value) -> Response<Body> {
    typed("application/json", value.to_string())
}

pub(crate) fn typed(content_type: &'static str, body: impl Into<Body>) -> Response<Body> {
    let mut response = Response::new(body.into());
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// Says where things are to whoever looks at the root.
pub(crate) fn root() -> Response<Body> {
    typed(
        "text/plain; charset=utf-8",
        "distill proxy: POST /v1/chat/completions, /v1/responses, /v1/messages, /v1/embeddings, \
         /v1/tasks/NAME; GET /v1/models, /health, /openapi.json, /ui\n",
    )
}

pub(crate) fn health(shared: &Shared) -> Response<Body> {
    let stopping = shared.stopping.load(Ordering::Relaxed);
    let mut response = json_response(&json!({
        "status": if stopping { "stopping" } else { "ok" },
        "version": env!("CARGO_PKG_VERSION"),
    }));
    if stopping {
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    }
    response
}

pub(crate) fn metrics(shared: &Shared) -> Response<Body> {
    let page = shared.metrics.render(&shared.live().targets());
    typed("text/plain; version=0.0.4; charset=utf-8", page)
}

pub(crate) fn openapi() -> Response<Body> {
    typed("application/json", OPENAPI)
}
