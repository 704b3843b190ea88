//! A stream, free of any vendor's shape.

use distill_chat::Usage;

use crate::{ErrorReply, Finish, TokenLogprob};

/// One thing that happens in a streamed reply, in this order: `Start`; for each block `Open`,
/// `Delta`s, `Close`; `Finish`; `Usage`; `End`. Blocks may interleave (parallel tool calls); `Usage`
/// may come with `Start` too and may repeat, the last word of each class counts.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    Start {
        id: Option<String>,
        model: Option<String>,
        created: Option<i64>,
        fingerprint: Option<String>,
    },
    /// A block begins. Indices count from 0 in the order of opening.
    Open {
        index: usize,
        block: Opening,
    },
    Delta {
        index: usize,
        delta: Delta,
    },
    Close {
        index: usize,
    },
    Finish {
        reason: Finish,
        stop_sequence: Option<String>,
    },
    Usage(Usage),
    /// Keeps the connection alive; says nothing.
    Ping,
    /// The vendor's own error in mid-stream. Nothing follows.
    Error(ErrorReply),
    /// The vendor said that the stream is whole.
    End,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Opening {
    Text,
    Thinking {
        id: Option<String>,
    },
    RedactedThinking {
        data: String,
        id: Option<String>,
    },
    ToolCall {
        id: String,
        name: String,
    },
    Refusal,
    /// A block that only its own dialect knows, named by its type there.
    Other(String),
}

#[derive(Debug, Clone, PartialEq)]
pub enum Delta {
    Text(String),
    Thinking(String),
    Signature(String),
    /// A piece of the JSON text of a tool call's arguments.
    Arguments(String),
    Refusal(String),
    Logprobs(Vec<TokenLogprob>),
    /// An annotation or citation, as its dialect wrote it.
    Annotation(serde_json::Value),
}

impl Event {
    /// Whether a caller has seen something of the answer once this was sent on: from then on no
    /// other target may take over.
    pub fn is_content(&self) -> bool {
        matches!(self, Self::Delta { .. })
            || matches!(
                self,
                Self::Open {
                    block: Opening::ToolCall { .. } | Opening::RedactedThinking { .. },
                    ..
                }
            )
    }
}

/// Adds what an [`Event::Usage`] reports to what is known: the last word of each class counts.
pub fn merge_usage(known: &mut Usage, later: &Usage) {
    for (known, word) in [
        (&mut known.input_tokens, later.input_tokens),
        (&mut known.cached_input_tokens, later.cached_input_tokens),
        (&mut known.cache_write_tokens, later.cache_write_tokens),
        (&mut known.output_tokens, later.output_tokens),
        (&mut known.reasoning_tokens, later.reasoning_tokens),
    ] {
        if word.is_some() {
            *known = word;
        }
    }
}
