//! What is put on record while requests are answered.

use std::sync::Arc;

use distill_chat::Usage;
use serde::{Deserialize, Serialize};

use crate::{
    api::{Caller, RequestStart},
    books::Booked,
};

/// A request as it began, with the facts of its caller as they were then: history stays true when a
/// person changes teams.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RequestFacts {
    pub id: String,
    pub key: String,
    pub user: String,
    pub team: Option<String>,
    pub discipline: Option<String>,
    pub level: Option<String>,
    pub task: Option<String>,
    pub task_version: Option<String>,
    pub route: String,
    pub model_asked: String,
    pub dialect: String,
    pub streamed: bool,
    pub session: Option<String>,
    /// Milliseconds since 1970.
    pub started_ms: i64,
}

impl RequestFacts {
    pub(crate) fn new(start: RequestStart, started_ms: i64) -> Self {
        let caller: &Caller = &start.caller;
        let (task, task_version) = start.task.unzip();
        Self {
            id: start.id,
            key: caller.key_id.clone(),
            user: caller.user.clone(),
            team: caller.team.clone(),
            discipline: caller.discipline.clone(),
            level: caller.level.clone(),
            task,
            task_version,
            route: start.route,
            model_asked: start.model_asked,
            dialect: start.dialect.to_owned(),
            streamed: start.streamed,
            session: start.session,
            started_ms,
        }
    }
}

/// What an attempt holds of the budgets from its intent to its settlement.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Intent {
    pub(crate) facts: Arc<RequestFacts>,
    pub(crate) number: u32,
    pub(crate) target: String,
    pub(crate) simulated: bool,
    /// Pico-dollars.
    pub(crate) reserved: i64,
    pub(crate) pool: Option<PoolDraw>,
    pub(crate) started_ms: i64,
}

/// Tokens set aside from a pool.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct PoolDraw {
    pub(crate) name: String,
    pub(crate) tokens: u64,
    /// Of how many at most, with which the pool's share of the price is told.
    pub(crate) of: u64,
}

/// What became of an attempt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Settlement {
    pub(crate) intent: Arc<Intent>,
    pub(crate) outcome: String,
    /// Pico-dollars beyond a pool; `None`: not known, the reservation stands.
    pub(crate) usd: Option<i64>,
    /// What the pool's tokens would have cost, in pico-dollars.
    pub(crate) pool_usd: Option<i64>,
    /// Tokens that the pool paid at last.
    pub(crate) pool_tokens: u64,
    pub(crate) usage: Usage,
    pub(crate) status: Option<u16>,
    pub(crate) model: Option<String>,
    pub(crate) fingerprint: Option<String>,
    pub(crate) response_id: Option<String>,
    pub(crate) latency_us: Option<i64>,
    pub(crate) first_token_us: Option<i64>,
    pub(crate) ended_ms: i64,
}

impl Settlement {
    /// Of an attempt whose bytes never left.
    pub(crate) fn unsent(intent: &Arc<Intent>) -> Self {
        Self {
            intent: Arc::clone(intent),
            outcome: "unsent".to_owned(),
            usd: Some(0),
            pool_usd: None,
            pool_tokens: 0,
            usage: Usage::default(),
            status: None,
            model: None,
            fingerprint: None,
            response_id: None,
            latency_us: None,
            first_token_us: None,
            ended_ms: intent.started_ms,
        }
    }

    pub(crate) fn booked(&self) -> Booked {
        Booked {
            usd: self.usd,
            pool_usd: self.pool_usd,
            pool_tokens: self.pool_tokens,
        }
    }
}

/// What the caller got.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Finish {
    pub(crate) facts: Arc<RequestFacts>,
    pub(crate) status: u16,
    pub(crate) outcome: String,
    pub(crate) answered_by: Option<String>,
    pub(crate) model: Option<String>,
    pub(crate) attempts: u32,
    pub(crate) latency_us: i64,
    pub(crate) first_token_us: Option<i64>,
    pub(crate) cache: Option<CacheFacts>,
    pub(crate) ended_ms: i64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct CacheFacts {
    pub(crate) kind: String,
    pub(crate) age_ms: i64,
    pub(crate) saved: i64,
}

/// One line of the log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum Entry {
    #[serde(rename = "i")]
    Intent(Arc<Intent>),
    #[serde(rename = "s")]
    Settlement(Arc<Settlement>),
    #[serde(rename = "f")]
    Finish(Arc<Finish>),
}
