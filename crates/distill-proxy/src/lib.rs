//! The LLM proxy: one address for many vendors.
//!
//! **Owns** the configuration, the routes, the way of a request to a target and back (whole or
//! streamed), the cache, redaction, the questions about spend, telemetry and the pages.
//!
//! **Must not know** training, pipelines, evals, or that a terminal exists. It reads no environment:
//! keys are handed to it.
//!
//! **Start reading** at `server`, then `forward`, then `route`.
#![cfg_attr(
    test,
    allow(clippy::unwrap_used, reason = "a panic is how a test fails")
)]

pub mod cache;
pub mod config;
pub mod demo;
pub mod forward;
mod http;
mod problem;
pub mod redact;
pub mod route;
pub mod server;
pub mod task;
pub mod telemetry;
pub mod ui;
pub mod watch;
