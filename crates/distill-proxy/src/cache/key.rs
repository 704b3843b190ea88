//! Which requests are the same.

use std::{fmt, fmt::Write as _};

use axum::http::HeaderMap;
use distill_wire::Dialect;
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, SeqAccess, Visitor},
};
use sha2::{Digest as _, Sha256};

use super::Question;
use crate::{config::CacheScope, forward::Endpoint};

/// Names a request.
pub(super) type Digest = [u8; 32];

/// Changes with what enters the key.
const VERSION: &str = "distill-cache/1";

/// Headers of a caller that go on to a vendor and change what it answers.
const HEADERS: [&str; 3] = ["anthropic-version", "anthropic-beta", "openai-beta"];

/// Fields that shape how an answer is sent or booked, not what it says.
const OUTSIDE: [&str; 8] = [
    "model",
    "stream",
    "stream_options",
    "user",
    "safety_identifier",
    "prompt_cache_key",
    "service_tier",
    "metadata",
];

/// Fields that lean on a state which the vendor keeps: the same words ask for something else later.
const STATE: [&str; 3] = ["previous_response_id", "conversation", "background"];

pub(super) fn may_be_cached(question: &Question<'_>) -> bool {
    let (config, envelope) = (question.config, question.envelope);
    match question.endpoint {
        // A vector depends on nothing but the text.
        Endpoint::Embeddings => true,
        Endpoint::CountTokens => false,
        Endpoint::Chat(_) => {
            let settled = envelope.temperature == Some(0.0);
            (config.sampled || settled)
                && (config.tools || !envelope.has_tools)
                && envelope.n.is_none_or(|n| n == 1)
        }
    }
}

/// Who shares the entry.
fn scope<'a>(question: &Question<'a>) -> (&'static str, &'a str) {
    let caller = question.caller;
    match (question.config.scope, &caller.team) {
        (CacheScope::Everyone, _) => ("everyone", ""),
        (CacheScope::Team, Some(team)) => ("team", team),
        (CacheScope::Team, None) | (CacheScope::User, _) => ("user", &caller.user),
    }
}

/// Feeds a hash so that no two lists of parts give the same bytes.
struct Parts(Sha256);

impl Parts {
    fn add(&mut self, part: &[u8]) {
        self.0.update((part.len() as u64).to_le_bytes());
        self.0.update(part);
    }
}

/// The request's name; `None` where it cannot have one.
pub(super) fn digest(question: &Question<'_>) -> Option<Digest> {
    let body: Json = serde_json::from_slice(question.body).ok()?;
    let Json::Object(mut fields) = body else {
        return None;
    };
    if fields.iter().any(|(name, value)| {
        STATE.contains(&name.as_str()) && !matches!(value, Json::Null | Json::Bool(false))
    }) {
        return None;
    }
    fields.retain(|(name, _)| {
        // A task's variables stand in the metadata.
        !OUTSIDE.contains(&name.as_str()) || (name == "metadata" && question.task.is_some())
    });
    let mut parts = surroundings(question);
    let mut text = String::with_capacity(question.body.len());
    Json::Object(fields).write(&mut text);
    parts.add(text.as_bytes());
    Some(parts.0.finalize().into())
}

/// Everything of the key but the request itself.
fn surroundings(question: &Question<'_>) -> Parts {
    let mut parts = Parts(Sha256::new());
    parts.add(VERSION.as_bytes());
    let (kind, name) = scope(question);
    parts.add(kind.as_bytes());
    parts.add(name.as_bytes());
    parts.add(question.route.as_bytes());
    parts.add(question.task.unwrap_or_default().as_bytes());
    parts.add(form(question.endpoint).as_bytes());
    // A route that takes many names passes each on as it is.
    let model = question.envelope.model.as_deref().unwrap_or_default();
    parts.add(model.as_bytes());
    add_headers(&mut parts, question.headers);
    parts
}

fn add_headers(parts: &mut Parts, headers: &HeaderMap) {
    for name in HEADERS {
        for value in headers.get_all(name) {
            parts.add(name.as_bytes());
            parts.add(value.as_bytes());
        }
    }
}

fn form(endpoint: Endpoint) -> &'static str {
    match endpoint {
        Endpoint::Chat(dialect) => dialect.as_str(),
        Endpoint::Embeddings => "embeddings",
        Endpoint::CountTokens => "count_tokens",
    }
}

/// The name of all questions that may be compared by meaning: everything but the words compared.
pub(super) fn digest_around(question: &Question<'_>, embedder: &str, rest: &str) -> Digest {
    let mut parts = surroundings(question);
    parts.add(embedder.as_bytes());
    parts.add(rest.as_bytes());
    parts.0.finalize().into()
}

/// The dialect of a conversation.
pub(super) fn dialect(endpoint: Endpoint) -> Option<Dialect> {
    match endpoint {
        Endpoint::Chat(dialect) => Some(dialect),
        Endpoint::Embeddings | Endpoint::CountTokens => None,
    }
}

/// JSON in which a key that stands twice stays twice: a vendor may take the first where another
/// takes the last, so two such bodies are not the same question.
enum Json {
    Null,
    Bool(bool),
    /// As text, for 64-bit integers and floats alike.
    Number(String),
    Text(String),
    Array(Vec<Json>),
    Object(Vec<(String, Json)>),
}

impl Json {
    /// One text for all ways to write this value: sorted keys, no blanks.
    fn write(&mut self, text: &mut String) {
        match self {
            Self::Null => text.push_str("null"),
            Self::Bool(value) => text.push_str(if *value { "true" } else { "false" }),
            Self::Number(number) => text.push_str(number),
            Self::Text(value) => quote(value, text),
            Self::Array(items) => {
                text.push('[');
                for item in items {
                    item.write(text);
                    text.push(',');
                }
                text.push(']');
            }
            Self::Object(fields) => {
                // Stable: of two equal keys the order counts.
                fields.sort_by(|one, other| one.0.cmp(&other.0));
                text.push('{');
                for (name, value) in fields {
                    quote(name, text);
                    text.push(':');
                    value.write(text);
                    text.push(',');
                }
                text.push('}');
            }
        }
    }
}

/// By its length, which needs no escapes.
fn quote(value: &str, text: &mut String) {
    // Writing to a string cannot fail.
    let _ = write!(text, "{}\"{value}", value.len());
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reading;

        impl<'de> Visitor<'de> for Reading {
            type Value = Json;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("JSON")
            }

            fn visit_unit<E>(self) -> Result<Json, E> {
                Ok(Json::Null)
            }

            fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
                Ok(Json::Bool(value))
            }

            fn visit_i64<E>(self, value: i64) -> Result<Json, E> {
                Ok(Json::Number(value.to_string()))
            }

            fn visit_u64<E>(self, value: u64) -> Result<Json, E> {
                Ok(Json::Number(value.to_string()))
            }

            fn visit_f64<E>(self, value: f64) -> Result<Json, E> {
                Ok(Json::Number(value.to_string()))
            }

            fn visit_str<E>(self, value: &str) -> Result<Json, E> {
                Ok(Json::Text(value.to_owned()))
            }

            fn visit_string<E>(self, value: String) -> Result<Json, E> {
                Ok(Json::Text(value))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Json, A::Error> {
                let mut read = Vec::new();
                while let Some(item) = items.next_element()? {
                    read.push(item);
                }
                Ok(Json::Array(read))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Json, A::Error> {
                let mut read = Vec::new();
                while let Some(field) = fields.next_entry()? {
                    read.push(field);
                }
                Ok(Json::Object(read))
            }
        }

        deserializer.deserialize_any(Reading)
    }
}
