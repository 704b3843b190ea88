//! The ledger as its callers see it, on each kind of store.
#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a panic is how a test fails, and a test says why it was skipped"
)]

mod people;
mod processes;
mod server;
mod spending;
mod stores;
mod using;
