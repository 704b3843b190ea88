//! A vendor that does what a test told it to, and keeps a bill.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::State,
    http::{HeaderMap, StatusCode, Uri},
    response::{IntoResponse, Response},
};
use futures_util::{StreamExt, stream};
use serde_json::{Value, json};

/// What a call is answered with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Line {
    Answer(&'static str),
    Status(u16, &'static str),
    /// 429 with this `retry-after-ms`, or with no header at all.
    Throttled(Option<&'static str>),
    /// No byte, for ever.
    Hang,
    /// Status 200 with a body that is no JSON, or a stream that is none.
    Malformed,
    /// Status 200 with an error for a body.
    ErrorInside,
    /// The connection breaks in mid-body, before any content of a stream.
    CutBefore,
    /// Nothing more comes after the head (whole) or the life-cycle events (stream).
    StallBefore,
    /// An error event before any content.
    ErrorBefore,
    CutAfter,
    StallAfter,
    ErrorAfter,
    /// The stream ends in order, but without its last events.
    EndsEarly,
    WithoutUsage,
}

/// Dollars per million tokens, as the harness configures them.
pub(crate) const INPUT: u64 = 2_500_000;
pub(crate) const OUTPUT: u64 = 10_000_000;
/// Tokens of every answer.
pub(crate) const TOKENS: (u64, u64) = (10, 2);

/// One charge, in pico-dollars, of the attempt that its sender named so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Charge {
    pub(crate) attempt: String,
    pub(crate) pico: u64,
}

type Script = Box<dyn Fn(u32) -> Line + Send + Sync>;

struct Shared {
    script: Script,
    /// Calls by request, whatever the attempt's number.
    calls: Mutex<HashMap<String, u32>>,
    bill: Mutex<Vec<Charge>>,
    bodies: Mutex<Vec<(HeaderMap, Bytes)>>,
    /// Streams that were dropped before their end.
    hung_up: Arc<AtomicUsize>,
    rang: Arc<tokio::sync::Notify>,
}

/// A running scripted vendor.
pub(crate) struct Vendor {
    pub(crate) url: String,
    shared: Arc<Shared>,
    serving: tokio::task::JoinHandle<()>,
}

impl Vendor {
    /// Answers call after call of each request by a script.
    pub(crate) async fn scripted(script: impl Fn(u32) -> Line + Send + Sync + 'static) -> Self {
        let shared = Arc::new(Shared {
            script: Box::new(script),
            calls: Mutex::default(),
            bill: Mutex::default(),
            bodies: Mutex::default(),
            hung_up: Arc::default(),
            rang: Arc::default(),
        });
        let router = Router::new()
            .fallback(reply)
            .with_state(Arc::clone(&shared));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let serving = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self {
            url,
            shared,
            serving,
        }
    }

    pub(crate) async fn always(line: Line) -> Self {
        Self::scripted(move |_| line).await
    }

    pub(crate) fn calls(&self) -> HashMap<String, u32> {
        self.shared.calls.lock().unwrap().clone()
    }

    pub(crate) fn total_calls(&self) -> u32 {
        self.calls().values().sum()
    }

    pub(crate) fn bill(&self) -> Vec<Charge> {
        self.shared.bill.lock().unwrap().clone()
    }

    pub(crate) fn bodies(&self) -> Vec<(HeaderMap, Bytes)> {
        self.shared.bodies.lock().unwrap().clone()
    }

    /// Waits until so many streams were dropped before their end.
    pub(crate) async fn hung_up(&self, streams: usize) {
        while self.shared.hung_up.load(Ordering::SeqCst) < streams {
            self.shared.rang.notified().await;
        }
    }
}

impl Drop for Vendor {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// An address where nobody listens.
pub(crate) async fn nobody() -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

/// An address where every connection is reset as soon as something is sent.
pub(crate) async fn resetting() -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut first = [0; 1];
                drop(tokio::io::AsyncReadExt::read(&mut socket, &mut first).await);
                // Bytes that were not read turn the close into a reset.
            });
        }
    });
    url
}

/// Tells when a body is dropped before its end.
struct Watch {
    shared: Arc<Shared>,
    whole: bool,
}

impl Drop for Watch {
    fn drop(&mut self) {
        if !self.whole {
            self.shared.hung_up.fetch_add(1, Ordering::SeqCst);
            self.shared.rang.notify_one();
        }
    }
}

async fn reply(
    State(shared): State<Arc<Shared>>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let attempt = headers
        .get("x-client-request-id")
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
        .to_owned();
    let request = attempt.rsplit_once('-').map_or("", |(request, _)| request);
    let call = {
        let mut calls = shared.calls.lock().unwrap();
        let call = calls.entry(request.to_owned()).or_insert(0);
        *call += 1;
        *call
    };
    let asked: Value = serde_json::from_slice(&body).unwrap_or_default();
    shared.bodies.lock().unwrap().push((headers, body));
    let line = (shared.script)(call);
    let messages = uri.path().ends_with("/messages");
    let streams = asked["stream"] == true;
    let charge = |output: u64| {
        let pico = TOKENS.0 * INPUT + output * OUTPUT;
        let attempt = attempt.clone();
        shared.bill.lock().unwrap().push(Charge { attempt, pico });
    };
    match line {
        Line::Status(status, body) => (StatusCode::from_u16(status).unwrap(), body).into_response(),
        Line::Throttled(Some(wait)) => (
            StatusCode::TOO_MANY_REQUESTS,
            [("retry-after-ms", wait)],
            "{}",
        )
            .into_response(),
        Line::Throttled(None) => (StatusCode::TOO_MANY_REQUESTS, "{}").into_response(),
        Line::Hang => {
            charge(TOKENS.1);
            std::future::pending().await
        }
        Line::Malformed => {
            charge(TOKENS.1);
            "{\"choices\": [".into_response()
        }
        Line::ErrorInside => {
            "{\"error\": {\"message\": \"overloaded\", \"type\": \"overloaded_error\"}}"
                .into_response()
        }
        _ if streams => {
            let (text, partial) = match line {
                Line::Answer(text) => (text, false),
                Line::WithoutUsage => ("good", false),
                _ => ("partial words", true),
            };
            charge(if partial { 1 } else { TOKENS.1 });
            streamed(&shared, line, &events(messages, text, line))
        }
        _ => {
            let text = match line {
                Line::Answer(text) => text,
                _ => "good",
            };
            charge(TOKENS.1);
            let body = whole(messages, text, line != Line::WithoutUsage).to_string();
            match line {
                Line::Answer(_) | Line::WithoutUsage => {
                    ([("content-type", "application/json")], body).into_response()
                }
                Line::StallBefore | Line::StallAfter => {
                    streamed(&shared, Line::StallAfter, &[body[..20].to_owned()])
                }
                _ => streamed(&shared, Line::CutAfter, &[body[..20].to_owned()]),
            }
        }
    }
}

fn whole(messages: bool, text: &str, usage: bool) -> Value {
    let mut body = if messages {
        json!({
            "id": "msg_1", "type": "message", "role": "assistant", "model": "model-1",
            "content": [{"type": "text", "text": text}],
            "stop_reason": "end_turn", "stop_sequence": null,
        })
    } else {
        json!({
            "id": "r-1", "object": "chat.completion", "created": 1, "model": "model-1",
            "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
        })
    };
    if usage {
        body["usage"] = if messages {
            json!({"input_tokens": TOKENS.0, "output_tokens": TOKENS.1})
        } else {
            json!({"prompt_tokens": TOKENS.0, "completion_tokens": TOKENS.1, "total_tokens": TOKENS.0 + TOKENS.1})
        };
    }
    body
}

/// The events of a stream up to where the line lets it come.
fn events(messages: bool, text: &str, line: Line) -> Vec<String> {
    let words: Vec<&str> = text.split_inclusive(' ').collect();
    let mut events = if messages {
        message_events(&words, line != Line::WithoutUsage)
    } else {
        chat_events(&words, line != Line::WithoutUsage)
    };
    let before = if messages { 2 } else { 1 };
    let error = if messages {
        "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"Overloaded\"}}\n\n"
    } else {
        "data: {\"error\":{\"message\":\"Overloaded\",\"type\":\"server_error\",\"code\":\"overloaded\"}}\n\n"
    };
    match line {
        Line::CutBefore | Line::StallBefore | Line::ErrorBefore => events.truncate(before),
        Line::CutAfter | Line::StallAfter | Line::ErrorAfter | Line::EndsEarly => {
            events.truncate(before + 1);
        }
        _ => {}
    }
    if matches!(line, Line::ErrorBefore | Line::ErrorAfter) {
        events.push(error.to_owned());
    }
    events
}

fn chat_events(words: &[&str], usage: bool) -> Vec<String> {
    let chunk = |choices: Value, usage: Value| {
        let mut chunk = json!({
            "id": "r-1", "object": "chat.completion.chunk", "created": 1, "model": "model-1",
            "choices": choices,
        });
        if !usage.is_null() {
            chunk["usage"] = usage;
        }
        format!("data: {chunk}\n\n")
    };
    let delta = |delta: Value, finish: Value| {
        chunk(
            json!([{"index": 0, "delta": delta, "finish_reason": finish}]),
            Value::Null,
        )
    };
    let mut events = vec![delta(
        json!({"role": "assistant", "content": ""}),
        Value::Null,
    )];
    events.extend(
        words
            .iter()
            .map(|word| delta(json!({"content": word}), Value::Null)),
    );
    events.push(delta(json!({}), "stop".into()));
    if usage {
        events.push(chunk(
            json!([]),
            json!({"prompt_tokens": TOKENS.0, "completion_tokens": TOKENS.1, "total_tokens": TOKENS.0 + TOKENS.1}),
        ));
    }
    events.push("data: [DONE]\n\n".to_owned());
    events
}

fn message_events(words: &[&str], usage: bool) -> Vec<String> {
    let event = |kind: &str, data: Value| {
        let mut object = json!({"type": kind});
        object
            .as_object_mut()
            .unwrap()
            .extend(data.as_object().unwrap().clone());
        format!("event: {kind}\ndata: {object}\n\n")
    };
    let mut message = json!({
        "id": "msg_1", "type": "message", "role": "assistant", "model": "model-1",
        "content": [], "stop_reason": null, "stop_sequence": null,
    });
    let mut last = json!({"delta": {"stop_reason": "end_turn", "stop_sequence": null}});
    if usage {
        message["usage"] = json!({"input_tokens": TOKENS.0, "output_tokens": 1});
        last["usage"] = json!({"output_tokens": TOKENS.1});
    }
    let mut events = vec![
        event("message_start", json!({"message": message})),
        event(
            "content_block_start",
            json!({"index": 0, "content_block": {"type": "text", "text": ""}}),
        ),
    ];
    events.extend(words.iter().map(|word| {
        event(
            "content_block_delta",
            json!({"index": 0, "delta": {"type": "text_delta", "text": word}}),
        )
    }));
    events.push(event("content_block_stop", json!({"index": 0})));
    events.push(event("message_delta", last));
    events.push(event("message_stop", json!({})));
    events
}

fn streamed(shared: &Arc<Shared>, line: Line, events: &[String]) -> Response {
    let pieces: Vec<Result<Bytes, std::io::Error>> = events
        .iter()
        .map(|event| Ok(Bytes::from(event.clone())))
        .collect();
    let stalls = matches!(line, Line::StallBefore | Line::StallAfter);
    let cuts = matches!(line, Line::CutBefore | Line::CutAfter);
    let mut watch = Watch {
        shared: Arc::clone(shared),
        whole: false,
    };
    let end = stream::once(async move {
        // The whole of it belongs to the stream: a field alone would leave the rest to be dropped here.
        let watch = &mut watch;
        if stalls {
            std::future::pending::<()>().await;
        }
        watch.whole = true;
        if cuts {
            // What was sent before has to leave first.
            tokio::task::yield_now().await;
            return Err(std::io::Error::from(std::io::ErrorKind::ConnectionAborted));
        }
        Ok(Bytes::new())
    });
    let mut response = Body::from_stream(stream::iter(pieces).chain(end)).into_response();
    response.headers_mut().insert(
        "content-type",
        axum::http::HeaderValue::from_static("text/event-stream"),
    );
    response
}
