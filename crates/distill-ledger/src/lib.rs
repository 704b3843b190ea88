//! Who asked what of whom and what it cost: people, limits, attempts, questions about spend.
//!
//! **Owns** virtual keys and callers, budgets and rate limits, the intent and the settlement of
//! every attempt, the queries of usage, and the store of all of it: `SQLite` in one process, or
//! `PostgreSQL` where several share it.
//!
//! **Must not know** HTTP, dialects, routing, what a page looks like.
//!
//! **Start reading** at [`Ledger`], then [`OpenRequest`].
#![cfg_attr(
    test,
    allow(clippy::unwrap_used, reason = "a panic is how a test fails")
)]

mod api;
mod batch;
mod books;
mod clock;
mod entry;
mod error;
mod event;
mod key;
mod keyring;
mod ledger;
mod local;
mod log;
mod options;
mod question;
mod records;
mod shared;
mod store;

pub use api::{
    AttemptEnd, AttemptStart, CacheUse, Caller, KeyLimits, LimitTable, Refusal, RequestEnd,
    RequestStart, Role, Settled, TokenPool,
};
pub use books::Scope;
pub use clock::Clock;
pub use entry::RequestFacts;
pub use error::LedgerError;
pub use event::{FinishedRequest, LedgerEvent, ModelChange, SettledAttempt};
pub use key::KEY_PREFIX;
pub use keyring::{KeyInfo, NewKey};
pub use ledger::{Ledger, OpenAttempt, OpenRequest};
pub use options::{Durability, LedgerOptions, Store};
pub use question::{Answer, NewQuestion, Question, QuestionFilter};
pub use records::{
    AttemptRecord, Dimension, Records, RequestFilter, RequestRecord, Sighting, StoredBody,
    TargetFact, Tokens, Unsettled, UnsettledState, UsageQuery, UsageRow, UsageTable,
};
