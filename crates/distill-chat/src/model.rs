//! The seam between those who ask and those who answer.

use std::{future::Future, pin::Pin};

use crate::{ChatRequest, Completion};

/// A boxed future that may move between threads.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Anything that answers a conversation.
pub trait ChatModel: Send + Sync {
    /// Stable identity, part of every cache key that this model's answers enter.
    fn identity(&self) -> String;

    /// Answers one request. Dropping the future cancels it.
    ///
    /// # Errors
    /// [`ChatError`] says whose fault it was and whether another try can help.
    fn chat<'a>(&'a self, request: &'a ChatRequest)
    -> BoxFuture<'a, Result<Completion, ChatError>>;
}

/// Whose fault a failed answer was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The request itself is wrong: no other model will take it either.
    Request,
    /// This target is wrong (key, quota, model gone): another may answer.
    Target,
    /// It may work later or elsewhere (overload, timeout, broken stream).
    Transient,
    /// A limit set by the user, such as a budget, forbids the call.
    Limit,
    /// The caller asked to stop.
    Cancelled,
}

/// A question that got no answer.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct ChatError {
    pub kind: ErrorKind,
    /// What was being asked of whom and what came back; free of prompts and keys.
    pub message: String,
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl ChatError {
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            source: None,
        }
    }

    /// Whether asking again, here or elsewhere, can help.
    pub fn retryable(&self) -> bool {
        matches!(self.kind, ErrorKind::Target | ErrorKind::Transient)
    }
}
