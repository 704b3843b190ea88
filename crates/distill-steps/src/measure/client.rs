//! The client that sends the load.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use distill_runner::StepFailure;
use tokio::task::JoinSet;

use super::exchange::{Exchange, read_stream};

#[derive(Clone)]
pub(super) struct Client {
    http: reqwest::Client,
    url: String,
}

impl Client {
    /// # Errors
    /// A [`StepFailure`] when no HTTP client can be made.
    pub(super) fn new(address: SocketAddr) -> Result<Self, StepFailure> {
        // Another part of the program may have installed one; any will do.
        drop(rustls::crypto::ring::default_provider().install_default());
        let http = reqwest::Client::builder()
            .no_proxy()
            .tls_certs_only([])
            .tcp_nodelay(true)
            .retry(reqwest::retry::never())
            .build()
            .map_err(|error| {
                StepFailure::failed("the client that measures cannot be made").caused_by(error)
            })?;
        Ok(Self {
            http,
            url: format!("http://{address}/v1/chat/completions"),
        })
    }

    /// `clients` callers, each sending its next request when the last was answered, until `requests`
    /// were sent or `seconds` are over. Rows come round again when there are fewer of them.
    pub(super) async fn closed_loop(
        &self,
        bodies: &[String],
        requests: usize,
        clients: usize,
        seconds: f64,
    ) -> Vec<Exchange> {
        let started = Instant::now();
        let next = Arc::new(AtomicUsize::new(0));
        let bodies: Arc<[String]> = bodies.into();
        let mut callers = JoinSet::new();
        for _ in 0..clients.min(requests) {
            let (client, next, bodies) = (self.clone(), next.clone(), bodies.clone());
            callers.spawn(async move {
                let mut sent = Vec::new();
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    if index >= requests || started.elapsed().as_secs_f64() > seconds {
                        return sent;
                    }
                    let due_ms = milliseconds(started);
                    let body = bodies[index % bodies.len()].clone();
                    sent.push(client.ask(index, body, due_ms, started).await);
                }
            });
        }
        let mut sent: Vec<Exchange> = callers.join_all().await.into_iter().flatten().collect();
        sent.sort_by_key(|exchange| exchange.index);
        sent
    }

    /// One request at each of the `times` (seconds), whether or not earlier ones were answered.
    pub(super) async fn open_loop(&self, bodies: &[String], times: &[f64]) -> Vec<Exchange> {
        let started = Instant::now();
        let mut callers = JoinSet::new();
        for (index, time) in times.iter().enumerate() {
            let (client, time) = (self.clone(), *time);
            let body = bodies[index % bodies.len()].clone();
            callers.spawn(async move {
                let due = started + Duration::from_secs_f64(time);
                tokio::time::sleep_until(due.into()).await;
                client.ask(index, body, time * 1000.0, started).await
            });
        }
        let mut sent = callers.join_all().await;
        sent.sort_by_key(|exchange| exchange.index);
        sent
    }

    async fn ask(&self, index: usize, body: String, due_ms: f64, started: Instant) -> Exchange {
        let mut exchange = Exchange {
            index,
            due_ms,
            sent_ms: milliseconds(started),
            ..Exchange::default()
        };
        // Events are read when the answer is complete: reading them meanwhile would take time from
        // the server.
        match self.receive(body, started).await {
            Ok((200, chunks)) => read_stream(&mut exchange, &chunks),
            Ok((status, _)) => exchange.problem = Some(format!("status {status}")),
            Err(error) => exchange.problem = Some(error.to_string()),
        }
        exchange
    }

    async fn receive(
        &self,
        body: String,
        started: Instant,
    ) -> Result<(u16, Vec<(f64, Vec<u8>)>), reqwest::Error> {
        let request = self
            .http
            .post(&self.url)
            .header("content-type", "application/json")
            .body(body);
        let mut response = request.send().await?;
        let status = response.status().as_u16();
        let mut chunks = Vec::new();
        while let Some(bytes) = response.chunk().await? {
            chunks.push((milliseconds(started), bytes.to_vec()));
        }
        Ok((status, chunks))
    }
}

fn milliseconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1000.0
}
