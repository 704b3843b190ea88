//! What callers of the ledger hand in and get back.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

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

/// Limits of a key, a user, a team, a task or of everything. Absent: no limit.
///
/// Days and months are those of UTC. A rate is held over a sliding minute, see
/// [`Refusal::RateLimited`].
#[derive(Debug, Clone, Default, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KeyLimits {
    pub requests_per_minute: Option<u64>,
    /// Input and output. A request is charged its worst case until its usage is known.
    pub tokens_per_minute: Option<u64>,
    pub usd_per_day: Option<Usd>,
    pub usd_per_month: Option<Usd>,
    pub usd_total: Option<Usd>,
}

/// The limits that the configuration sets; those of a key stand with the key.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LimitTable {
    /// Of everything together.
    pub global: KeyLimits,
    pub users: BTreeMap<String, KeyLimits>,
    /// Of each user that `users` does not name.
    pub each_user: KeyLimits,
    pub teams: BTreeMap<String, KeyLimits>,
    /// Of each team that `teams` does not name.
    pub each_team: KeyLimits,
    pub tasks: BTreeMap<String, KeyLimits>,
    pub pools: Vec<TokenPool>,
}

/// Tokens that were bought in bulk. Attempts on its models draw it down first, whoever asks, and
/// cost nothing more while it lasts.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenPool {
    /// Names the balance in the ledger: a new purchase takes a new name.
    pub name: String,
    /// Targets (`vendor/model`) that draw on it; `*` at the end stands for anything.
    pub models: Vec<String>,
    /// Who may draw on it. Empty: every team.
    pub teams: Vec<String>,
    /// Input and output tokens that were bought.
    pub tokens: u64,
    /// What was paid for them.
    pub price: Usd,
    /// Milliseconds since 1970 at which what is left expires.
    pub expires_ms: Option<i64>,
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

/// What an attempt is booked at, once it is settled.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Settled {
    /// What it cost beyond a pool; `None`: not known, the reservation stands.
    pub usd: Option<Usd>,
    /// Tokens that a bulk-bought pool paid.
    pub pool_tokens: u64,
}

/// Why a request or an attempt may not go on. Nothing was sent.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// A rate limit: of what, and when the next may come.
    ///
    /// A minute slides: what the current minute of the clock has seen, and of the minute before the
    /// share that a window of sixty seconds still covers.
    #[error("{what} is used up for now; try again in {} s", retry_after.as_secs_f64().ceil())]
    RateLimited { what: String, retry_after: Duration },
    /// A budget: of what, what is committed (spent or reserved), and when it is fresh again.
    #[error(
        "{what} is {cap}, {committed} of it are spent or reserved, and this may cost {needed} more"
    )]
    Budget {
        what: String,
        cap: Usd,
        committed: Usd,
        needed: Usd,
        fresh_in: Option<Duration>,
    },
    /// A question about spend stands open, or was answered with stop: which one, and which of the two.
    #[error("paused: {question}")]
    Paused { question: String },
    /// The ledger cannot write: nothing may be spent that is not on record.
    #[error("the ledger cannot write ({problem}), and nothing is spent that is not on record")]
    Unavailable { problem: String },
}
