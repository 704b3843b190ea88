//! The ledger as its callers see it, on each kind of store.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod people;
mod processes;
mod server;
mod spending;
mod stores;
mod using;
