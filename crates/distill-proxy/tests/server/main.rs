//! The server as its callers meet it: over HTTP, with a ledger and a simulated vendor.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod administration;
mod cache;
mod changes;
mod description;
mod endpoints;
mod fixture;
mod limits;
mod redaction;
mod secrets;
mod telemetry;
