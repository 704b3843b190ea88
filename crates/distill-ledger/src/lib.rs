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

pub use api::{
    AttemptEnd, AttemptStart, CacheUse, Caller, KeyLimits, LimitTable, Refusal, RequestEnd,
    RequestStart, Role, Settled, TokenPool,
};
