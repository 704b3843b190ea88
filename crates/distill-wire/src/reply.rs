//! A whole reply, free of any vendor's shape.

use distill_chat::Usage;
use serde_json::{Map, Value};

use crate::{Dialect, request::Block};

#[derive(Debug, Clone, PartialEq)]
pub struct Reply {
    /// The vendor's name of the exchange, by which its bill can be checked.
    pub id: Option<String>,
    /// The model that answered, as it named itself.
    pub model: Option<String>,
    /// Seconds since 1970.
    pub created: Option<i64>,
    /// `Text`, `Thinking`, `RedactedThinking`, `ToolCall`, `Refusal`, `Other`, in the model's order.
    pub blocks: Vec<Block>,
    pub finish: Finish,
    /// The stop sequence that ended it.
    pub stop_sequence: Option<String>,
    /// Disjoint classes; what was not reported is `None`.
    pub usage: Usage,
    /// Of each sampled token of the text; `None` where not asked for.
    pub logprobs: Option<Vec<TokenLogprob>>,
    /// The backend's configuration, where the vendor tells (`system_fingerprint`).
    pub fingerprint: Option<String>,
    pub service_tier: Option<String>,
    /// The dialect that the reply was read from: whose `extra` and `Block::Other` are.
    pub source: Option<Dialect>,
    /// Fields of the source dialect that have no place above.
    pub extra: Map<String, Value>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finish {
    Stop,
    /// The token limit cut the reply off.
    Length,
    ToolCalls,
    /// The vendor withheld the reply.
    ContentFilter,
    /// The vendor pauses a long turn; the caller sends the conversation back to go on.
    Pause,
    Other(String),
}

#[derive(Debug, Clone, PartialEq)]
pub struct TokenLogprob {
    pub token: String,
    /// Natural logarithm.
    pub logprob: f64,
    pub bytes: Option<Vec<u8>>,
    /// The likeliest tokens at this place, itself among them or not, as the vendor sent them.
    pub top: Vec<TokenLogprob>,
}
