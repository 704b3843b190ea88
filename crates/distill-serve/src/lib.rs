//! Released students: the registry of what is released, and the server that answers for them.
//!
//! **Owns** the release registry and the HTTP server (`POST /v1/chat/completions`,
//! `GET /v1/models`).
//!
//! **Must not know** training, pipelines, how a gate is judged.
//!
//! **Start reading** at [`Registry`], then [`serve`].
#![cfg_attr(
    test,
    allow(clippy::unwrap_used, reason = "a panic is how a test fails")
)]

mod registry;
mod server;
mod wire;
mod worker;

pub use registry::{Despite, GateRecord, Registry, RegistryError, Release, Route};
pub use server::{ServeError, ServeOptions, Server, serve};
