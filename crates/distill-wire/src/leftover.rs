//! Fields of a caller's dialect that another dialect has no place for.

use serde_json::Value;

use crate::{Dialect, Dropped, Request, Unsupported};

/// Fields that name a state which the vendor keeps: without it the request means something else.
pub const KEPT_STATE: [(&str, &str); 4] = [
    (
        "previous_response_id",
        "it names a conversation that another vendor keeps; send the whole conversation in `input`",
    ),
    (
        "conversation",
        "it names a conversation that another vendor keeps; send the whole conversation in `input`",
    ),
    (
        "prompt",
        "it names a prompt that another vendor keeps; send its text",
    ),
    (
        "background",
        "only the vendor of this dialect answers in the background; leave it out",
    ),
];

/// Lists the leftover fields that a writer of another dialect leaves out; those of `carried` it has
/// found a place for.
///
/// # Errors
/// [`Unsupported`] for a field of [`KEPT_STATE`].
pub(crate) fn leave_out(
    request: &Request,
    writer: Dialect,
    carried: &[&str],
    dropped: &mut Vec<Dropped>,
) -> Result<(), Unsupported> {
    if request.source == Some(writer) {
        return Ok(());
    }
    for (field, value) in &request.extra {
        if carried.contains(&field.as_str()) || matches!(value, Value::Null | Value::Bool(false)) {
            continue;
        }
        if let Some((_, reason)) = KEPT_STATE.iter().find(|(name, _)| name == field) {
            return Err(Unsupported {
                field: field.clone(),
                reason: (*reason).to_owned(),
            });
        }
        leave(dropped, field, "only its own dialect knows it");
    }
    Ok(())
}

/// Names something that is left out, once.
pub(crate) fn leave(dropped: &mut Vec<Dropped>, field: &str, reason: &'static str) {
    if !dropped.iter().any(|known| known.field == field) {
        dropped.push(Dropped {
            field: field.to_owned(),
            reason,
        });
    }
}

/// A normalised field as the caller wrote it.
pub(crate) fn caller_name(source: Option<Dialect>, field: &'static str) -> &'static str {
    use Dialect::{ChatCompletions, Gemini, Messages, Responses};
    match (field, source) {
        ("reasoning", Some(ChatCompletions)) => "reasoning_effort",
        ("reasoning", Some(Messages)) => "thinking",
        ("output", Some(ChatCompletions) | None) => "response_format",
        ("output", Some(Messages)) => "output_config.format",
        ("output", Some(Responses)) => "text.format",
        ("user", Some(Messages)) => "metadata.user_id",
        ("history", Some(ChatCompletions)) => "messages[].reasoning_content",
        ("history", Some(Responses)) => "input[].reasoning",
        ("history", Some(Messages)) => "messages[].content[].thinking",
        ("history", Some(Gemini)) => "contents[].parts[].thought",
        ("history", _) => "thinking of earlier turns",
        ("stop", Some(Messages)) => "stop_sequences",
        _ => field,
    }
}
