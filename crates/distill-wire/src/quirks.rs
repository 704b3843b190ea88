//! How a vendor departs from its dialect, as data.

/// How a vendor departs from its dialect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
    };
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
