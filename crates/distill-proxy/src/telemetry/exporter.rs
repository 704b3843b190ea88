//! Sends spans to a collector in the background: in batches, from a bounded queue, with few retries.
//! A collector that is slow or gone costs spans, which are counted, and never a request.

use std::{sync::Arc, time::Duration};

use distill_gateway::Secret;
use serde_json::Value;
use tokio::{sync::mpsc, task::JoinHandle, time::timeout};

use super::{Metrics, traces};
use crate::config::OtlpConfig;

/// Requests' spans that may wait.
const QUEUE: usize = 4096;
/// Spans of one message at most, give or take the last request's.
const BATCH: usize = 512;
/// How long a span waits for others.
const LINGER: Duration = Duration::from_secs(1);
/// How long a collector may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Sends of one batch.
const TRIES: u32 = 3;

/// The way to a collector. Dropping every clone lets the rest be sent and ends the task.
#[derive(Debug, Clone)]
pub struct Exporter {
    queue: mpsc::Sender<Vec<Value>>,
    metrics: Arc<Metrics>,
    /// Share of requests that are recorded.
    pub(super) share: f64,
}

impl Exporter {
    /// Starts the task that sends.
    pub fn start(
        config: &OtlpConfig,
        http: reqwest::Client,
        metrics: Arc<Metrics>,
    ) -> (Self, JoinHandle<()>) {
        let (queue, waiting) = mpsc::channel(QUEUE);
        let collector = Collector {
            url: format!("{}/v1/traces", config.endpoint.trim_end_matches('/')),
            headers: config.headers.clone(),
            service: config.service.clone(),
            http,
        };
        let task = tokio::spawn(send_all(waiting, collector, metrics.clone()));
        let exporter = Self {
            queue,
            metrics,
            share: config.sample,
        };
        (exporter, task)
    }

    /// Queues a request's spans; drops and counts them when the queue is full.
    pub fn send(&self, spans: Vec<Value>) {
        if let Err(error) = self.queue.try_send(spans) {
            let spans = match error {
                mpsc::error::TrySendError::Full(spans)
                | mpsc::error::TrySendError::Closed(spans) => spans,
            };
            self.metrics.traces_dropped(spans.len() as u64);
        }
    }
}

struct Collector {
    url: String,
    headers: Vec<(String, Secret)>,
    service: String,
    http: reqwest::Client,
}

async fn send_all(
    mut waiting: mpsc::Receiver<Vec<Value>>,
    collector: Collector,
    metrics: Arc<Metrics>,
) {
    while let Some(mut batch) = waiting.recv().await {
        // Whether the time or the batch is full first, what came is sent.
        let _ = timeout(LINGER, async {
            while batch.len() < BATCH {
                let Some(more) = waiting.recv().await else {
                    return;
                };
                batch.extend(more);
            }
        })
        .await;
        let count = batch.len() as u64;
        if collector.send(batch).await {
            metrics.traces_sent(count);
        } else {
            metrics.traces_dropped(count);
        }
    }
}

impl Collector {
    /// Whether the collector took the batch.
    async fn send(&self, spans: Vec<Value>) -> bool {
        let body = traces::export(&self.service, spans).to_string();
        for number in 1..=TRIES {
            let mut request = self
                .http
                .post(&self.url)
                .timeout(PATIENCE)
                .header("content-type", "application/json")
                .body(body.clone());
            for (name, value) in &self.headers {
                request = request.header(name, value.expose());
            }
            match request.send().await {
                Ok(response) if response.status().is_success() => return true,
                // The protocol names these as worth another try.
                Ok(response) if !matches!(response.status().as_u16(), 429 | 502 | 503 | 504) => {
                    return false;
                }
                _ => {}
            }
            if number < TRIES {
                tokio::time::sleep(Duration::from_millis(250) * 4u32.pow(number - 1)).await;
            }
        }
        false
    }
}

#[cfg(test)]
mod tests;
