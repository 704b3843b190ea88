//! What a request to the simulated provider meets.

mod body;

use std::{sync::Arc, time::Duration};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{DefaultBodyLimit, Path, RawQuery, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::{get, post},
    serve::ListenerExt,
};
use distill_chat::{FinishReason, Usage};
use distill_wire::Dialect;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::{
    SAMPLE_HEADER,
    asked::{self, Asked},
    bill::{BillRow, Ledger},
    draw, embedding,
    gold::GoldTable,
    improvise, judge, price_of,
    settings::{LatencySettings, ModelSettings, SimulatorSettings},
    wire::{self, Call, Spoken},
};
use crate::request_hash::hex;
use body::{Fate, respond, whole};

/// The state behind every handler.
#[derive(Debug)]
pub(super) struct Provider {
    pub(super) table: GoldTable,
    pub(super) settings: SimulatorSettings,
    pub(super) ledger: Ledger,
    pub(super) stop: CancellationToken,
}

/// Longest request body.
const LARGEST_BODY: usize = 32 * 1024 * 1024;

/// Serves until the provider is stopped.
pub(super) async fn serve(listener: TcpListener, provider: Arc<Provider>) {
    let stop = provider.stop.clone();
    let router = Router::new()
        .route("/v1/chat/completions", post(chat))
        .route("/v1/messages", post(messages))
        .route("/v1/messages/count_tokens", post(count_tokens))
        .route("/v1/responses", post(responses))
        .route("/v1beta/models/{call}", post(gemini))
        .route("/v1/embeddings", post(embeddings))
        .route("/v1/models", get(models))
        .route("/simulated/bill", get(bill))
        .layer(DefaultBodyLimit::max(LARGEST_BODY))
        .with_state(provider);
    let listener = listener.tap_io(|connection| {
        // Without it small answers wait for acknowledgements; on loopback that is all the latency.
        drop(connection.set_nodelay(true));
    });
    // Serving a bound listener does not fail; accepting is retried inside.
    drop(
        axum::serve(listener, router)
            .with_graceful_shutdown(stop.cancelled_owned())
            .await,
    );
}

async fn chat(provider: State<Arc<Provider>>, headers: HeaderMap, body: Bytes) -> Response {
    answer(Dialect::ChatCompletions, &provider, &headers, &body, None).await
}

async fn messages(provider: State<Arc<Provider>>, headers: HeaderMap, body: Bytes) -> Response {
    answer(Dialect::Messages, &provider, &headers, &body, None).await
}

async fn responses(provider: State<Arc<Provider>>, headers: HeaderMap, body: Bytes) -> Response {
    answer(Dialect::Responses, &provider, &headers, &body, None).await
}

/// `MODEL:generateContent` and `MODEL:streamGenerateContent`.
async fn gemini(
    provider: State<Arc<Provider>>,
    Path(call): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let (model, stream) = match call.rsplit_once(':') {
        Some((model, "generateContent")) => (model, false),
        Some((model, "streamGenerateContent")) => (model, true),
        _ => return StatusCode::NOT_FOUND.into_response(),
    };
    let path = Some((model, stream));
    answer(Dialect::Gemini, &provider, &headers, &body, path).await
}

/// Counting is free of charge, so it is on no bill.
async fn count_tokens(provider: State<Arc<Provider>>, body: Bytes) -> Response {
    let mut fields: Value = serde_json::from_slice(&body).unwrap_or_default();
    if let Some(fields) = fields.as_object_mut() {
        // The one required field of the other endpoint that this one does not have.
        fields.insert("max_tokens".to_owned(), 1.into());
    }
    match asked::read(Dialect::Messages, fields.to_string().as_bytes(), None) {
        Ok(asked) => {
            Json(json!({"input_tokens": input_tokens(&asked, &provider.settings)})).into_response()
        }
        Err(message) => refused(Dialect::Messages, &message),
    }
}

async fn models(provider: State<Arc<Provider>>) -> Json<Value> {
    let models: Vec<Value> = provider
        .settings
        .models
        .iter()
        .map(|model| json!({"id": model.name, "object": "model", "created": 0, "owned_by": "simulated"}))
        .collect();
    Json(json!({"object": "list", "data": models}))
}

/// The bill; with `?rows` each line of it.
async fn bill(provider: State<Arc<Provider>>, RawQuery(query): RawQuery) -> Response {
    let mut bill = provider.ledger.bill();
    if !query.is_some_and(|query| query.starts_with("rows")) {
        bill.rows.clear();
    }
    Json(bill).into_response()
}

fn refused(dialect: Dialect, message: &str) -> Response {
    let body = wire::error(dialect, "invalid_request_error", message);
    (StatusCode::BAD_REQUEST, Json(body)).into_response()
}

fn unknown_model(dialect: Dialect, model: &str) -> Response {
    let message = format!("the model `{model}` does not exist");
    let body = wire::error(dialect, "model_not_found", &message);
    (StatusCode::NOT_FOUND, Json(body)).into_response()
}

/// The disk of the simulation is full; to the client that is a server error like any other.
fn unwritten(dialect: Dialect) -> Response {
    let body = wire::error(dialect, "api_error", "the state file cannot be written");
    (StatusCode::INTERNAL_SERVER_ERROR, Json(body)).into_response()
}

fn client_attempt(headers: &HeaderMap) -> Option<String> {
    let value = headers.get("x-client-request-id")?;
    Some(value.to_str().ok()?.to_owned())
}

async fn answer(
    dialect: Dialect,
    provider: &Provider,
    headers: &HeaderMap,
    body: &[u8],
    path: Option<(&str, bool)>,
) -> Response {
    let asked = match asked::read(dialect, body, path) {
        Ok(asked) => asked,
        Err(message) => return refused(dialect, &message),
    };
    let settings = &provider.settings;
    let Some(model) = settings.model(&asked.model) else {
        return unknown_model(dialect, &asked.model);
    };
    let Some(said) = said(provider, model, &asked, sample_of(headers)) else {
        let message = "unknown row: the gold table of this simulated provider has no such message";
        return refused(dialect, message);
    };
    let tokens = Tokens::of(&said, &asked, settings, model);
    let client_attempt = client_attempt(headers);
    let mut fate = Fate::Answered;
    let entered = provider.ledger.enter(&asked.hash, |attempt| {
        let faults = settings.faults_of(model);
        fate = Fate::draw(&faults, settings.seed, &asked.hash, attempt);
        let name = Naming {
            prefix: wire::id_prefix(dialect),
            request: &asked.hash,
            attempt,
            client_attempt,
        };
        row(fate, model, tokens, name)
    });
    let Ok(row) = entered else {
        return unwritten(dialect);
    };
    let spoken = Spoken {
        id: row.response_id,
        model: format!("{}-sim-2026-01", model.name),
        text: said.text,
        calls: said.calls,
        finish: said.finish,
        input_tokens: tokens.input,
        output_tokens: tokens.output,
        reasoning_tokens: tokens.reasoning,
    };
    let latency = latency(
        settings.latency_of(model),
        settings.seed,
        &asked.hash,
        row.attempt,
    );
    tokio::select! {
        response = respond(dialect, fate, &spoken, &asked, latency, provider) => response,
        () = provider.stop.cancelled() => StatusCode::SERVICE_UNAVAILABLE.into_response(),
    }
}

/// Vectors for one text or several; their shares of faults are the model's, as whole answers have
/// them.
async fn embeddings(provider: State<Arc<Provider>>, headers: HeaderMap, body: Bytes) -> Response {
    let dialect = Dialect::ChatCompletions;
    let Ok(fields) = serde_json::from_slice::<Value>(&body) else {
        return refused(dialect, "the body is not JSON");
    };
    let name = fields["model"].as_str().unwrap_or_default();
    let settings = &provider.settings;
    let Some(model) = settings.model(name).filter(|_| settings.improvise) else {
        return unknown_model(dialect, name);
    };
    let texts: Vec<String> = match &fields["input"] {
        Value::String(text) => vec![text.clone()],
        Value::Array(tokens) if tokens.iter().all(Value::is_number) && !tokens.is_empty() => {
            vec![Value::from(tokens.clone()).to_string()]
        }
        Value::Array(texts) => texts
            .iter()
            .map(|text| {
                text.as_str()
                    .map_or_else(|| text.to_string(), str::to_owned)
            })
            .collect(),
        _ => return refused(dialect, "`input` is neither a text nor a list of texts"),
    };
    let length = fields["dimensions"]
        .as_u64()
        .map_or(embedding::USUAL_LENGTH, |length| length as usize);
    if !(1..=embedding::LONGEST).contains(&length) {
        return refused(dialect, "`dimensions` is out of range");
    }
    let used = Tokens {
        input: texts.iter().map(|text| tokens(text.len())).sum(),
        ..Tokens::default()
    };
    let hash = hex(&Sha256::digest(&body));
    let client_attempt = client_attempt(&headers);
    let mut fate = Fate::Answered;
    let entered = provider.ledger.enter(&hash, |attempt| {
        fate = Fate::draw(&settings.faults_of(model), settings.seed, &hash, attempt);
        let name = Naming {
            prefix: "emb-sim",
            request: &hash,
            attempt,
            client_attempt,
        };
        row(fate, model, used, name)
    });
    let Ok(row) = entered else {
        return unwritten(dialect);
    };
    let as_text = fields["encoding_format"] == "base64";
    let data: Vec<Value> = texts
        .iter()
        .enumerate()
        .map(|(index, text)| {
            let vector = embedding::of(text, length);
            let vector = if as_text {
                json!(embedding::base64(&vector))
            } else {
                json!(vector)
            };
            json!({"object": "embedding", "index": index, "embedding": vector})
        })
        .collect();
    let body = json!({
        "object": "list",
        "data": data,
        "model": format!("{name}-sim-2026-01"),
        "usage": {"prompt_tokens": used.input, "total_tokens": used.input},
    });
    let wait = latency(
        settings.latency_of(model),
        settings.seed,
        &hash,
        row.attempt,
    );
    tokio::select! {
        response = whole(dialect, fate, body, wait, &provider) => response,
        () = provider.stop.cancelled() => StatusCode::SERVICE_UNAVAILABLE.into_response(),
    }
}

/// What the model says.
struct Said {
    text: String,
    calls: Vec<Call>,
    finish: FinishReason,
}

/// What is billed.
#[derive(Clone, Copy, Default)]
struct Tokens {
    input: u64,
    /// Reasoning included.
    output: u64,
    reasoning: u64,
}

impl Tokens {
    fn of(said: &Said, asked: &Asked, settings: &SimulatorSettings, model: &ModelSettings) -> Self {
        let called: usize = said
            .calls
            .iter()
            .map(|call| call.name.len() + call.arguments.len())
            .sum();
        let shown = tokens(said.text.len() + called);
        let reasoning = (shown as f64 * model.reasoning).round() as u64;
        Self {
            input: input_tokens(asked, settings),
            output: shown + reasoning,
            reasoning,
        }
    }
}

fn input_tokens(asked: &Asked, settings: &SimulatorSettings) -> u64 {
    let extra = if settings.improvise {
        asked.extra_bytes
    } else {
        0
    };
    tokens(asked.input_bytes + extra)
}

/// Calls of tools, an answer from the table, or one that is made up.
fn said(provider: &Provider, model: &ModelSettings, asked: &Asked, sample: u32) -> Option<Said> {
    let settings = &provider.settings;
    if settings.improvise {
        let calls = improvise::calls(asked);
        if !calls.is_empty() {
            return Some(Said {
                text: String::new(),
                calls,
                finish: FinishReason::ToolCalls,
            });
        }
    }
    let text = text(provider, model, asked, sample).or_else(|| {
        settings
            .improvise
            .then(|| improvise::text(asked, settings.seed))
    })?;
    let (text, finish) = cut(&text, asked, settings, model);
    Some(Said {
        text: text.to_owned(),
        calls: Vec::new(),
        finish,
    })
}

/// What the model says: its answer to a row of the table, or its verdict on answers of others.
fn text(provider: &Provider, model: &ModelSettings, asked: &Asked, sample: u32) -> Option<String> {
    let settings = &provider.settings;
    if let Some(verdict) = judge::verdict(&asked.prompt, &provider.table, settings) {
        return Some(verdict);
    }
    let accuracy = settings.accuracy_of(model);
    let answer = if sample > 0
        && draw::uniform(
            settings.seed,
            &[b"unsteady", asked.prompt.as_bytes(), &sample.to_le_bytes()],
        ) < settings.unsteady
    {
        provider.table.other_answer(&asked.prompt, accuracy)
    } else {
        provider.table.answer(&asked.prompt, accuracy)
    };
    answer.map(str::to_owned)
}

/// Which repetition of a question this is; see [`SAMPLE_HEADER`].
fn sample_of(headers: &HeaderMap) -> u32 {
    headers
        .get(SAMPLE_HEADER)
        .and_then(|value| value.to_str().ok()?.parse().ok())
        .unwrap_or_default()
}

/// How an attempt is named on the bill.
struct Naming<'a> {
    prefix: &'a str,
    request: &'a str,
    attempt: u64,
    client_attempt: Option<String>,
}

/// The line of the bill. A fault before the answer costs nothing; one in it costs what was made.
fn row(fate: Fate, model: &ModelSettings, tokens: Tokens, name: Naming<'_>) -> BillRow {
    let (input_tokens, output_tokens) = match fate {
        Fate::RateLimited | Fate::ServerError | Fate::Hang | Fate::EarlyError => (0, 0),
        Fate::Answered | Fate::Malformed => (tokens.input, tokens.output),
        Fate::Stall | Fate::Cut | Fate::LateError => (tokens.input, tokens.output.div_ceil(2)),
    };
    let usage = Usage {
        input_tokens: Some(input_tokens),
        output_tokens: Some(output_tokens),
        ..Usage::default()
    };
    BillRow {
        response_id: format!("{}-{}-{}", name.prefix, &name.request[..16], name.attempt),
        request: name.request.to_owned(),
        attempt: name.attempt,
        model: model.name.clone(),
        outcome: fate.name().to_owned(),
        input_tokens,
        output_tokens,
        usd_pico: price_of(model)
            .cost(&usage)
            .expect("both token counts are given")
            .pico(),
        client_attempt: name.client_attempt,
    }
}

/// Cuts the text where the request's own limit or a drawn truncation ends it.
fn cut<'a>(
    text: &'a str,
    asked: &Asked,
    settings: &SimulatorSettings,
    model: &ModelSettings,
) -> (&'a str, FinishReason) {
    let drawn = draw::uniform(settings.seed, &[b"truncate", asked.prompt.as_bytes()])
        < settings.faults_of(model).truncate;
    let limit = asked.max_tokens.unwrap_or(u64::MAX).saturating_mul(4);
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let limit = if drawn {
        limit.min(text.len() / 2)
    } else {
        limit
    };
    if text.len() <= limit {
        return (text, FinishReason::Stop);
    }
    (
        &text[..text.floor_char_boundary(limit)],
        FinishReason::Length,
    )
}

/// Four bytes a token, rounded up.
fn tokens(bytes: usize) -> u64 {
    (bytes as u64).div_ceil(4)
}

/// A log-normal draw.
fn latency(settings: LatencySettings, seed: u64, request: &str, attempt: u64) -> Duration {
    if settings.median.is_zero() {
        return Duration::ZERO;
    }
    // 95% of a normal distribution lie below 1.645 deviations.
    let spread = (settings.p95.as_secs_f64() / settings.median.as_secs_f64()).ln() / 1.644_853_6;
    let chance = draw::normal(
        seed,
        &[b"latency", request.as_bytes(), &attempt.to_le_bytes()],
    );
    settings.median.mul_f64((spread * chance).exp())
}
