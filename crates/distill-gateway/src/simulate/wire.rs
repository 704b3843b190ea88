//! The wire formats from the provider's side: an answer as each vendor writes it.
//!
//! Written apart from the readers and writers that are tested against it, on purpose: a mistake
//! that both shared would never be seen.

mod chat;
mod gemini;
mod messages;
mod responses;

use axum::body::Bytes;
use distill_chat::FinishReason;
use distill_wire::Dialect;
use serde_json::{Value, json};

/// An answer, before it is put into a wire format.
#[derive(Debug)]
pub(super) struct Spoken {
    pub(super) id: String,
    pub(super) model: String,
    pub(super) text: String,
    pub(super) calls: Vec<Call>,
    pub(super) finish: FinishReason,
    pub(super) input_tokens: u64,
    /// Reasoning included.
    pub(super) output_tokens: u64,
    pub(super) reasoning_tokens: u64,
}

/// A tool that the model wants called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Call {
    /// Without the prefix that each vendor gives it.
    pub(super) id: String,
    pub(super) name: String,
    /// JSON.
    pub(super) arguments: String,
}

impl Call {
    fn arguments_value(&self) -> Value {
        serde_json::from_str(&self.arguments).unwrap_or_default()
    }

    /// The arguments in the pieces in which they are streamed.
    fn pieces(&self) -> Vec<&str> {
        self.arguments.split_inclusive([',', ':']).collect()
    }
}

impl Spoken {
    /// The text in the pieces in which it is streamed.
    fn words(&self) -> Vec<&str> {
        self.text.split_inclusive(' ').collect()
    }
}

/// A streamed answer: its server-sent events, and how many of them come before any content.
#[derive(Debug)]
pub(super) struct Events {
    pub(super) all: Vec<Bytes>,
    pub(super) before_content: usize,
}

/// What a vendor calls an exchange: what its names begin with.
pub(super) fn id_prefix(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::ChatCompletions | Dialect::Cohere => "chatcmpl-sim",
        Dialect::Messages => "msg_sim",
        Dialect::Responses => "resp_sim",
        Dialect::Gemini => "gemini-sim",
    }
}

/// An error body.
pub(super) fn error(dialect: Dialect, kind: &str, message: &str) -> Value {
    match dialect {
        Dialect::Messages => {
            json!({"type": "error", "error": {"type": kind, "message": message}})
        }
        Dialect::Gemini => {
            let (code, status) = match kind {
                "rate_limit_exceeded" => (429, "RESOURCE_EXHAUSTED"),
                "model_not_found" => (404, "NOT_FOUND"),
                "api_error" => (500, "INTERNAL"),
                _ => (400, "INVALID_ARGUMENT"),
            };
            json!({"error": {"code": code, "message": message, "status": status}})
        }
        Dialect::ChatCompletions | Dialect::Responses | Dialect::Cohere => {
            json!({"error": {"message": message, "type": kind, "param": null, "code": kind}})
        }
    }
}

/// An error in the middle of a stream.
pub(super) fn error_event(dialect: Dialect, message: &str) -> Bytes {
    let body = match dialect {
        Dialect::Messages => {
            let body = error(dialect, "overloaded_error", message);
            return Bytes::from(format!("event: error\ndata: {body}\n\n"));
        }
        Dialect::Responses => {
            let body = json!({"type": "error", "code": "server_error", "message": message, "param": null, "sequence_number": 0});
            return Bytes::from(format!("event: error\ndata: {body}\n\n"));
        }
        _ => error(dialect, "api_error", message),
    };
    Bytes::from(format!("data: {body}\n\n"))
}

/// A whole answer.
pub(super) fn whole(dialect: Dialect, spoken: &Spoken) -> Value {
    match dialect {
        Dialect::Messages => messages::whole(spoken),
        Dialect::Responses => responses::whole(spoken),
        Dialect::Gemini => gemini::whole(spoken),
        Dialect::ChatCompletions | Dialect::Cohere => chat::whole(spoken),
    }
}

/// The events of a streamed answer: the text word by word.
pub(super) fn events(dialect: Dialect, spoken: &Spoken, usage_chunk: bool) -> Events {
    match dialect {
        Dialect::Messages => messages::events(spoken),
        Dialect::Responses => responses::events(spoken),
        Dialect::Gemini => gemini::events(spoken),
        Dialect::ChatCompletions | Dialect::Cohere => chat::events(spoken, usage_chunk),
    }
}

/// An event with its name.
fn named(kind: &str, mut data: Value) -> Bytes {
    data["type"] = kind.into();
    Bytes::from(format!("event: {kind}\ndata: {data}\n\n"))
}
