//! The client: asks a chain of targets, one after the other, until one answers.
//!
//! [`Gateway::ask`] is the whole way of a request: the journal, a place in the queue, then the walk
//! along the chain in `walk`, in which each step is one attempt (`attempt`) made under a reservation
//! (`reserve`). What a failure means is decided in [`crate::failover`] and nowhere else.

mod attempt;
mod error;
mod exchange;
mod http;
mod walk;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, Weak},
    time::Duration,
};

use distill_chat::{BoxFuture, ChatError, ChatModel, ChatRequest, Completion};
use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;

pub(crate) use attempt::{body_for, worst_case};
pub use error::{AskError, AttemptFailure, GatewayError};
pub use http::install_crypto;

use crate::{
    BreakerSettings, Estimate, Failure, Journal, JournalError, Recorded, RequestHash, SpendSummary,
    Target, Usd, estimate, health::TargetHealth, request_hash::canonical,
};
use http::Clients;

/// Sent where a request names no bound of its own: without one no budget can be held.
pub const DEFAULT_MAX_TOKENS: u32 = 1024;

/// How long is waited for what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    pub connect: Duration,
    /// Between two pieces of a body: longer is a stall.
    pub idle: Duration,
    /// One attempt as a whole.
    pub attempt: Duration,
    /// A request as a whole, from its first attempt on.
    pub deadline: Duration,
    /// How long an attempt may go on after cancellation; then it is given up and listed.
    pub finish_in_flight: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            idle: Duration::from_secs(20),
            attempt: Duration::from_mins(1),
            deadline: Duration::from_mins(3),
            finish_in_flight: Duration::from_secs(10),
        }
    }
}

/// Settings of a gateway.
#[derive(Debug, Clone)]
pub struct GatewaySettings {
    /// Best first; never empty.
    pub chain: Vec<Target>,
    /// Whose budget is spent, across restarts: the key of a labelling step, or a run.
    pub scope: String,
    /// The hard cap of the scope.
    pub budget: Option<Usd>,
    /// Requests in flight at once.
    pub concurrency: usize,
    pub timeouts: Timeouts,
    /// Attempts for one request, over the whole chain.
    pub max_attempts: u32,
    pub breaker: BreakerSettings,
}

impl GatewaySettings {
    pub fn new(chain: Vec<Target>, scope: impl Into<String>) -> Self {
        Self {
            chain,
            scope: scope.into(),
            budget: None,
            concurrency: 16,
            timeouts: Timeouts::default(),
            max_attempts: 8,
            breaker: BreakerSettings::default(),
        }
    }
}

/// An answer and where it came from.
#[derive(Debug, Clone, PartialEq)]
pub struct Answered {
    pub completion: Completion,
    /// Answered earlier and paid for then.
    pub from_journal: bool,
    /// The target that answered.
    pub target: String,
    pub simulated: bool,
    /// What the answering attempt cost when it was made; `None` where the vendor reported no usage.
    pub usd: Option<Usd>,
    /// Of the answering attempt, when it was made.
    pub latency: Duration,
    pub attempts: u32,
    pub request_hash: RequestHash,
}

/// Something about a target that a person must look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alert {
    pub target: String,
    pub failure: Failure,
    pub message: String,
}

/// Asks a chain of models. Clones share everything.
#[derive(Debug, Clone)]
pub struct Gateway(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    settings: GatewaySettings,
    journal: Journal,
    clients: Clients,
    /// Of each target, by its place in the chain.
    health: Vec<TargetHealth>,
    places: Semaphore,
    cancel: CancellationToken,
    /// Rings whenever an attempt ends: money may have become free.
    settled: Notify,
    /// One lock for each request being asked, so that equal requests are asked once.
    asking: Mutex<HashMap<RequestHash, Weak<tokio::sync::Mutex<()>>>>,
    alerts: Mutex<Vec<Alert>>,
}

impl Gateway {
    /// Checks the settings and prepares connections; asks nothing.
    pub fn new(
        journal: Journal,
        settings: GatewaySettings,
        cancel: CancellationToken,
    ) -> Result<Self, GatewayError> {
        if settings.chain.is_empty() {
            return Err(GatewayError::EmptyChain);
        }
        if let Some(target) = settings
            .chain
            .iter()
            .find(|target| target.base_url().is_empty())
        {
            return Err(GatewayError::NoAddress {
                target: target.name().to_owned(),
            });
        }
        if settings.budget.is_some_and(|budget| budget <= Usd::ZERO) {
            return Err(GatewayError::NoBudget);
        }
        let clients = Clients::new(&settings.chain, settings.timeouts.connect)?;
        Ok(Self(Arc::new(Shared {
            health: settings
                .chain
                .iter()
                .map(|_| TargetHealth::new(settings.breaker))
                .collect(),
            places: Semaphore::new(settings.concurrency.max(1)),
            settings,
            journal,
            clients,
            cancel,
            settled: Notify::new(),
            asking: Mutex::default(),
            alerts: Mutex::default(),
        })))
    }

    /// Answers a request: from the journal when it was answered before, else through the chain.
    ///
    /// Waits for a place itself, so any number of requests can be asked at once. Dropping the future
    /// gives an attempt in flight up; cancelling the token lets it finish within its time.
    pub async fn ask(&self, request: &ChatRequest) -> Result<Answered, AskError> {
        self.ask_again(request, 0).await
    }

    /// Asks one question several times: each `sample` is a call of its own with an answer of its own
    /// in the journal. Sample 0 is what [`Gateway::ask`] gives.
    ///
    /// # Errors
    /// As [`Gateway::ask`].
    pub async fn ask_again(
        &self,
        request: &ChatRequest,
        sample: u32,
    ) -> Result<Answered, AskError> {
        let (canonical, hash) = self.canonical(request, sample);
        if let Some(recorded) = self.0.journal.answer(&hash)? {
            return Ok(from_journal(recorded, hash));
        }
        let lock = self.lock_of(&hash);
        let _turn = lock.lock().await;
        // An equal request may have been answered meanwhile; the reservation looks again.
        let _place = tokio::select! {
            biased;
            () = self.0.cancel.cancelled() => return Err(AskError::Cancelled),
            place = self.0.places.acquire() => place.expect("the semaphore is never closed"),
        };
        walk::walk(&self.0, request, sample, canonical, hash).await
    }

    /// The name of a request in the journal.
    pub fn hash(&self, request: &ChatRequest) -> RequestHash {
        self.canonical(request, 0).1
    }

    /// What these requests will cost and how long they will take.
    pub fn estimate(&self, requests: &[ChatRequest]) -> Result<Estimate, JournalError> {
        estimate(
            Some(&self.0.journal),
            &self.0.settings.chain,
            self.0.settings.concurrency,
            requests,
            0,
        )
    }

    /// What the scope has spent so far.
    pub fn spend(&self) -> Result<SpendSummary, JournalError> {
        self.0.journal.spend(&self.0.settings.scope)
    }

    /// What a person must look at, each thing once.
    pub fn alerts(&self) -> Vec<Alert> {
        self.0.alerts.lock().expect("no holder panics").clone()
    }

    /// Requests in flight at most.
    pub fn concurrency(&self) -> usize {
        self.0.settings.concurrency
    }

    pub fn chain(&self) -> &[Target] {
        &self.0.settings.chain
    }

    fn canonical(&self, request: &ChatRequest, sample: u32) -> (String, RequestHash) {
        canonical(&self.0.settings.chain, request, max_tokens(request), sample)
    }

    fn lock_of(&self, hash: &RequestHash) -> Arc<tokio::sync::Mutex<()>> {
        let mut asking = self.0.asking.lock().expect("no holder panics");
        if let Some(lock) = asking.get(hash).and_then(Weak::upgrade) {
            return lock;
        }
        // Locks of finished requests are swept when they have become the bulk.
        if asking.len() > 4 * self.0.settings.concurrency.max(64) {
            asking.retain(|_, lock| lock.strong_count() > 0);
        }
        let lock = Arc::new(tokio::sync::Mutex::new(()));
        asking.insert(hash.clone(), Arc::downgrade(&lock));
        lock
    }
}

impl Shared {
    fn alert(&self, target: &Target, failure: Failure, message: &str) {
        let mut alerts = self.alerts.lock().expect("no holder panics");
        let known = |alert: &Alert| alert.failure == failure && alert.target == target.name();
        if !alerts.iter().any(known) {
            alerts.push(Alert {
                target: target.name().to_owned(),
                failure,
                message: message.to_owned(),
            });
        }
    }

    /// What is known to be wrong with the targets of the chain.
    fn known_failures(&self) -> Vec<AttemptFailure> {
        let alerts = self.alerts.lock().expect("no holder panics");
        alerts
            .iter()
            .map(|alert| AttemptFailure {
                target: alert.target.clone(),
                failure: alert.failure,
                message: alert.message.clone(),
            })
            .collect()
    }
}

impl ChatModel for Gateway {
    fn identity(&self) -> String {
        let names: Vec<&str> = self.chain().iter().map(Target::identity).collect();
        names.join(" → ")
    }

    fn chat<'a>(
        &'a self,
        request: &'a ChatRequest,
    ) -> BoxFuture<'a, Result<Completion, ChatError>> {
        Box::pin(async move { Ok(self.ask(request).await?.completion) })
    }
}

pub(crate) fn max_tokens(request: &ChatRequest) -> u32 {
    request.max_tokens.unwrap_or(DEFAULT_MAX_TOKENS)
}

fn from_journal(recorded: Recorded, request_hash: RequestHash) -> Answered {
    Answered {
        completion: recorded.completion,
        from_journal: true,
        target: recorded.target,
        simulated: recorded.simulated,
        usd: recorded.usd,
        latency: recorded.latency,
        attempts: recorded.attempts,
        request_hash,
    }
}

#[cfg(test)]
mod tests;
