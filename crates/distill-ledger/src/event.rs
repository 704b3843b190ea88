//! What the ledger tells whoever listens while requests are answered.

use std::{sync::Arc, time::Duration};

use distill_chat::Usage;
use distill_gateway::Usd;

use crate::{api::CacheUse, entry::RequestFacts, question::Question};

/// Something was put on record. A listener that falls far behind misses the oldest.
#[derive(Debug, Clone)]
pub enum LedgerEvent {
    AttemptSettled(Arc<SettledAttempt>),
    RequestFinished(Arc<FinishedRequest>),
    /// A target was answered by a model or a fingerprint that it has not shown before.
    ModelChanged(Arc<ModelChange>),
    QuestionRaised(Arc<Question>),
    QuestionAnswered(Arc<Question>),
    /// Keys were made or revoked, here or by another process.
    KeysChanged,
}

/// An attempt with what it came to.
#[derive(Debug, Clone, PartialEq)]
pub struct SettledAttempt {
    pub facts: Arc<RequestFacts>,
    pub number: u32,
    pub target: String,
    pub simulated: bool,
    pub outcome: &'static str,
    pub reserved: Usd,
    /// Beyond a pool; `None`: not known.
    pub usd: Option<Usd>,
    pub pool_tokens: u64,
    pub usage: Usage,
    pub model: Option<String>,
    pub fingerprint: Option<String>,
    pub latency: Option<Duration>,
    pub first_token: Option<Duration>,
}

/// A request with what it came to.
#[derive(Debug, Clone, PartialEq)]
pub struct FinishedRequest {
    pub facts: Arc<RequestFacts>,
    pub status: u16,
    pub outcome: &'static str,
    /// `vendor/model` of the target that answered.
    pub answered_by: Option<String>,
    /// As the model named itself.
    pub model: Option<String>,
    pub attempts: u32,
    pub latency: Duration,
    pub first_token: Option<Duration>,
    /// Of all attempts; a class that one of them did not report is `None`.
    pub usage: Usage,
    /// Of all attempts; `None`: not known of one of them.
    pub usd: Option<Usd>,
    pub cache: Option<CacheUse>,
    pub simulated: bool,
}

/// Who answers under the name of a target now, and who did before.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelChange {
    pub target: String,
    pub model: String,
    pub fingerprint: Option<String>,
    pub before: (String, Option<String>),
    pub at_ms: i64,
}
