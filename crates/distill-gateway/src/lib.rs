//! Answers from language models: vendors, wire dialects, failover, the journal and the budget.
//!
//! **Owns** the client that asks an ordered chain of models, the policy of what happens when one
//! fails, the durable record of every request and dollar, and the simulated provider that stands in
//! where there is no key.
//!
//! **Must not know** pipelines, training, evals, or that a terminal exists. It reads no environment:
//! keys are handed to it.
//!
//! **Start reading** at [`Gateway::ask`], then `client/walk.rs`, then the table in [`failover`].
//! A server joins beside [`client`](Gateway): it shares dialects, policy, health and journal.
#![cfg_attr(
    test,
    allow(clippy::unwrap_used, reason = "a panic is how a test fails")
)]

mod client;
mod dialect;
mod estimate;
pub mod failover;
pub mod health;
mod journal;
mod price;
mod request_hash;
mod secret;
pub mod simulate;
mod target;
mod usd;
mod vendor;
mod walker;

pub use client::{
    Alert, Answered, AskError, AttemptFailure, DEFAULT_MAX_TOKENS, Gateway, GatewayError,
    GatewaySettings, Timeouts, install_crypto,
};
pub use dialect::Dialect;
pub use estimate::{Estimate, estimate};
pub use failover::Failure;
pub use health::{BreakerSettings, HealthSnapshot, HealthState, SpikeSettings, TargetHealth};
pub use journal::{
    AttemptCount, AttemptRecord, Journal, JournalError, LatencySummary, Recorded, SpendSummary,
    TeacherShare, UnsettledAttempt, UsageTotals,
};
pub use price::{
    BatchRates, Disagreement, ImportError, Price, PriceRow, PriceSource, PriceTable,
    PriceTableError, Rates, TableSource, TierRates, believable, date_of_days, days_of_date,
    import as import_prices,
};
pub use request_hash::RequestHash;
pub use secret::{Secret, without as without_secret};
pub use target::{Connection, Target, TargetError, TargetOptions};
pub use usd::Usd;
pub use vendor::{Vendor, families, vendor, vendors};
pub use walker::{Bounds, Patience, Step, Walker};
