//! Checkpoints that read images too and hold a text model whole: its configuration lies inside
//! theirs, its tensors carry a prefix.

use serde_json::{Map, Value};

use super::fields::Fields;
use crate::decoder::DecoderError;

/// One kind of such a checkpoint.
struct Wrapper {
    model_type: &'static str,
    /// The text model inside.
    text: &'static str,
    /// Before the names of the text model's tensors, in place of `model.`.
    prefix: &'static str,
    /// Before the names of tensors that text has no use for.
    foreign: &'static [&'static str],
}

const WRAPPERS: &[Wrapper] = &[Wrapper {
    model_type: "qwen3_5",
    text: "qwen3_5_text",
    prefix: "model.language_model.",
    // Beside the images: a head that guesses further tokens and is no part of the answers.
    foreign: &["model.visual.", "mtp."],
}];

/// Fields of the whole that say nothing about its text model.
const OF_THE_WHOLE: &[&str] = &[
    "architectures",
    "dtype",
    "image_token_id",
    "language_model_only",
    "model_type",
    "text_config",
    "tie_word_embeddings",
    "torch_dtype",
    "transformers_version",
    "video_token_id",
    "vision_config",
    "vision_end_token_id",
    "vision_start_token_id",
];

/// The configuration of the text model inside; none where this is not such a checkpoint.
pub(super) fn unwrapped(
    map: &Map<String, Value>,
) -> Result<Option<Map<String, Value>>, DecoderError> {
    let fields = Fields::new(map, "");
    let model_type = map.get("model_type").and_then(Value::as_str);
    let Some(wrapper) = WRAPPERS.iter().find(|w| Some(w.model_type) == model_type) else {
        return Ok(None);
    };
    let Some(text) = fields.object("text_config")? else {
        return Err(fields.missing("text_config"));
    };
    let known = |name: &str| OF_THE_WHOLE.contains(&name);
    if let Some((name, value)) = map.iter().find(|(n, v)| !known(n) && !v.is_null()) {
        let reason = "the field is not known for this family";
        return Err(fields.refuse(name, value.clone(), reason));
    }
    let mut text = text.clone();
    let within = Fields::new(&text, "text_config.");
    if within
        .text("model_type")?
        .is_some_and(|kind| kind != wrapper.text)
    {
        let value = text["model_type"].clone();
        return Err(within.refuse("model_type", value, "another text model lies inside"));
    }
    text.insert("model_type".to_owned(), wrapper.text.into());
    if let Some(tied) = map.get("tie_word_embeddings") {
        text.insert("tie_word_embeddings".to_owned(), tied.clone());
    }
    Ok(Some(text))
}

/// The name of a stored tensor in the text model; none for what it has no use for.
pub(crate) fn own_name(model_type: &str, stored: &str) -> Option<String> {
    let Some(wrapper) = WRAPPERS.iter().find(|w| w.text == model_type) else {
        return Some(stored.to_owned());
    };
    if wrapper.foreign.iter().any(|part| stored.starts_with(part)) {
        return None;
    }
    Some(match stored.strip_prefix(wrapper.prefix) {
        Some(rest) => format!("model.{rest}"),
        None => stored.to_owned(),
    })
}
