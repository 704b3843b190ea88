//! A vendor that answers at once and keeps a bill.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::{
    Json, Router,
    body::{Body, Bytes},
    extract::{DefaultBodyLimit, State},
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::{get, post},
    serve::ListenerExt,
};
use futures_util::stream;
use serde_json::{Value, json};

use crate::Options;

/// Chunks of a stream.
const CHUNKS: usize = 20;
/// Tokens of every answer.
const OUTPUT_TOKENS: u64 = 20;

/// What was charged, and what went wrong on purpose.
#[derive(Default)]
struct Bill {
    faults: f64,
    asked: AtomicU64,
    charged: AtomicU64,
    input_tokens: AtomicU64,
    output_tokens: AtomicU64,
    /// Charged, but the answer was cut before its end.
    cut: AtomicU64,
    cut_input_tokens: AtomicU64,
    refused: AtomicU64,
}

#[derive(serde::Deserialize)]
struct Asked {
    model: String,
    #[serde(default)]
    stream: bool,
}

/// Serves until the process is ended.
pub(crate) async fn serve(options: &Options) {
    let bill = Arc::new(Bill {
        faults: options.number("faults", 0.0),
        ..Bill::default()
    });
    let router = Router::new()
        .route("/v1/chat/completions", post(chat))
        .route("/bill", get(show))
        .layer(DefaultBodyLimit::max(32 << 20))
        .with_state(bill);
    let port = options.number("port", 0.0) as u16;
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port))
        .await
        .unwrap();
    println!("{}", listener.local_addr().unwrap().port());
    let listener = listener.tap_io(|connection| connection.set_nodelay(true).unwrap());
    axum::serve(listener, router).await.unwrap();
}

async fn show(State(bill): State<Arc<Bill>>) -> Json<Value> {
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    Json(json!({
        "asked": count(&bill.asked),
        "charged": count(&bill.charged),
        "input_tokens": count(&bill.input_tokens),
        "output_tokens": count(&bill.output_tokens),
        "cut": count(&bill.cut),
        "cut_input_tokens": count(&bill.cut_input_tokens),
        "refused": count(&bill.refused),
    }))
}

async fn chat(State(bill): State<Arc<Bill>>, body: Bytes) -> Response {
    let Ok(asked) = serde_json::from_slice::<Asked>(&body) else {
        return error(StatusCode::BAD_REQUEST, "not a chat request");
    };
    let number = bill.asked.fetch_add(1, Ordering::Relaxed);
    if asked.model.starts_with("fail") {
        bill.refused.fetch_add(1, Ordering::Relaxed);
        return error(StatusCode::INTERNAL_SERVER_ERROR, "always fails");
    }
    let input = body.len() as u64 / 4;
    // Spread evenly: the golden ratio's multiples fill the unit interval.
    let place = (number as f64 * 0.618_033_988_749_895).fract();
    if place < bill.faults {
        return fault(&bill, place / bill.faults, &asked, input);
    }
    bill.charged.fetch_add(1, Ordering::Relaxed);
    bill.input_tokens.fetch_add(input, Ordering::Relaxed);
    bill.output_tokens
        .fetch_add(OUTPUT_TOKENS, Ordering::Relaxed);
    if asked.stream {
        return streamed(pieces(number, input, CHUNKS, true));
    }
    Json(json!({
        "id": format!("chatcmpl-{number}"), "object": "chat.completion", "created": 1_700_000_000,
        "model": asked.model,
        "choices": [{"index": 0, "finish_reason": "stop", "logprobs": null,
            "message": {"role": "assistant", "content": "word ".repeat(CHUNKS), "refusal": null}}],
        "usage": usage(input),
    }))
    .into_response()
}

/// One of the ways to fail; `kind` runs from 0 to 1.
fn fault(bill: &Bill, kind: f64, asked: &Asked, input: u64) -> Response {
    bill.refused.fetch_add(1, Ordering::Relaxed);
    match kind {
        kind if kind < 0.4 => error(StatusCode::INTERNAL_SERVER_ERROR, "a bad moment"),
        kind if kind < 0.7 => {
            let mut response = error(StatusCode::TOO_MANY_REQUESTS, "slow down");
            // At thousands of requests a second a longer rest would leave the vendors resting always.
            let told = "retry-after-ms".parse::<axum::http::HeaderName>().unwrap();
            response.headers_mut().insert(told, "1".parse().unwrap());
            response
        }
        kind if kind < 0.9 && asked.stream => {
            bill.cut.fetch_add(1, Ordering::Relaxed);
            bill.cut_input_tokens.fetch_add(input, Ordering::Relaxed);
            streamed(pieces(0, input, CHUNKS / 2, false))
        }
        _ => error(StatusCode::SERVICE_UNAVAILABLE, "overloaded"),
    }
}

fn usage(input: u64) -> Value {
    json!({"prompt_tokens": input, "completion_tokens": OUTPUT_TOKENS, "total_tokens": input + OUTPUT_TOKENS})
}

fn pieces(number: u64, input: u64, count: usize, whole: bool) -> Vec<Bytes> {
    let chunk = |choices: Value, usage: Value| {
        Bytes::from(format!(
            "data: {}\n\n",
            json!({"id": format!("chatcmpl-{number}"), "object": "chat.completion.chunk", "created": 1_700_000_000,
                "model": "bench", "choices": choices, "usage": usage})
        ))
    };
    let mut pieces: Vec<Bytes> = (0..count)
        .map(|at| {
            let mut delta = json!({"content": "word "});
            if at == 0 {
                delta["role"] = "assistant".into();
            }
            chunk(
                json!([{"index": 0, "delta": delta, "finish_reason": null}]),
                Value::Null,
            )
        })
        .collect();
    if whole {
        pieces.push(chunk(
            json!([{"index": 0, "delta": {}, "finish_reason": "stop"}]),
            Value::Null,
        ));
        pieces.push(chunk(json!([]), usage(input)));
        pieces.push(Bytes::from_static(b"data: [DONE]\n\n"));
    }
    pieces
}

/// Each piece leaves by itself, as from a model that makes tokens.
fn streamed(pieces: Vec<Bytes>) -> Response {
    let stream = stream::unfold(pieces.into_iter(), |mut pieces| async move {
        let piece = pieces.next()?;
        tokio::task::yield_now().await;
        Some((Ok::<_, Infallible>(piece), pieces))
    });
    (
        [(CONTENT_TYPE, "text/event-stream")],
        Body::from_stream(stream),
    )
        .into_response()
}

fn error(status: StatusCode, message: &str) -> Response {
    (status, Json(json!({"error": {"message": message, "type": "server_error", "code": null, "param": null}}))).into_response()
}

/// Waits until somebody listens.
pub(crate) async fn wait_for(address: &str, patience: Duration) -> bool {
    let until = tokio::time::Instant::now() + patience;
    while tokio::time::Instant::now() < until {
        if tokio::net::TcpStream::connect(address).await.is_ok() {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    false
}
