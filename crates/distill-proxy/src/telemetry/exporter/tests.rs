use std::sync::{Arc, Mutex};

use axum::{
    Router,
    body::Bytes,
    http::{HeaderMap, StatusCode},
    routing::post,
};
use distill_gateway::Secret;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::{Exporter, Metrics};
use crate::config::OtlpConfig;

/// What a collector got, and the statuses that it answers with.
#[derive(Default)]
struct Collector {
    bodies: Vec<Value>,
    headers: Vec<HeaderMap>,
    statuses: Vec<u16>,
}

async fn collector(statuses: &[u16]) -> (OtlpConfig, Arc<Mutex<Collector>>) {
    let state = Arc::new(Mutex::new(Collector {
        statuses: statuses.iter().rev().copied().collect(),
        ..Collector::default()
    }));
    let shared = state.clone();
    let router = Router::new().route(
        "/otlp/v1/traces",
        post(move |headers: HeaderMap, body: Bytes| async move {
            let mut state = shared.lock().unwrap();
            state.bodies.push(serde_json::from_slice(&body).unwrap());
            state.headers.push(headers);
            StatusCode::from_u16(state.statuses.pop().unwrap_or(200)).unwrap()
        }),
    );
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}/otlp/", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    let config = OtlpConfig {
        endpoint,
        headers: vec![("x-collector-key".into(), Secret::new("planted"))],
        service: "proxy".into(),
        sample: 1.0,
    };
    (config, state)
}

fn client() -> reqwest::Client {
    crate::http::client(crate::http::Reach::Loopback).unwrap()
}

fn counted(metrics: &Metrics, name: &str) -> String {
    metrics
        .render(&[])
        .lines()
        .find_map(|line| line.strip_prefix(&format!("{name} ")).map(str::to_owned))
        .unwrap()
}

#[tokio::test]
async fn spans_arrive_in_batches_with_the_collectors_key() {
    let (config, collector) = collector(&[503]).await;
    let metrics = Arc::new(Metrics::default());
    let (exporter, task) = Exporter::start(&config, client(), metrics.clone());
    exporter.send(vec![json!(1), json!(2)]);
    exporter.send(vec![json!(3)]);
    drop(exporter);
    task.await.unwrap();
    let collector = collector.lock().unwrap();
    assert_eq!(collector.bodies.len(), 2, "one batch, sent again after 503");
    assert_eq!(
        collector.bodies[1]["resourceSpans"][0]["scopeSpans"][0]["spans"],
        json!([1, 2, 3])
    );
    assert_eq!(collector.headers[0]["x-collector-key"], "planted");
    assert_eq!(counted(&metrics, "distill_spans_sent_total"), "3");
    assert_eq!(counted(&metrics, "distill_spans_dropped_total"), "0");
}

#[tokio::test]
async fn what_a_collector_does_not_take_is_counted() {
    let (config, collector) = collector(&[400]).await;
    let metrics = Arc::new(Metrics::default());
    let (exporter, task) = Exporter::start(&config, client(), metrics.clone());
    exporter.send(vec![json!(1)]);
    drop(exporter);
    task.await.unwrap();
    assert_eq!(collector.lock().unwrap().bodies.len(), 1, "400 is final");
    assert_eq!(counted(&metrics, "distill_spans_dropped_total"), "1");
}
