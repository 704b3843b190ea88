//! Gemini: `generateContent` and `streamGenerateContent` (version `v1beta`).
//!
//! The model stands in the path ([`path`]), not in the body; the key goes into the header
//! [`KEY_HEADER`]. A stream is one JSON answer an event and has no mark of its end: it is whole once
//! a candidate said why it finished, and over when the connection ends.
//!
//! What becomes of a request ([`REQUEST_TABLE`] is the same as data):
//!
//! | field | becomes |
//! |---|---|
//! | system | `systemInstruction`; one in mid-conversation joins it, which is reported |
//! | text, images | `text`, `inlineData`, `fileData` |
//! | documents and audio in base64 | `inlineData` |
//! | tool calls and results | `functionCall`, `functionResponse` (results find their call's name by its id) |
//! | thinking | a part with `thought`, with its signature where Gemini made it |
//! | tools, their choice | `functionDeclarations` with `parametersJsonSchema`, `toolConfig` |
//! | limits, sampling, stop, seed, logprobs, schema | `generationConfig` |
//! | reasoning | `thinkingConfig`: a level for Gemini 3, a budget in tokens before |
//!
//! What becomes of usage: `promptTokenCount` counts cached tokens, which are told apart here;
//! `thoughtsTokenCount` stands beside `candidatesTokenCount`. Tokens of the results of the vendor's
//! own tools (`toolUsePromptTokenCount`) are input. The classes add up to `totalTokenCount`.

mod error;
mod reply;
mod request;
mod stream;
mod write;

pub use error::read_error;
pub(crate) use error::write_error;
pub(crate) use reply::{read_reply, write_reply};
pub(crate) use request::read_request;
pub(crate) use stream::{stream_reader, stream_writer};
pub(crate) use write::write_request;

/// The header that carries the key.
pub const KEY_HEADER: &str = "x-goog-api-key";

/// The signature that Gemini takes for a call that another model made (its documentation of thought
/// signatures): Gemini 3 refuses a call of the current turn without one.
const NO_SIGNATURE: &str = "skip_thought_signature_validator";

/// How the names of calls begin that were made here, because the vendor named none.
const MADE_ID: &str = "call_g";

/// What becomes of each part of a request: what it is, and what is done where Gemini has no place
/// for it.
pub const REQUEST_TABLE: &[(&str, &str)] = &[
    (
        "system",
        "carried; reported where it stands in mid-conversation",
    ),
    ("text", "carried"),
    (
        "image",
        "carried; an address is refused where the vendor takes none",
    ),
    ("document, audio", "carried from base64, else refused"),
    (
        "tool call",
        "carried; arguments that are no JSON object are wrapped, which is reported",
    ),
    ("tool result", "carried; refused without its call"),
    ("thinking", "carried; another vendor's signature is dropped"),
    ("redacted thinking", "dropped"),
    ("refusal", "carried as text"),
    (
        "tools",
        "carried; `strict` and other vendors' own tools are dropped, refused where one is forced",
    ),
    ("tool_choice", "carried"),
    ("parallel_tool_calls: false", "dropped"),
    (
        "max_tokens, temperature, top_p, top_k, penalties",
        "carried",
    ),
    ("stop", "carried; more than 5 are refused"),
    ("seed", "carried within 32 bits, else dropped"),
    ("logprobs", "carried"),
    (
        "response format",
        "carried; its name and description are dropped",
    ),
    (
        "reasoning",
        "carried as the nearest level or budget; dropped for models that cannot think",
    ),
    ("n", "refused above 1"),
    (
        "cache_control, annotations, image detail, names of speakers",
        "dropped",
    ),
    (
        "user, metadata, service_tier, store, prompt_cache_key",
        "dropped",
    ),
    ("anything else", "dropped"),
];

/// The path below the API's version, with its query.
pub fn path(model: &str, stream: bool) -> String {
    let model = model.strip_prefix("models/").unwrap_or(model);
    if stream {
        format!("/models/{model}:streamGenerateContent?alt=sse")
    } else {
        format!("/models/{model}:generateContent")
    }
}

#[cfg(test)]
mod tests;
