//! A request, free of any vendor's shape.

use serde_json::{Map, Value};

use crate::Dialect;

/// Everything that some dialect can ask for. A field that was not said is `None`, never a default.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Request {
    /// The dialect that this was read from; `None` where it was made here. Tells a writer whether
    /// `extra`, `Block::Other`, a tool's `vendor` and unsealed proofs of thinking are its own.
    pub source: Option<Dialect>,
    pub model: String,
    /// Instructions that stand before the conversation (`system`, `developer`, `instructions`).
    pub system: Vec<Block>,
    pub turns: Vec<Turn>,
    pub tools: Vec<Tool>,
    pub tool_choice: Option<ToolChoice>,
    pub parallel_tool_calls: Option<bool>,
    pub max_tokens: Option<u64>,
    pub temperature: Option<f64>,
    pub top_p: Option<f64>,
    pub top_k: Option<u64>,
    pub presence_penalty: Option<f64>,
    pub frequency_penalty: Option<f64>,
    pub stop: Vec<String>,
    pub seed: Option<i64>,
    /// `Some(0)`: the log-probability of each sampled token; `Some(k)`: also the k likeliest.
    pub logprobs: Option<u64>,
    pub output: Option<OutputFormat>,
    pub reasoning: Option<Reasoning>,
    pub stream: bool,
    /// Whether the caller asked for usage at the end of a stream.
    pub stream_usage: bool,
    /// How many replies.
    pub n: Option<u64>,
    /// The caller's own name for its end user.
    pub user: Option<String>,
    pub metadata: Option<Value>,
    pub service_tier: Option<String>,
    pub store: Option<bool>,
    /// The key by which the caller asks for prompt-cache affinity.
    pub prompt_cache_key: Option<String>,
    /// Fields of the source dialect that have no place above, by their names there. A writer of the
    /// same dialect sends them on; another drops each one by name.
    pub extra: Map<String, Value>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TurnRole {
    /// Instructions in mid-conversation, where a dialect has them.
    System,
    User,
    Assistant,
    /// Holds tool results only.
    Tool,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Turn {
    pub role: TurnRole,
    pub blocks: Vec<Block>,
    /// The speaker's name, where the dialect has one.
    pub name: Option<String>,
    /// Fields of the turn in its source dialect that have no place above (`id`, `phase`). A writer of
    /// the same dialect sends them on; they carry no meaning elsewhere.
    pub extra: Map<String, Value>,
}

/// How long the vendor is asked to keep the prompt up to this block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheHint {
    /// As the vendor writes it (`5m`, `1h`); `None`: its default.
    pub ttl: Option<String>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Block {
    Text {
        text: String,
        cache: Option<CacheHint>,
        /// Citations or annotations as their dialect wrote them; dropped by name elsewhere.
        annotations: Option<Value>,
    },
    Image {
        source: ImageSource,
        /// `low`, `high`, `auto`.
        detail: Option<String>,
        cache: Option<CacheHint>,
    },
    ToolCall {
        id: String,
        name: String,
        /// The arguments as JSON text, as the model wrote them (which need not be valid).
        arguments: String,
        cache: Option<CacheHint>,
        /// Opaque proof that some vendors want back with the call.
        signature: Option<String>,
    },
    ToolResult {
        id: String,
        blocks: Vec<Block>,
        is_error: bool,
        cache: Option<CacheHint>,
    },
    Thinking {
        text: String,
        /// Opaque proof that the vendor wants back unchanged.
        signature: Option<String>,
        /// The vendor's name of the item, where it has one (`rs_...`).
        id: Option<String>,
    },
    /// Thinking that only its vendor can read.
    RedactedThinking {
        data: String,
        id: Option<String>,
    },
    Refusal {
        text: String,
    },
    /// A part that only its own dialect knows (documents, audio, server tools), kept whole.
    Other(Value),
}

impl Block {
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text {
            text: text.into(),
            cache: None,
            annotations: None,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImageSource {
    Url(String),
    Base64 {
        media_type: String,
        data: String,
    },
    /// A file that the vendor keeps.
    File(String),
}

#[derive(Debug, Clone, PartialEq)]
pub struct Tool {
    pub name: String,
    pub description: Option<String>,
    /// JSON schema of the arguments; `None` for a tool that only its own dialect knows.
    pub parameters: Option<Value>,
    pub strict: Option<bool>,
    pub cache: Option<CacheHint>,
    /// The tool as its own dialect wrote it, kept whole, where `parameters` alone do not say all.
    /// With `parameters`, other dialects are sent the translation (a custom tool as a function with
    /// one string). Without, it is a tool that the vendor runs itself (web search), and only its own
    /// dialect can be asked for it.
    pub vendor: Option<Value>,
}

impl Tool {
    /// A tool that the vendor runs itself, under its name or else the name of its kind.
    pub(crate) fn of_vendor(value: Value) -> Self {
        let text = |field| value.get(field).and_then(Value::as_str);
        Self {
            name: text("name").or(text("type")).unwrap_or_default().to_owned(),
            description: None,
            parameters: None,
            strict: None,
            cache: None,
            vendor: Some(value),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToolChoice {
    Auto,
    None,
    /// Some tool must be called.
    Required,
    Tool(String),
}

#[derive(Debug, Clone, PartialEq)]
pub enum OutputFormat {
    Text,
    JsonObject,
    JsonSchema {
        name: Option<String>,
        description: Option<String>,
        schema: Value,
        strict: Option<bool>,
    },
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reasoning {
    /// `none`, `minimal`, `low`, `medium`, `high`, `xhigh`.
    pub effort: Option<String>,
    pub budget_tokens: Option<u64>,
    /// Whether thinking is on, where a dialect says so apart from its budget.
    pub enabled: Option<bool>,
    /// How thinking is shown (`auto`, `concise`, `detailed`).
    pub summary: Option<String>,
}

/// Something that was left out because the target cannot express it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dropped {
    /// As the caller wrote it, e.g. `logit_bias`.
    pub field: String,
    pub reason: &'static str,
}

/// A body for a target, and what it does not say.
#[derive(Debug, Clone, PartialEq)]
pub struct Written {
    pub body: Vec<u8>,
    pub dropped: Vec<Dropped>,
}
