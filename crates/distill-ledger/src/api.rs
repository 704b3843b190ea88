//! What callers of the ledger hand in and get back.

use std::{sync::Arc, time::Duration};

use distill_chat::Usage;
use distill_gateway::Usd;

/// What a key may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Asks models.
    User,
    /// Also sees everybody's usage, answers questions about spend, makes keys.
    Admin,
}

/// Limits of one key; those of users, teams and tasks stand in the configuration.
#[derive(Debug, Clone, Default, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct KeyLimits {
    pub requests_per_minute: Option<u64>,
    pub tokens_per_minute: Option<u64>,
    pub usd_per_day: Option<Usd>,
    pub usd_per_month: Option<Usd>,
    pub usd_total: Option<Usd>,
}

/// Who is behind a key.
#[derive(Debug, Clone, PartialEq)]
pub struct Caller {
    /// Names the key in the ledger; not the key.
    pub key_id: String,
    pub user: String,
    pub team: Option<String>,
    pub discipline: Option<String>,
    pub level: Option<String>,
    pub role: Role,
    /// Models, routes and tasks that may be asked; `*` at the end stands for anything. Empty: all.
    pub models: Vec<String>,
    pub limits: KeyLimits,
}

/// A request as it comes in.
#[derive(Debug, Clone)]
pub struct RequestStart {
    /// Unique over all instances.
    pub id: String,
    pub caller: Arc<Caller>,
    /// Name and version of the task.
    pub task: Option<(String, String)>,
    pub route: String,
    /// As the caller named it.
    pub model_asked: String,
    pub dialect: &'static str,
    pub streamed: bool,
    pub session: Option<String>,
    /// Input and output at most: what the rate limit of tokens is charged before the answer is known.
    pub worst_tokens: u64,
}

/// An attempt as it is about to leave.
#[derive(Debug, Clone)]
pub struct AttemptStart {
    /// From 1.
    pub number: u32,
    /// `vendor/model`.
    pub target: String,
    pub simulated: bool,
    /// The most that it can cost.
    pub reserved: Usd,
}

/// What became of an attempt.
#[derive(Debug, Clone, Default)]
pub struct AttemptEnd {
    /// `answered`, or the name of the failure.
    pub outcome: &'static str,
    /// `None`: not known, the reservation stands.
    pub usd: Option<Usd>,
    pub usage: Usage,
    pub status: Option<u16>,
    /// The model that answered, as it named itself.
    pub model: Option<String>,
    pub fingerprint: Option<String>,
    /// The vendor's own name of the exchange.
    pub response_id: Option<String>,
    pub latency: Option<Duration>,
    pub first_token: Option<Duration>,
}

/// How the cache helped.
#[derive(Debug, Clone, PartialEq)]
pub struct CacheUse {
    /// `exact` or `semantic`.
    pub kind: &'static str,
    pub age: Duration,
    pub saved: Usd,
}

/// What the caller got.
#[derive(Debug, Clone, Default)]
pub struct RequestEnd {
    pub status: u16,
    /// `answered`, `refused`, `failed`, `cancelled`, ...
    pub outcome: &'static str,
    /// The target that answered.
    pub answered_by: Option<String>,
    pub cache: Option<CacheUse>,
}

/// Why a request or an attempt may not go on. Nothing was sent.
#[derive(Debug, Clone, PartialEq)]
pub enum Refusal {
    /// A rate limit: of what, and when the next may come.
    RateLimited { what: String, retry_after: Duration },
    /// A budget: of what, what is committed, and when it is fresh again.
    Budget {
        what: String,
        cap: Usd,
        committed: Usd,
        needed: Usd,
        fresh_in: Option<Duration>,
    },
    /// A question about spend stands open, or was answered with stop.
    Paused { question: String },
    /// The ledger cannot write: nothing may be spent that is not on record.
    Unavailable { problem: String },
}
