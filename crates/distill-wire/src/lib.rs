//! How conversations look on the wire: vendors' dialects, both ways, whole and streamed.
//!
//! **Owns** the normalised [`Request`], [`Reply`] and stream [`Event`]; one module a dialect that
//! reads and writes them; server-sent events; and the [`envelope`]: what a router must know of a
//! body that it passes on untouched.
//!
//! **Must not know** HTTP, keys, prices, who is asked when something fails.
//!
//! **Start reading** at [`Request`], then [`Dialect`], then a dialect's module.
#![cfg_attr(
    test,
    allow(clippy::unwrap_used, reason = "a panic is how a test fails")
)]

pub mod chat;
pub mod cohere;
mod dialect;
pub mod embeddings;
pub mod envelope;
mod error;
mod event;
mod fields;
mod gather;
pub mod gemini;
mod leftover;
pub mod messages;
mod order;
mod proof;
mod quirks;
mod reply;
mod request;
pub mod responses;
mod rest;
pub mod sse;

pub use dialect::{Dialect, ReadStream, ReplyContext, WriteStream};
pub use error::{ErrorKind, ErrorReply, Malformed, RequestError, Unsupported};
pub use event::{Delta, Event, Opening, merge_usage};
pub use gather::{Gatherer, replay};
pub use leftover::KEPT_STATE;
pub use proof::SEAL;
pub use quirks::{
    Quirks, ReasoningParameter, SchemaSupport, SeedParameter, ThinkingField, TokenLimit,
    ToolCallIds, Writing,
};
pub use reply::{Finish, Reply, TokenLogprob};
pub use request::{
    Block, CacheHint, Dropped, ImageSource, OutputFormat, Reasoning, Request, Tool, ToolChoice,
    Turn, TurnRole, Written,
};
