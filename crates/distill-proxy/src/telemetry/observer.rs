//! Listens to the ledger: counts attempts, and makes spans of what is over. A listener that falls
//! behind loses the oldest events, which are counted as dropped; no request waits for it.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use distill_ledger::{FinishedRequest, LedgerEvent, SettledAttempt};
use tokio::sync::broadcast::{self, error::RecvError};
use tokio_util::sync::CancellationToken;

use crate::cache::Cache;

use super::{
    AttemptMeasure, AttemptSpan, Exporter, Metrics, RequestSpan, TraceContext, traces::spans,
};

/// Requests under way that are remembered.
const REMEMBERED: usize = 10_000;

/// The traces that requests under way belong to, where their callers said so.
#[derive(Debug, Default)]
pub struct Contexts(Mutex<HashMap<String, TraceContext>>);

impl Contexts {
    pub fn remember(&self, request: &str, context: TraceContext) {
        let mut contexts = self.lock();
        // One that was never let in is never taken out again.
        if contexts.len() >= REMEMBERED {
            contexts.clear();
        }
        contexts.insert(request.to_owned(), context);
    }

    fn take(&self, request: &str) -> Option<TraceContext> {
        self.lock().remove(request)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, TraceContext>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs until it is stopped and has heard what was told before.
pub(crate) async fn observe(
    mut events: broadcast::Receiver<LedgerEvent>,
    metrics: Arc<Metrics>,
    contexts: Arc<Contexts>,
    exporter: Option<Exporter>,
    cache: Cache,
    stop: CancellationToken,
) {
    let mut attempts: HashMap<String, Vec<AttemptSpan>> = HashMap::new();
    loop {
        let heard = tokio::select! {
            biased;
            heard = events.recv() => heard,
            () = stop.cancelled() => return,
        };
        let event = match heard {
            Ok(event) => event,
            Err(RecvError::Lagged(missed)) => {
                metrics.traces_dropped(missed);
                continue;
            }
            Err(RecvError::Closed) => return,
        };
        match event {
            LedgerEvent::AttemptSettled(settled) => {
                metrics.attempt(&measure(&settled));
                if exporter.is_some() {
                    if attempts.len() >= REMEMBERED {
                        attempts.clear();
                    }
                    attempts
                        .entry(settled.facts.id.clone())
                        .or_default()
                        .push(attempt_span(&settled, now_us()));
                }
            }
            LedgerEvent::RequestFinished(finished) => {
                let Some(exporter) = &exporter else {
                    continue;
                };
                let id = &finished.facts.id;
                let context = contexts
                    .take(id)
                    .unwrap_or_else(|| TraceContext::of_request(id));
                let attempts = attempts.remove(id).unwrap_or_default();
                if context.is_sampled(exporter.share) {
                    exporter.send(spans(&context, &request_span(&finished), &attempts));
                }
            }
            // Who asks for a model wants what it answers now.
            LedgerEvent::ModelChanged(change) => {
                cache.forget(&change.target);
            }
            _ => {}
        }
    }
}

fn measure(settled: &SettledAttempt) -> AttemptMeasure<'_> {
    AttemptMeasure {
        target: &settled.target,
        simulated: settled.simulated,
        outcome: settled.outcome,
        usage: settled.usage,
        usd: settled.usd,
        latency: settled.latency,
        first_token: settled.first_token,
    }
}

fn request_span(finished: &FinishedRequest) -> RequestSpan {
    let facts = &finished.facts;
    let started_us = facts.started_ms.saturating_mul(1000);
    let task = facts.task.as_ref().map(|task| match &facts.task_version {
        Some(version) => format!("{task}@{version}"),
        None => task.clone(),
    });
    RequestSpan {
        id: facts.id.clone(),
        dialect: facts.dialect.clone(),
        route: facts.route.clone(),
        task,
        model_asked: facts.model_asked.clone(),
        streamed: facts.streamed,
        status: finished.status,
        outcome: finished.outcome.to_owned(),
        answered_by: finished.answered_by.clone(),
        cache: finished.cache.as_ref().map(|cache| cache.kind.to_owned()),
        started_us,
        ended_us: started_us.saturating_add(microseconds(finished.latency)),
    }
}

fn attempt_span(settled: &SettledAttempt, ended_us: i64) -> AttemptSpan {
    let latency = settled.latency.map_or(0, microseconds);
    AttemptSpan {
        number: settled.number,
        target: settled.target.clone(),
        simulated: settled.simulated,
        outcome: settled.outcome.to_owned(),
        usage: settled.usage,
        usd: settled.usd,
        model: settled.model.clone(),
        first_token_us: settled.first_token.map(microseconds),
        started_us: ended_us.saturating_sub(latency),
        ended_us,
    }
}

fn microseconds(time: Duration) -> i64 {
    i64::try_from(time.as_micros()).unwrap_or(i64::MAX)
}

fn now_us() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, microseconds)
}
