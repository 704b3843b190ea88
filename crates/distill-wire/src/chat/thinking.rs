//! Thinking, for which every compatible server has its own field.

use serde_json::{Value, json};

use crate::{Block, RequestError, fields::Fields};

/// Takes what a model thought from its message.
pub(super) fn read_message(message: &mut Fields) -> Result<Vec<Block>, RequestError> {
    let details = message.list("reasoning_details")?.unwrap_or_default();
    let plain = match message.text("reasoning_content")? {
        None => message.text("reasoning")?,
        some => {
            message.take("reasoning");
            some
        }
    };
    Ok(blocks(&details, plain))
}

/// The details where there are some, for they hold the proofs; else the plain text.
pub(super) fn blocks(details: &[Value], plain: Option<String>) -> Vec<Block> {
    let blocks: Vec<Block> = details.iter().filter_map(read_detail).collect();
    if !blocks.is_empty() {
        return blocks;
    }
    plain
        .filter(|text| !text.is_empty())
        .map(|text| Block::Thinking {
            text,
            signature: None,
            id: None,
        })
        .into_iter()
        .collect()
}

fn read_detail(detail: &Value) -> Option<Block> {
    let text = |name: &str| detail.get(name).and_then(Value::as_str).map(str::to_owned);
    let kind = detail.get("type").and_then(Value::as_str)?;
    match kind {
        "reasoning.text" => Some(Block::Thinking {
            text: text("text").unwrap_or_default(),
            signature: text("signature"),
            id: text("id"),
        }),
        "reasoning.summary" => Some(Block::Thinking {
            text: text("summary").unwrap_or_default(),
            signature: text("signature"),
            id: text("id"),
        }),
        "reasoning.encrypted" => Some(Block::RedactedThinking {
            data: text("data")?,
            id: text("id"),
        }),
        _ => None,
    }
}

/// A detail of readable thinking, as `OpenRouter` describes it.
pub(super) fn text_detail(
    index: usize,
    text: &str,
    signature: Option<&str>,
    id: Option<&str>,
) -> Value {
    let mut detail = json!({"type": "reasoning.text", "text": text, "index": index});
    if let Some(signature) = signature {
        detail["signature"] = signature.into();
    }
    if let Some(id) = id {
        detail["id"] = id.into();
    }
    detail
}

/// A detail of thinking that only its vendor can read.
pub(super) fn encrypted_detail(index: usize, data: &str, id: Option<&str>) -> Value {
    let mut detail = json!({"type": "reasoning.encrypted", "data": data, "index": index});
    if let Some(id) = id {
        detail["id"] = id.into();
    }
    detail
}

/// The text of Mistral's `thinking`: a string, or parts of type text.
pub(super) fn text_of(thinking: Option<&Value>) -> String {
    match thinking {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(parts)) => parts
            .iter()
            .filter_map(|part| part.get("text").and_then(Value::as_str))
            .collect(),
        _ => String::new(),
    }
}
