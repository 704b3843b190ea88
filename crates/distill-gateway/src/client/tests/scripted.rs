//! A vendor that does what a test told it to.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use futures_util::{StreamExt, stream};
use serde_json::json;

/// One line of a script.
#[derive(Debug, Clone)]
pub(super) enum Line {
    Answer(&'static str),
    /// An answer without its usage.
    WithoutUsage,
    Status(u16, &'static str),
    RateLimit(&'static str),
    Malformed,
    Hang,
    Stall,
    /// The connection breaks in the middle of the body.
    Break,
    /// A whole answer after some milliseconds.
    Slow(u64),
}

#[derive(Debug)]
struct Script {
    lines: VecDeque<Line>,
    /// Said when the lines are used up.
    rest: Line,
    requests: Vec<(HeaderMap, String)>,
}

/// A running scripted vendor.
#[derive(Debug)]
pub(super) struct Vendor {
    url: String,
    script: Arc<Mutex<Script>>,
    serving: tokio::task::JoinHandle<()>,
}

impl Vendor {
    pub(super) async fn new(lines: impl IntoIterator<Item = Line>, rest: Line) -> Self {
        let script = Arc::new(Mutex::new(Script {
            lines: lines.into_iter().collect(),
            rest,
            requests: Vec::new(),
        }));
        let router = Router::new()
            .fallback(reply)
            .with_state(Arc::clone(&script));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/v1", listener.local_addr().unwrap());
        let serving = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self {
            url,
            script,
            serving,
        }
    }

    /// Says the same whatever happens.
    pub(super) async fn always(line: Line) -> Self {
        Self::new([], line).await
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    pub(super) fn calls(&self) -> usize {
        self.script.lock().unwrap().requests.len()
    }

    pub(super) fn requests(&self) -> Vec<(HeaderMap, String)> {
        self.script.lock().unwrap().requests.clone()
    }
}

impl Drop for Vendor {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// An address where nobody listens.
pub(super) async fn nobody() -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    format!("http://{}/v1", listener.local_addr().unwrap())
}

fn answer(text: &str, usage: bool) -> String {
    let mut body = json!({
        "id": "r-1", "model": "model-1",
        "choices": [{"message": {"content": text}, "finish_reason": "stop"}],
    });
    if usage {
        body["usage"] = json!({"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12});
    }
    body.to_string()
}

async fn reply(
    State(script): State<Arc<Mutex<Script>>>,
    headers: HeaderMap,
    body: String,
) -> Response {
    let line = {
        let mut script = script.lock().unwrap();
        script.requests.push((headers, body));
        script
            .lines
            .pop_front()
            .unwrap_or_else(|| script.rest.clone())
    };
    let half = || Bytes::from(answer("text", true)[..20].to_owned());
    let status = |status: u16| StatusCode::from_u16(status).unwrap();
    match line {
        Line::Answer(text) => answer(text, true).into_response(),
        Line::WithoutUsage => answer("text", false).into_response(),
        Line::Status(code, body) => (status(code), body).into_response(),
        Line::RateLimit(milliseconds) => {
            (status(429), [("retry-after-ms", milliseconds)], "{}").into_response()
        }
        Line::Malformed => half().into_response(),
        Line::Hang => std::future::pending().await,
        Line::Stall => Body::from_stream(
            stream::iter([Ok::<_, std::io::Error>(half())]).chain(stream::pending()),
        )
        .into_response(),
        Line::Break => Body::from_stream(stream::iter([
            Ok(half()),
            Err(std::io::Error::from(std::io::ErrorKind::ConnectionAborted)),
        ]))
        .into_response(),
        Line::Slow(milliseconds) => {
            tokio::time::sleep(std::time::Duration::from_millis(milliseconds)).await;
            answer("slow", true).into_response()
        }
    }
}
