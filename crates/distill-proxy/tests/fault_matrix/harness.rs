//! A proxy without its server: routes, engine, ledger, and what a caller sees of an answer.

use std::{
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::body::Bytes;
use distill_gateway::{Alert, PriceTable};
use distill_ledger::{
    AttemptRecord, Caller, KeyLimits, Ledger, LedgerOptions, RequestFilter, RequestRecord,
    RequestStart, Role, Store, Unsettled,
};
use distill_proxy::{
    config::{Config, Day, Sources},
    forward::{Answer, AnswerBody, Done, Endpoint, Engine, EngineSettings, Forwarded, forward},
    route::{RouteTable, Surroundings},
};
use distill_wire::{Dialect, envelope};
use futures_util::{Stream, StreamExt};
use serde_json::{Value, json};

pub(crate) const KEY: &str = "sk-planted-vendor-key";

pub(crate) struct Proxy {
    pub(crate) table: RouteTable,
    pub(crate) ledger: Ledger,
    engine: Engine,
    alerts: Arc<Mutex<Vec<Alert>>>,
    caller: Arc<Caller>,
    _folder: tempfile::TempDir,
}

/// How an answer ended for its caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Whole,
    /// An error event in the caller's dialect, and no mark of a whole answer.
    Error,
    /// Neither: no client could tell what happened.
    Nothing,
}

/// What a caller saw.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) status: u16,
    pub(crate) text: String,
    pub(crate) end: End,
    pub(crate) raw: String,
    pub(crate) headers: axum::http::HeaderMap,
    pub(crate) done: Option<Done>,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// Vendors by name, kind and address; `route`: what the route says beside its targets.
pub(crate) async fn proxy(vendors: &[(&str, &str, &str)], route: &str) -> Proxy {
    use std::fmt::Write;
    let mut text = String::from("vendors:\n");
    let mut targets = Vec::new();
    for (name, like, url) in vendors {
        let base = if *like == "anthropic" {
            (*url).to_owned()
        } else {
            format!("{url}/v1")
        };
        writeln!(
            text,
            "  {name}: {{like: {like}, base_url: \"{base}\", key_env: KEY, price: {{input: 2.5, output: 10}}}}"
        )
        .unwrap();
        targets.push(format!("{name}/m"));
    }
    writeln!(
        text,
        "models:\n  fast: {{members: [{}]{route}}}",
        targets.join(", ")
    )
    .unwrap();
    load(&text).await
}

/// A proxy of a whole configuration.
pub(crate) async fn load(text: &str) -> Proxy {
    let folder = tempfile::tempdir().unwrap();
    let config = Config::load(
        "proxy.yaml",
        text,
        &Sources {
            environment: &|name| (name == "KEY").then(|| KEY.to_owned()),
            folder: Path::new("/nowhere"),
            state: folder.path(),
            today: Day::parse("2026-11-21").unwrap(),
            prices: None,
        },
    )
    .unwrap_or_else(|findings| panic!("{}\n{text}", findings.to_text()));
    let table = RouteTable::build(
        &config,
        &Surroundings {
            addresses: &|_| None,
            prices: PriceTable::embedded(),
            today: Day::parse("2026-11-21").unwrap(),
        },
        None,
    )
    .unwrap();
    let options = LedgerOptions {
        apply_every: Duration::from_millis(5),
        ..LedgerOptions::default()
    };
    let ledger = Ledger::open_with(Store::Sqlite(folder.path().join("ledger.db")), options)
        .await
        .unwrap();
    let alerts: Arc<Mutex<Vec<Alert>>> = Arc::default();
    let heard = Arc::clone(&alerts);
    let engine = Engine::new(EngineSettings {
        on_alert: Some(Arc::new(move |alert| heard.lock().unwrap().push(alert))),
        ..EngineSettings::default()
    });
    Proxy {
        table,
        ledger,
        engine,
        alerts,
        caller: Arc::new(Caller {
            key_id: "k-1".into(),
            user: "ada".into(),
            team: None,
            discipline: None,
            level: None,
            role: Role::User,
            models: Vec::new(),
            limits: KeyLimits::default(),
        }),
        _folder: folder,
    }
}

/// A question in a dialect that callers speak.
pub(crate) fn question(dialect: Dialect, stream: bool) -> Value {
    let mut body = json!({"model": "fast", "max_tokens": 16, "stream": stream});
    match dialect {
        Dialect::Responses => {
            body =
                json!({"model": "fast", "max_output_tokens": 16, "stream": stream, "input": "hi"});
        }
        _ => body["messages"] = json!([{"role": "user", "content": "hi"}]),
    }
    body
}

impl Proxy {
    pub(crate) async fn answer(&self, id: &str, dialect: Dialect, body: &Value) -> Answer {
        self.answer_bytes(id, Endpoint::Chat(dialect), body.to_string().into())
            .await
    }

    pub(crate) async fn answer_bytes(&self, id: &str, endpoint: Endpoint, body: Bytes) -> Answer {
        let dialect = endpoint.dialect();
        let envelope = envelope::scan(dialect, &body).unwrap();
        let route = self.table.find(envelope.model.as_deref().unwrap()).unwrap();
        let open = self
            .ledger
            .begin(RequestStart {
                id: id.to_owned(),
                caller: Arc::clone(&self.caller),
                task: None,
                route: route.name().to_owned(),
                model_asked: envelope.model.clone().unwrap(),
                dialect: dialect.as_str(),
                streamed: envelope.stream,
                session: envelope.session.clone(),
                worst_tokens: 100,
            })
            .await
            .unwrap();
        let mut headers = axum::http::HeaderMap::new();
        headers.insert("authorization", "Bearer dk-planted".parse().unwrap());
        headers.insert("cookie", "planted=1".parse().unwrap());
        headers.insert("anthropic-beta", "beta-1".parse().unwrap());
        forward(
            &self.engine,
            Forwarded {
                request_id: id.to_owned(),
                endpoint,
                body,
                envelope,
                request: None,
                headers,
                route,
                only: None,
                open: Arc::new(open),
                collect: true,
            },
        )
        .await
    }

    pub(crate) async fn ask(&self, id: &str, dialect: Dialect, body: &Value) -> Seen {
        see(dialect, self.answer(id, dialect, body).await).await
    }

    pub(crate) fn alerts(&self) -> Vec<Alert> {
        self.alerts.lock().unwrap().clone()
    }

    /// Every request and attempt, once so many requests are on record with their end.
    pub(crate) async fn records(
        &self,
        requests: usize,
    ) -> (Vec<RequestRecord>, Vec<AttemptRecord>) {
        let filter = RequestFilter {
            limit: 10_000,
            ..RequestFilter::default()
        };
        // What is on record comes within milliseconds; the bound only ends a test that fails.
        for _ in 0..2000 {
            let found = self.ledger.records().requests(&filter).await.unwrap();
            if found.iter().filter(|one| one.outcome.is_some()).count() >= requests {
                let mut attempts = Vec::new();
                for request in &found {
                    let id = &request.facts.id;
                    attempts.extend(self.ledger.records().attempts_of(id).await.unwrap());
                }
                if attempts.iter().all(|attempt| attempt.outcome.is_some()) {
                    return (found, attempts);
                }
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{requests} requests were never on record");
    }

    pub(crate) async fn unsettled(&self) -> Vec<Unsettled> {
        self.ledger.records().unsettled().await.unwrap()
    }
}

/// Reads an answer as its caller would.
pub(crate) async fn see(dialect: Dialect, answer: Answer) -> Seen {
    let mut raw = Vec::new();
    let streamed = match answer.body {
        AnswerBody::Whole(bytes) => {
            raw.extend_from_slice(&bytes);
            false
        }
        AnswerBody::Stream(mut stream) => {
            while let Some(bytes) = stream.next().await {
                raw.extend_from_slice(&bytes);
            }
            true
        }
    };
    let raw = String::from_utf8(raw).unwrap();
    let (text, end) = if streamed {
        read_stream(dialect, &raw)
    } else {
        read_whole(dialect, &raw)
    };
    Seen {
        status: answer.status.as_u16(),
        text,
        end,
        raw,
        headers: answer.headers,
        done: answer.done.await.ok(),
    }
}

/// The first bytes of a stream; the rest of it is left to the caller.
pub(crate) async fn first_bytes(answer: &mut Answer) -> Option<Bytes> {
    match &mut answer.body {
        AnswerBody::Whole(bytes) => Some(bytes.clone()),
        AnswerBody::Stream(stream) => next(stream).await,
    }
}

async fn next(stream: &mut (impl Stream<Item = Bytes> + Unpin)) -> Option<Bytes> {
    stream.next().await
}

fn read_whole(dialect: Dialect, raw: &str) -> (String, End) {
    let body: Value = serde_json::from_str(raw).unwrap_or_default();
    let text = match dialect {
        Dialect::Messages => body.pointer("/content/0/text"),
        Dialect::Responses => body.pointer("/output/0/content/0/text"),
        _ => body.pointer("/choices/0/message/content"),
    };
    match text.and_then(Value::as_str) {
        Some(text) => (text.to_owned(), End::Whole),
        None if body.get("error").is_some_and(Value::is_object) => (String::new(), End::Error),
        None => (String::new(), End::Nothing),
    }
}

fn read_stream(dialect: Dialect, raw: &str) -> (String, End) {
    let mut text = String::new();
    let mut end = End::Nothing;
    for event in raw.split("\n\n").filter(|event| !event.is_empty()) {
        let data: String = event
            .lines()
            .filter_map(|line| line.strip_prefix("data: "))
            .collect();
        if data == "[DONE]" {
            assert_eq!(end, End::Nothing, "{raw}");
            end = End::Whole;
            continue;
        }
        let value: Value = serde_json::from_str(&data)
            .unwrap_or_else(|error| panic!("half an event ({error}): {raw}"));
        if value.get("error").is_some_and(Value::is_object)
            || value["type"] == "error"
            || value["type"] == "response.failed"
        {
            // Responses say it twice: in an event of its own and in the last of the life cycle.
            assert_ne!(end, End::Whole, "{raw}");
            end = End::Error;
        }
        if value["type"] == "message_stop" || value["type"] == "response.completed" {
            assert_eq!(end, End::Nothing, "{raw}");
            end = End::Whole;
        }
        let delta = match dialect {
            Dialect::Messages => value.pointer("/delta/text"),
            Dialect::Responses if value["type"] == "response.output_text.delta" => {
                value.get("delta")
            }
            Dialect::Responses => None,
            _ => value.pointer("/choices/0/delta/content"),
        };
        text.push_str(delta.and_then(Value::as_str).unwrap_or_default());
    }
    (text, end)
}
