//! Texts with labelled spans, as the Restaurant-8k data set writes them, read as columns.

use std::path::Path;

use distill_chat::Fields;
use serde::Deserialize;
use serde_json::Value;

use super::DatasetError;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Utterance {
    user_input: UserInput,
    #[serde(default)]
    context: Context,
    #[serde(default)]
    labels: Vec<Label>,
}

#[derive(Deserialize)]
struct UserInput {
    text: String,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
struct Context {
    #[serde(default)]
    requested_slots: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Label {
    slot: String,
    value_span: Span,
}

/// In characters.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Span {
    /// Left out when it is 0.
    #[serde(default)]
    start_index: usize,
    end_index: usize,
}

/// One item of the file as the columns `text`, `requested` and `slots`.
pub(super) fn read(path: &Path, index: usize, item: &Fields) -> Result<Fields, DatasetError> {
    let malformed = |problem: String| DatasetError::Malformed {
        path: path.to_owned(),
        line: None,
        problem: format!("item {index} of the array: {problem}"),
    };
    let utterance: Utterance = serde_json::from_value(Value::Object(item.clone()))
        .map_err(|error| malformed(error.to_string()))?;
    let text = utterance.user_input.text;
    let characters: Vec<char> = text.chars().collect();
    let mut labels = utterance.labels;
    // A stable sort: spans that begin together keep the file's order.
    labels.sort_by_key(|label| label.value_span.start_index);
    let mut slots = Fields::new();
    for label in labels {
        let span = label.value_span.start_index..label.value_span.end_index;
        let words = characters.get(span.clone()).ok_or_else(|| {
            malformed(format!(
                "span {span:?} of slot `{}` leaves the text",
                label.slot
            ))
        })?;
        let words = Value::String(words.iter().collect());
        if slots.insert(label.slot.clone(), words).is_some() {
            // An object holds one value a slot; dropping the other would change the answer.
            return Err(malformed(format!("slot `{}` is named twice", label.slot)));
        }
    }
    let mut requested = utterance.context.requested_slots;
    let mut seen = Vec::new();
    requested.retain(|slot| {
        let new = !seen.contains(slot);
        seen.push(slot.clone());
        new
    });
    let mut fields = Fields::new();
    fields.insert("text".to_owned(), text.into());
    fields.insert("requested".to_owned(), requested.join(",").into());
    fields.insert("slots".to_owned(), Value::Object(slots));
    Ok(fields)
}
