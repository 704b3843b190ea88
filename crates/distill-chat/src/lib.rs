//! The words of a conversation with a model, and the contract of a task.
//!
//! **Owns** messages, requests, completions, token usage, the [`ChatModel`] seam (anything that
//! answers a conversation: a vendor behind the gateway, a student in memory, a scripted fake), and
//! the [`Task`] contract: how a data row becomes messages and how a reply becomes an answer.
//!
//! **Must not know** HTTP, vendors, tensors, files.
//!
//! **Start reading** at [`ChatModel`], then [`Task`].
#![cfg_attr(
    test,
    allow(clippy::unwrap_used, reason = "a panic is how a test fails")
)]

mod answer;
mod equality;
pub mod fence;
mod message;
mod model;
mod schema;
mod scripted;
mod task;

pub use answer::Answer;
pub use equality::same_json;
pub use message::{ChatRequest, Completion, FinishReason, Message, Role, TokenLogprob, Usage};
pub use model::{BoxFuture, ChatError, ChatModel, ErrorKind};
pub use schema::{ObjectSchema, SchemaError, SchemaViolation};
pub use scripted::ScriptedModel;
pub use task::{Fields, Task, TaskDefinition, TaskError, TaskKind, without_fence};
