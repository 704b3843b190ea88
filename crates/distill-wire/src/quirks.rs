//! How a vendor departs from its dialect, as data.

/// How a vendor departs from its dialect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each tells of another parameter"
)]
pub struct Quirks {
    /// The parameter that bounds the reply.
    pub token_limit: TokenLimit,
    /// How a reply can be held to a JSON schema.
    pub schema: SchemaSupport,
    /// Under which name a seed is known; others refuse unknown parameters.
    pub seed: SeedParameter,
    /// Whether `stream_options.include_usage` is known.
    pub stream_options: bool,
    /// Whether `parallel_tool_calls` is known.
    pub parallel_tool_calls: bool,
    /// Whether `logprobs` and `top_logprobs` are known.
    pub logprobs: bool,
    /// Whether an image may be given by its address.
    pub image_urls: bool,
    /// How thinking is asked for.
    pub reasoning: ReasoningParameter,
    /// How earlier thinking is sent back.
    pub thinking: ThinkingField,
    /// Which names of tool calls are taken.
    pub tool_call_ids: ToolCallIds,
    /// Whether `top_k` is known.
    pub top_k: bool,
    /// Whether `user` is known.
    pub user: bool,
    /// Whether `metadata`, `service_tier`, `store` and `prompt_cache_key` are known.
    pub openai_fields: bool,
    /// Whether parts may carry Anthropic's `cache_control`.
    pub cache_control: bool,
    /// Names that its own dialect has and that it refuses: see [`Quirks::refuses`].
    pub refused: &'static [&'static str],
}

/// Name of the parameter that bounds the reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenLimit {
    MaxTokens,
    /// The name that `OpenAI` uses since its reasoning models, which refuse the old one.
    MaxCompletionTokens,
}

/// How far a vendor holds a reply to a schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SchemaSupport {
    JsonSchema,
    /// Any JSON object: the schema itself must be in the prompt.
    JsonObject,
    None,
}

/// Name of the seed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SeedParameter {
    Seed,
    /// Mistral.
    RandomSeed,
    Unknown,
}

/// How a chat completions server is asked to think.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReasoningParameter {
    /// `reasoning_effort`.
    Effort,
    /// `thinking: {type}`: on or off (`DeepSeek`).
    Switch,
    /// `reasoning: {effort, max_tokens, enabled}` (`OpenRouter`).
    Object,
    Unknown,
}

/// Where a message of a chat completions server holds what its model thought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ThinkingField {
    /// `reasoning_content` (`DeepSeek`, xAI, vLLM, llama.cpp).
    ReasoningContent,
    /// `reasoning` (Groq).
    Reasoning,
    /// `reasoning_details`, with signatures (`OpenRouter`).
    Details,
    /// A part of type `thinking` in the content (Mistral).
    Parts,
    /// It is refused, so it is left out.
    Unknown,
}

/// Which names of tool calls a vendor takes. Others are replaced by a hash of the name, the same for
/// call and result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ToolCallIds {
    Any,
    /// Not longer than 40 bytes (`OpenAI`).
    Short,
    /// Nine letters or digits (Mistral).
    Nine,
}

impl Quirks {
    /// A server that takes what the dialect's description says.
    pub const COMPATIBLE: Self = Self {
        token_limit: TokenLimit::MaxTokens,
        schema: SchemaSupport::JsonSchema,
        seed: SeedParameter::Seed,
        stream_options: true,
        parallel_tool_calls: true,
        logprobs: true,
        image_urls: true,
        reasoning: ReasoningParameter::Effort,
        thinking: ThinkingField::ReasoningContent,
        tool_call_ids: ToolCallIds::Any,
        top_k: true,
        user: true,
        openai_fields: false,
        cache_control: false,
        refused: &[],
    };

    pub const OPENAI: Self = Self {
        token_limit: TokenLimit::MaxCompletionTokens,
        thinking: ThinkingField::Unknown,
        tool_call_ids: ToolCallIds::Short,
        top_k: false,
        openai_fields: true,
        ..Self::COMPATIBLE
    };

    /// Refuses parameters that it does not know.
    pub const MISTRAL: Self = Self {
        seed: SeedParameter::RandomSeed,
        stream_options: false,
        logprobs: false,
        reasoning: ReasoningParameter::Unknown,
        thinking: ThinkingField::Parts,
        tool_call_ids: ToolCallIds::Nine,
        top_k: false,
        user: false,
        // Calls among them, whose names must be its own.
        refused: &[
            "max_completion_tokens",
            "stream_options",
            "tool_calls",
            "user",
            "metadata",
            "store",
            "service_tier",
            "prompt_cache_key",
            "seed",
            "logprobs",
            "top_k",
            "reasoning_content",
        ],
        ..Self::COMPATIBLE
    };

    pub const DEEPSEEK: Self = Self {
        schema: SchemaSupport::JsonObject,
        seed: SeedParameter::Unknown,
        parallel_tool_calls: false,
        image_urls: false,
        reasoning: ReasoningParameter::Switch,
        top_k: false,
        ..Self::COMPATIBLE
    };

    pub const GROQ: Self = Self {
        logprobs: false,
        thinking: ThinkingField::Reasoning,
        top_k: false,
        ..Self::COMPATIBLE
    };

    pub const XAI: Self = Self {
        top_k: false,
        ..Self::COMPATIBLE
    };

    pub const OPENROUTER: Self = Self {
        reasoning: ReasoningParameter::Object,
        thinking: ThinkingField::Details,
        cache_control: true,
        ..Self::COMPATIBLE
    };

    /// Whether a body of the vendor's own dialect says something that the vendor refuses: it must then
    /// be read and written anew. Where a name stands is not looked at: once too often is only slower.
    pub fn refuses(&self, body: &[u8]) -> bool {
        self.refused.iter().any(|name| {
            memchr::memmem::find_iter(body, name.as_bytes()).any(|start| {
                let end = start + name.len();
                let quoted = start > 0 && body[start - 1] == b'"' && body.get(end) == Some(&b'"');
                // A key, not a value such as `"role": "user"`.
                quoted
                    && body[end + 1..]
                        .iter()
                        .find(|byte| !byte.is_ascii_whitespace())
                        == Some(&b':')
            })
        })
    }
}

/// What a writer of requests must know of the target.
#[derive(Debug, Clone, Copy)]
pub struct Writing<'a> {
    /// The model as the target calls it.
    pub model: &'a str,
    pub quirks: Quirks,
    /// Whether a temperature is left out because this model refuses one.
    pub fixed_temperature: bool,
    /// Sent where the request names no bound: without one no budget can be held.
    pub default_max_tokens: u64,
    /// Asks for usage at the end of a stream whether the caller did or not.
    pub meter: bool,
}
